"""Centre, matrix and direction of readouts where header and data disagree; k-space from numpy's own FFT."""

import numpy as np
import pytest
from test_mrd import acquisition, fft, header_xml, random_complex, write_file

from mrirecon.io.mrd import read_mrd
from mrirecon.tensors import ifft2c


def phantom(rows, columns):
    """Two ellipses, one of them off centre: no symmetry."""
    y, x = np.mgrid[:rows, :columns]
    y, x = (y - rows // 2) / (rows / 2), (x - columns // 2) / (columns / 2)
    image = 1.0 * ((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1) + (
        ((x - 0.2) / 0.2) ** 2 + ((y + 0.3) / 0.3) ** 2 < 1
    )
    return image * np.exp(0.5j * x)


def kspace_of(rows, columns, noise=0.01):
    """Two coils of different phase, (coil, readout, phase)."""
    image = phantom(rows, columns) * np.array([1, 0.7j])[:, None, None]
    return image, fft(image) + noise * random_complex(np.random.default_rng(0), 2, rows, columns)


def lines_of(kspace, taken=None, first=0, **kwargs):
    taken = range(kspace.shape[-1]) if taken is None else taken
    return [acquisition(kspace[..., ky], ky - first, **kwargs) for ky in taken]


def read(tmp_path, matrix, fov, limit, acquisitions, recon=None):
    limits = {} if limit is None else {"kspace_encoding_step_1": limit}
    xml = header_xml((*matrix, 1), (*(recon or matrix), 1), (*fov, 5), (*fov, 5), limits)
    return read_mrd(write_file(tmp_path / "scan.h5", xml, acquisitions))


@pytest.mark.parametrize("limit", [(0, 95, 0), (0, 95, 48), None, (0, 95, 32)])
@pytest.mark.parametrize("matrix", [(64, 48), (40, 30), (128, 64), (100, 96)])
def test_a_matrix_of_another_protocol(tmp_path, matrix, limit):
    """The header's FOV stands and k = 0 is in the middle, whatever it says of matrix and centre."""
    image, kspace = kspace_of(128, 96)
    scan = read(tmp_path, matrix, (256, 192), limit, lines_of(kspace))
    assert scan.shape == (1, 2, 128, 96) and scan.matrix == (128, 96)
    assert scan.geometry.voxel_mm == pytest.approx((2, 2, 5))
    assert scan.acquired.all()
    np.testing.assert_allclose(ifft2c(scan.kspace(0)).numpy(), image, atol=0.1)


def test_oversampling_beyond_a_matrix_of_another_protocol(tmp_path):
    """256 samples and 96 lines under 64 x 48: twice the header's FOV, and the middle half is the image."""
    image, kspace = kspace_of(256, 96)
    scan = read(tmp_path, (64, 48), (128, 192), (0, 95, 48), lines_of(kspace))
    assert scan.oversampling == 2.0 and scan.matrix == (128, 96)
    assert scan.geometry.voxel_mm == pytest.approx((1, 2, 5))
    output = scan.to_output(ifft2c(scan.kspace(0))).numpy()
    np.testing.assert_allclose(output, image[:, 64:192], atol=0.1)


def test_a_larger_matrix_is_zero_filling(tmp_path):
    _, kspace = kspace_of(128, 96)
    scan = read(tmp_path, (256, 192), (256, 192), (0, 95, 48), lines_of(kspace))
    assert scan.shape == (1, 2, 256, 192) and scan.geometry.voxel_mm == pytest.approx((1, 1, 5))
    np.testing.assert_allclose(scan.kspace(0)[:, 64:192, 48:144].numpy(), kspace, rtol=1e-6)
    assert int(scan.acquired.sum()) == 128 * 96


@pytest.mark.parametrize("said", [24, 36, 48, 0, None])
def test_partial_fourier_under_a_wrong_centre_line(tmp_path, said):
    """Lines 24 to 95 of 96 counted from 0, R = 2: k = 0 is counter 24."""
    _, kspace = kspace_of(64, 96)
    taken = [ky for ky in range(24, 96) if ky % 2 == 0 or abs(ky - 48) < 8]
    limit = None if said is None else (0, 71, said)
    scan = read(tmp_path, (64, 96), (192, 192), limit, lines_of(kspace, taken, 24))
    assert scan.shape[-1] == 96
    np.testing.assert_array_equal(scan.mask(0).numpy().any(axis=0).nonzero()[0], taken)
    assert scan.acquired.numpy().any(axis=0).nonzero()[0][0] == 24
    assert any("energy" in note for note in scan.notes) == (said in (36, 48))


def test_centre_that_was_not_reached_is_believed(tmp_path):
    """Stopped at line 20 of 64: the energy is at the last line, because it grows towards the centre."""
    _, kspace = kspace_of(64, 64)
    scan = read(tmp_path, (64, 64), (192, 192), (0, 63, 32), lines_of(kspace, range(20)))
    np.testing.assert_array_equal(scan.mask(0).numpy().any(axis=0).nonzero()[0], range(20))


def test_a_spike_is_no_centre(tmp_path):
    _, kspace = kspace_of(64, 64)
    kspace[..., 5] *= 1e5
    scan = read(tmp_path, (64, 64), (192, 192), (0, 63, 32), lines_of(kspace, range(56)))
    assert scan.shape[-1] == 64 and not any("energy" in note for note in scan.notes)


def test_limits_of_another_protocol_say_nothing_of_coverage(tmp_path):
    """Lines 0 to 95 with k = 0 at 48 under limits 0 to 127 and centre 64."""
    _, kspace = kspace_of(32, 96)
    scan = read(tmp_path, (32, 128), (128, 256), (0, 127, 64), lines_of(kspace))
    assert scan.acquired.numpy().any(axis=0).nonzero()[0].tolist() == list(range(16, 112))


def test_partial_fourier_under_a_matrix_of_another_protocol(tmp_path):
    """Counters 0 to 71 with k = 0 at 24, not near any place of a matrix of 64."""
    _, kspace = kspace_of(32, 96)
    lines = lines_of(kspace, range(24, 96), 24)
    scan = read(tmp_path, (32, 64), (128, 192), (0, 71, 0), lines)
    energy = scan.kspace(0).abs().square().sum(dim=(0, 1))
    assert abs(int(energy.argmax()) - scan.shape[-1] // 2) <= 1


def test_lines_counted_from_the_centre_outwards_are_refused(tmp_path):
    _, kspace = kspace_of(64, 64)
    order = sorted(range(64), key=lambda ky: abs(ky - 32.25))
    lines = [acquisition(kspace[..., ky], count) for count, ky in enumerate(order)]
    with pytest.raises(ValueError, match=r"scan\.h5.*not counted in the order of k-space"):
        read(tmp_path, (64, 64), (192, 192), (0, 63, 32), lines)


def test_readouts_without_phase_encoding_are_refused(tmp_path):
    _, kspace = kspace_of(64, 64)
    line = kspace[..., 32]
    lines = [acquisition(line * 0.99**ky, ky) for ky in range(64)]
    with pytest.raises(ValueError, match="nothing encodes the phase direction"):
        read(tmp_path, (64, 64), (192, 192), (0, 63, 32), lines)


def test_a_thin_object_along_the_readout_is_an_image(tmp_path):
    """All its readouts are alike too, but weaker at both ends of k-space."""
    image = np.zeros((1, 64, 64))
    image[:, 16:44, 31:33] = 1
    kspace = fft(image)
    scan = read(tmp_path, (64, 64), (192, 192), (0, 63, 32), lines_of(kspace))
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, atol=1e-6)


@pytest.mark.parametrize(
    "rows, stated", [(128, 63), (128, 64), (128, 65), (127, 64), (127, 63), (127, 62)]
)
def test_full_readouts_one_sample_off_keep_the_grid(tmp_path, rows, stated):
    _, kspace = kspace_of(rows, 48)
    lines = lines_of(kspace, center_sample=stated)
    scan = read(tmp_path, (rows, 48), (256, 192), (0, 47, 24), lines)
    assert scan.matrix == (rows, 48)
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-6)


@pytest.mark.parametrize("stated", [31, 33])
def test_full_sets_of_lines_one_off_keep_the_grid(tmp_path, stated):
    _, kspace = kspace_of(32, 64)
    scan = read(tmp_path, (32, 64), (128, 256), (0, 63, stated), lines_of(kspace))
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-6)


@pytest.mark.parametrize("stored", [63, 64])
def test_reversed_echo_lies_on_the_forward_one(tmp_path, stored):
    """The stored sample of k = 0 is 63 of 128; Siemens files say 64."""
    _, kspace = kspace_of(128, 32)
    lines = lines_of(kspace)
    back = {"center_sample": stored, "flags": ["REVERSE"], "idx": {"contrast": 1}}
    lines += lines_of(kspace[:, ::-1], **back)
    scan = read(tmp_path, (256, 32), (256, 128), (0, 31, 16), lines)
    np.testing.assert_array_equal(scan.kspace(0, 1).numpy(), scan.kspace(0, 0).numpy())


@pytest.mark.parametrize("stated", [32, 48, 0, 64])
@pytest.mark.parametrize("matrix", [128, 64])
def test_partial_echo_under_a_wrong_centre_sample(tmp_path, stated, matrix):
    """Samples 32 to 127 of 128, so k = 0 is sample 32; a matrix of 64 leaves out the oversampling."""
    _, kspace = kspace_of(128, 48)
    lines = lines_of(kspace[:, 32:], center_sample=stated)
    scan = read(tmp_path, (matrix, 48), (2.0 * matrix, 192), (0, 47, 24), lines)
    assert scan.shape[2:] == (128, 48) and scan.geometry.voxel_mm[0] == pytest.approx(2)
    np.testing.assert_allclose(scan.kspace(0)[:, 32:].numpy(), kspace[:, 32:], rtol=1e-6)
    assert scan.kspace(0)[:, :32].abs().max() == 0


def test_echo_off_the_centre_of_full_readouts_is_left_there(tmp_path):
    """That is for the preparation: the header is right about the grid."""
    _, kspace = kspace_of(128, 48)
    kspace = np.roll(kspace, 20, axis=1)
    scan = read(tmp_path, (128, 48), (256, 192), (0, 47, 24), lines_of(kspace))
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-6)


@pytest.mark.parametrize("slices", [1, 3])
def test_epi_without_flags_is_put_in_forward_order(tmp_path, slices):
    """Every second readout of a slice runs backwards, later echoes are delayed: a phase along the image."""
    _, kspace = kspace_of(64, 61)
    lines = []
    for number in range(slices):
        for ky in range(61):
            line = kspace[..., ky] if ky % 2 == 0 else kspace[:, ::-1, ky]
            lines.append(acquisition(line, ky, idx={"slice": number}))
    scan = read(tmp_path, (64, 61), (128, 122), (0, 60, 30), lines)
    for number in range(slices):
        expected = kspace.copy()
        np.testing.assert_allclose(scan.kspace(number).numpy(), expected, rtol=1e-6)
    assert any("EPI without its flags" in note for note in scan.notes)


def test_ramp_sampled_epi_without_flags_is_refused(tmp_path):
    _, kspace = kspace_of(90, 64)
    lines = [acquisition(kspace[:, :: 1 - 2 * (ky % 2), ky], ky) for ky in range(64)]
    with pytest.raises(ValueError, match="90 samples for a readout matrix of 64"):
        read(tmp_path, (64, 64), (128, 128), (0, 63, 32), lines)


def test_many_lines_are_looked_at_coarsely_first(tmp_path, monkeypatch):
    """400 lines, centre unset: found, and a quarter of the samples were read."""
    _, kspace = kspace_of(32, 400)
    lines = lines_of(kspace, range(100, 400), 100)
    loaded = []
    call = "mrirecon.io.mrd_file._Samples.__call__"
    from mrirecon.io.mrd_file import _Samples

    original = _Samples.__call__
    monkeypatch.setattr(
        call, lambda self, chosen: loaded.extend(chosen["row"]) or original(self, chosen)
    )
    scan = read(tmp_path, (32, 400), (64, 800), (0, 299, 0), lines)
    assert scan.mask(0).numpy().any(axis=0).nonzero()[0][0] == 100
    assert len(loaded) == len(set(loaded)) < 100


def test_3d_centres_are_found_along_both_axes(tmp_path):
    n0, n1, n2 = 16, 32, 20
    volume = phantom(n1, n2)[None] * np.sin(np.pi * (np.arange(n0) + 0.5) / n0)[:, None, None]
    kspace = fft(volume, axes=(0, 1, 2))
    lines = [acquisition(kspace[None, :, a, b], a - 8, b) for a in range(8, n1) for b in range(n2)]
    limits = {
        "kspace_encoding_step_1": (0, 23, 14),
        "kspace_encoding_step_2": (0, 19, 0),
    }
    fov = (32, 64, 40)
    xml = header_xml((n0, n1, n2), (n0, n1, n2), fov, fov, limits)
    scan = read_mrd(write_file(tmp_path / "3d.h5", xml, lines))
    assert scan.shape == (n0, 1, n1, n2)
    plane = fft(volume[8])
    np.testing.assert_allclose(scan.kspace(8).numpy()[0, 8:], plane[8:], atol=1e-4)
