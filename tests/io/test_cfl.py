import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.io import read_scan, write_scan
from mrirecon.tensors import fft2c, ifft2c, rss

needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


def bart(folder, command):
    done = subprocess.run(["bart", *command.split()], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(base):
    """A reader of its own: the whole array, trailing dimensions of one dropped."""
    dims = [int(n) for n in base.with_suffix(".hdr").read_text().splitlines()[1].split()]
    while len(dims) > 1 and dims[-1] == 1:
        dims.pop()
    return np.fromfile(base.with_suffix(".cfl"), np.complex64).reshape(dims, order="F")


def save(base, array):
    base.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(base.with_suffix(".cfl"))


@needs_bart
@pytest.mark.parametrize("size", [32, 33])
def test_bart_phantom_reads_and_its_image_is_barts(tmp_path, size):
    bart(tmp_path, f"phantom -x {size} -k -s 8 ksp")
    bart(tmp_path, "fft -i -u 3 ksp img")
    bart(tmp_path, "rss 8 img truth")
    scan = read_scan(tmp_path / "ksp")
    assert scan.shape == (1, 8, size, size)
    image = rss(ifft2c(scan.kspace(0)))
    truth = np.abs(load(tmp_path / "truth"))
    np.testing.assert_allclose(image.numpy(), truth, atol=1e-5 * truth.max())


@needs_bart
def test_bart_slices_and_times(tmp_path):
    bart(tmp_path, "phantom -x 16 -k -s 3 one")
    for n in range(1, 6):
        bart(tmp_path, f"scale {n} one k{n}")
    bart(tmp_path, "join 13 k1 k2 k3 t0")  # three slices
    bart(tmp_path, "scale 10 t0 t1")
    bart(tmp_path, "join 10 t0 t1 all")  # at two times
    scan = read_scan(tmp_path / "all.hdr")
    one = load(tmp_path / "one")[:, :, 0].transpose(2, 0, 1)
    assert (scan.shape, scan.volumes) == ((3, 3, 16, 16), 2)
    for volume, index in np.ndindex(2, 3):
        expected = one * (index + 1) * 10**volume
        np.testing.assert_allclose(scan.kspace(index, volume).numpy(), expected, rtol=1e-5)


@needs_bart
def test_bart_reads_what_is_written(tmp_path):
    bart(tmp_path, "phantom -x 16 -k -s 3 one")
    bart(tmp_path, "scale 2 one two")
    bart(tmp_path, "join 13 one two slices")
    bart(tmp_path, "join 10 slices slices slices both")
    write_scan(read_scan(tmp_path / "both.cfl"), tmp_path / "again.cfl")
    bart(tmp_path, "nrmse -t 0.0000001 both again")
    assert bart(tmp_path, "show -d 10 again").strip() == "3"
    assert bart(tmp_path, "show -d 13 again").strip() == "2"


@needs_bart
@pytest.mark.parametrize("acceleration", [1, 2])
def test_bart_3d_becomes_slices_along_the_readout_and_goes_back(tmp_path, acceleration):
    bart(tmp_path, "phantom -3 -x 12 -k -s 2 full")
    bart(tmp_path, f"upat -Y 12 -Z 12 -y {acceleration} -z 1 -c 4 pattern")
    bart(tmp_path, "fmac full pattern ksp")
    bart(tmp_path, "fft -i -u 7 ksp img")
    scan = read_scan(tmp_path / "ksp")
    assert scan.is_3d and scan.shape == (12, 2, 12, 12)
    truth = load(tmp_path / "img")  # readout, phase, phase2, coil
    for index in range(12):
        image = ifft2c(scan.kspace(index)).numpy()
        np.testing.assert_allclose(
            image, truth[index].transpose(2, 0, 1), atol=1e-5 * np.abs(truth).max()
        )
        np.testing.assert_array_equal(
            scan.mask(index).numpy(), load(tmp_path / "pattern")[0].real.astype(bool)
        )
    write_scan(scan, tmp_path / "again.cfl")
    bart(tmp_path, "nrmse -t 0.000001 ksp again")


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 6)] * 5).filter(lambda s: s[:2] != (1, 1)))
def test_axes_of_any_size(tmp_path_factory, shape):
    readout, phase, coils, times, slices = shape
    rng = np.random.default_rng(0)
    dims = (readout, phase, 1, coils, 1, 1, 1, 1, 1, 1, times, 1, 1, slices, 1, 1)
    array = (rng.normal(size=dims) + 1j * rng.normal(size=dims)).astype(np.complex64)
    base = tmp_path_factory.mktemp("cfl") / "scan.v2"  # a dot in the name is no suffix
    base.with_name("scan.v2.hdr").write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n")
    array.ravel(order="F").tofile(base.with_name("scan.v2.cfl"))
    scan = read_scan(base)
    assert scan.shape == (slices, coils, readout, phase) and scan.volumes == times
    for time, index in np.ndindex(times, slices):
        expected = array[:, :, 0, :, 0, 0, 0, 0, 0, 0, time, 0, 0, index, 0, 0]
        np.testing.assert_array_equal(scan.kspace(index, time).numpy(), expected.transpose(2, 0, 1))


def test_3d_needs_a_fully_sampled_readout(tmp_path):
    rng = np.random.default_rng(0)
    array = rng.normal(size=(6, 5, 4, 2)) + 1j
    array[:2] = 0  # partial echo: fine
    save(tmp_path / "echo", array)
    scan = read_scan(tmp_path / "echo")
    expected = ifft2c(torch.from_numpy(array.astype(np.complex64)), dim=(0,))
    assert torch.allclose(scan.kspace(3), expected[3].permute(2, 0, 1), atol=1e-5)
    array[3, 2, 1] = 0  # one sample of one line missing
    save(tmp_path / "bad", array)
    with pytest.raises(ValueError, match="fully sampled along the readout"):
        read_scan(tmp_path / "bad")


def test_3d_not_finite(tmp_path):
    array = np.ones((6, 5, 4, 2), np.complex64)
    array[0, 0, 0, 0] = np.nan
    save(tmp_path / "bad", array)
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_scan(tmp_path / "bad")


def test_each_half_alone_is_named(tmp_path):
    save(tmp_path / "k", np.ones((4, 4, 1, 2)))
    (tmp_path / "k.hdr").rename(tmp_path / "away.hdr")
    for name in ("k", "k.cfl", "k.hdr"):
        with pytest.raises(FileNotFoundError, match=r"k\.cfl has no k\.hdr beside it"):
            read_scan(tmp_path / name)
    (tmp_path / "away.hdr").rename(tmp_path / "k.hdr")
    (tmp_path / "k.cfl").unlink()
    with pytest.raises(FileNotFoundError, match=r"k\.hdr has no k\.cfl beside it"):
        read_scan(tmp_path / "k")
    (tmp_path / "k.hdr").unlink()
    for name in ("k.cfl", "k"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            read_scan(tmp_path / name)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("# Dimensions\n4 4 1 3\n", r"has 256 bytes.*which is 384 bytes"),
        ("# Dimensions\n4 4 1\n", "which is 128 bytes"),
        ("# Dimensions\n4 4 1 two\n", "no BART header"),
        ("# Dimensions\n4 -4 1 -2\n", "no BART header"),
        ("# Dimensions\n" + "1 " * 17 + "\n", "no BART header"),
        ("# Dimensions", "no BART header"),
        ("", "no BART header"),
        ("\x00\x01\x5c", "no BART header"),
        ("# Dimensions\n4 4 1 1 2\n", r"dimensions 4 4 1 1 2 .*the others must be 1"),
        ("# Dimensions\n4 2 2 1 1 1 1 1 1 1 1 1 1 2\n", "2D scans only"),
        ("# Dimensions\n1 1 1 32\n", "1 x 1"),
    ],
)
def test_headers_that_do_not_fit(tmp_path, header, message):
    save(tmp_path / "k", np.ones((4, 4, 1, 2)))
    (tmp_path / "k.hdr").write_text(header)
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / "k.cfl")


def test_all_zero(tmp_path):
    save(tmp_path / "k", np.zeros((4, 4, 1, 2)))
    with pytest.raises(ValueError, match="k-space is all zero"):
        read_scan(tmp_path / "k")


def test_fft_convention_of_3d_is_the_centred_one():
    """Guards the truth used above: fft2c over one axis is an orthonormal centred DFT."""
    n = 5
    grid = np.arange(n) - n // 2
    matrix = np.exp(-2j * np.pi * np.outer(grid, grid) / n) / np.sqrt(n)
    x = np.random.default_rng(0).normal(size=(n, 1)) + 0j
    got = fft2c(torch.from_numpy(x), dim=(0,)).numpy()
    np.testing.assert_allclose(got, matrix @ x, atol=1e-12)
