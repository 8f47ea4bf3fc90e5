"""3D k-space whose partitions are stored as slices: what numpy transforms along all three axes must come back."""

import h5py
import numpy as np
import pytest
import torch
from test_mrd import acquisition, header_xml, write_file

from mrirecon.birdcage import birdcage_maps
from mrirecon.io import read_scan
from mrirecon.io.arrays import plain_scan
from mrirecon.io.cfl import write_cfl
from mrirecon.io.partitions import are_partitions, is_peaked
from mrirecon.phantom import shepp_logan

SHAPE = (24, 3, 64, 48)  # partition, coil, readout, phase


def transform(x, axes):
    shifted = np.fft.ifftshift(x, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


def object_in(slices, first=0.1, last=0.9, shape=SHAPE):
    """(slice, coil, y, x): a head between two shares of the slices, its ends smaller, and some noise."""
    z = (np.arange(slices) + 0.5) / slices
    height = np.clip(1 - ((z - (first + last) / 2) / ((last - first) / 2)) ** 2, 0, None) ** 0.5
    plane = shepp_logan(shape[2:]).numpy() * birdcage_maps(shape[2:], shape[1])[0].numpy()
    y, x = (np.linspace(-1, 1, n) for n in shape[2:])
    inside = np.hypot(y[:, None], x)[None] < 0.95 * height[:, None, None]
    rng = np.random.default_rng(0)
    image = (inside[:, None] * plane).astype(np.complex64)
    return image + 1e-4 * (rng.normal(size=image.shape) + 1j * rng.normal(size=image.shape))


HYBRID = transform(object_in(SHAPE[0]), (-2, -1)).astype(np.complex64)  # z, coil, kx, ky
KSPACE = transform(HYBRID, (0,)).astype(np.complex64)


def whole(scan):
    return np.stack([scan.kspace(index).numpy() for index in range(scan.shape[0])])


def asked(scan):
    return [note for note in scan.notes if "second phase encoding of a 3D scan" in note]


def write(path, stored):
    if path.suffix == ".npy":
        np.save(path, stored)
    elif path.suffix == ".npz":
        np.savez(path, kspace=stored)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["kspace"] = stored
    elif path.suffix == ".mat":
        pytest.importorskip("scipy.io").savemat(path, {"kspace": stored})
    else:
        dims = dict(zip((0, 1, 3, 13), stored.shape, strict=True))
        write_cfl((path, path.with_suffix(".hdr")), dims, [torch.from_numpy(stored.T.copy())])
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".mat", ".cfl"])
def test_partitions_are_seen_and_the_option_mends_them(tmp_path, suffix):
    stored, axes = KSPACE, "slice,coil,readout,phase"
    if suffix in (".mat", ".cfl"):
        stored, axes = KSPACE.transpose(2, 3, 1, 0), "readout,phase,coil,slice"
    path, named = write(tmp_path / f"k{suffix}", stored), {"axes": axes}
    doubted = read_scan(path, **(named if suffix == ".mat" else {}))
    mend = axes.replace("slice", "partition")
    assert asked(doubted)[0].endswith(f"give --axes {mend}")
    scan = read_scan(path, axes=mend)
    assert scan.shape == SHAPE and not asked(scan)
    np.testing.assert_allclose(whole(scan), HYBRID, atol=1e-5)
    assert bool(scan.mask(3).all())
    assert [note for note in scan.notes if note.startswith("3D: inverse FFT along the 24")]


def test_coils_first_and_partitions_last(tmp_path):
    path = write(tmp_path / "k.npy", np.moveaxis(KSPACE, 0, -1))
    (note,) = [note for note in read_scan(path).notes if "--axes" in note]
    assert note.endswith("give --axes coil,readout,phase,partition")
    np.testing.assert_allclose(
        whole(read_scan(path, axes="coil,readout,phase,partition")), HYBRID, atol=1e-5
    )


def header(partitions=SHAPE[0]):
    matrix, fov = (SHAPE[2], SHAPE[3], partitions), (192.0, 144.0, 48.0)
    limits = {"kspace_encoding_step_1": (0, SHAPE[3] - 1, SHAPE[3] // 2)}
    return header_xml(matrix, matrix, fov, fov, limits)


def write_fastmri(path, kspace, partitions):
    with h5py.File(path, "w") as file:
        file["kspace"], file["ismrmrd_header"] = kspace, header(partitions)
    return path


def test_fastmri_whose_header_has_the_partitions_is_transformed(tmp_path):
    scan = read_scan(write_fastmri(tmp_path / "a.h5", KSPACE, SHAPE[0]))
    np.testing.assert_allclose(whole(scan), HYBRID, atol=1e-5)
    assert [note for note in scan.notes if note.startswith("3D (the header has 24 partitions")]
    few = KSPACE[8:16]
    scan = read_scan(write_fastmri(tmp_path / "few.h5", few, 8))
    np.testing.assert_allclose(
        whole(scan),
        np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(few, axes=0), axis=0, norm="ortho"), axes=0),
        atol=1e-5,
    )


@pytest.mark.parametrize("partitions", [1, 24])
def test_fastmri_of_slices_stays_as_it_is(tmp_path, partitions):
    scan = read_scan(write_fastmri(tmp_path / "a.h5", HYBRID, partitions))
    np.testing.assert_array_equal(whole(scan), HYBRID)
    assert not asked(scan) and not any("3D" in note for note in scan.notes)


def mrd(path, kspace, counter, partitions=SHAPE[0], **head):
    lines = [
        acquisition(kspace[z, :, :, ky], ky, idx={counter: z}, **{k: v(z) for k, v in head.items()})
        for z in range(len(kspace))
        for ky in range(SHAPE[3])
    ]
    return write_file(path, header(partitions), lines)


@pytest.mark.parametrize("counter", ["slice", "average", "repetition"])
def test_mrd_whose_partitions_another_counter_counts(tmp_path, counter):
    scan = read_scan(mrd(tmp_path / "a.h5", KSPACE, counter))
    assert scan.is_3d and scan.shape == (SHAPE[2], SHAPE[1], SHAPE[3], SHAPE[0])
    along = np.fft.fftshift(
        np.fft.ifft(np.fft.ifftshift(KSPACE, axes=2), axis=2, norm="ortho"), axes=2
    )
    np.testing.assert_allclose(whole(scan), along.transpose(2, 1, 3, 0), atol=1e-5)
    assert any(f"over the counter {counter}" in note for note in scan.notes)


def test_mrd_of_slices_stays_as_it_is(tmp_path):
    scan = read_scan(mrd(tmp_path / "a.h5", HYBRID, "slice"))
    assert not scan.is_3d and scan.shape == SHAPE and not asked(scan)
    apart = mrd(tmp_path / "b.h5", KSPACE, "slice", position=lambda z: (0.0, 0.0, float(z)))
    assert not read_scan(apart).is_3d  # slices that lie elsewhere


def test_mrd_without_a_word_of_the_header_is_asked_about(tmp_path):
    (note,) = asked(read_scan(mrd(tmp_path / "a.h5", KSPACE, "slice", partitions=1)))
    assert note.endswith("set kspace_encode_step_2 when converting")


@pytest.mark.parametrize("slices", [4, 15, 16, 24, 60])
@pytest.mark.parametrize(
    ("first", "last"), [(0.0, 1.0), (0.1, 0.9), (0.3, 0.7), (0.4, 0.6), (0.0, 0.3)]
)
def test_slices_of_an_object_are_not_blamed(slices, first, last):
    stack = torch.from_numpy(
        transform(object_in(slices, first, last), (-2, -1)).astype(np.complex64)
    )
    scan = plain_scan("memory", "test", tuple(stack.shape), lambda v, i: stack[i])
    assert not are_partitions(scan)
    read = []
    counted = plain_scan("m", "t", tuple(stack.shape), lambda v, i: (read.append(i), stack[i])[1])
    are_partitions(counted)
    assert len(read) <= (3 if last - first > 0.2 else slices)


def test_noise_and_empty_slices_are_not_blamed():
    for seed in range(20):
        power = torch.from_numpy(np.random.default_rng(seed).gamma(100, size=32))
        assert not is_peaked(power)
    assert not is_peaked(torch.zeros(32, dtype=torch.float64))
    assert not is_peaked((torch.arange(32) == 2).double())


def test_partitions_that_are_sampled_differently_are_refused(tmp_path):
    stored = KSPACE.copy()
    stored[::2, :, :, ::2] = 0
    scan = plain_scan("m", "t", SHAPE, lambda v, i: torch.from_numpy(stored[i]))
    assert bool((scan.kspace(0) == 0).any())
    path = write(tmp_path / "k.npy", stored)
    with pytest.raises(
        ValueError, match=r"sampled differently.* name the fully sampled readout partition"
    ):
        read_scan(path, axes="partition,coil,readout,phase")
    turned = read_scan(path, axes="readout,coil,partition,phase")  # as it says
    assert turned.shape == (SHAPE[2], SHAPE[1], SHAPE[0], SHAPE[3])
    np.testing.assert_array_equal(turned.mask(0).numpy(), (stored != 0).any(axis=(1, 2)))


def test_partial_fourier_along_the_partitions_is_zero_filled(tmp_path):
    stored = KSPACE * (np.arange(SHAPE[0]) >= 6)[:, None, None, None]
    scan = read_scan(
        write(tmp_path / "k.npy", stored.astype(np.complex64)), axes="partition,coil,readout,phase"
    )
    expected = np.fft.fftshift(
        np.fft.ifft(np.fft.ifftshift(stored, axes=0), axis=0, norm="ortho"), axes=0
    )
    np.testing.assert_allclose(whole(scan), expected, atol=1e-5)


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    stored = KSPACE.copy()
    stored[5, 0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite samples"):
        read_scan(write(tmp_path / "k.npy", stored), axes="partition,coil,readout,phase")


def test_slices_and_partitions_are_no_scan():
    with pytest.raises(ValueError, match="partitions of a 3D scan become its slices"):
        read_scan("k.npy", axes="slice,partition,readout,phase")
