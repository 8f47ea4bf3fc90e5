"""Readouts that run backwards with and without flags; k-space of a simulated head, turned as scanners turn it."""

import numpy as np
import pytest
from test_mrd import acquisition, fft, header_xml, random_complex, write_file

from mrirecon.io.directions import _strongest
from mrirecon.io.mrd import read_mrd

N = 64


def grid(rows=N, columns=N):
    y, x = np.mgrid[:rows, :columns]
    return (y - rows // 2) / (rows / 2), (x - columns // 2) / (columns / 2)


def head(seed=0, phase=1.0):
    """Nearly symmetric along both axes, as heads are."""
    y, x = grid()
    image = 1.0 * ((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1) - 0.5 * (
        (x / 0.62) ** 2 + (y / 0.77) ** 2 < 1
    )
    rng = np.random.default_rng(seed)
    for cx, cy, r in rng.uniform((-0.4, -0.5, 0.05), (0.4, 0.5, 0.2), (8, 3)):
        image += 0.3 * ((x - cx) ** 2 + (y - cy) ** 2 < r**2)
    return image * np.exp(1j * phase * (0.8 * x + 0.5 * y * y))


def kspace_of(coils, image=None, noise=0.01):
    """(coil, readout, phase) of coils around the object."""
    y, x = grid()
    angles = 2 * np.pi * np.arange(coils)[:, None, None] / coils
    maps = np.exp(-((x - np.cos(angles)) ** 2 + (y - np.sin(angles)) ** 2) / 1.4 + 1j * angles)
    image = head() if image is None else image
    kspace = fft(image * (maps if coils > 1 else 1))
    return kspace + noise * random_complex(np.random.default_rng(1), coils, N, N)


def read(tmp_path, lines, trajectory="cartesian"):
    xml = header_xml(
        (N, N, 1), (N, N, 1), (128, 128, 5), (128, 128, 5),
        {"kspace_encoding_step_1": (0, N - 1, N // 2)}, trajectory=trajectory,
    )  # fmt: skip
    return read_mrd(write_file(tmp_path / "epi.h5", xml, lines))


ORDERS = {
    "one shot": [range(N)],
    "downwards": [range(N)[::-1]],
    "two shots": [range(0, N, 2), range(1, N, 2)],
    "four shots": [range(first, N, 4) for first in range(4)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("coils", [1, 2, 4])
@pytest.mark.parametrize("segments", [False, True])
def test_readouts_of_shots_alternate_without_flags(tmp_path, order, coils, segments):
    kspace = kspace_of(coils)
    lines = [
        acquisition(kspace[:, :: 1 - 2 * (place % 2), ky], ky, idx={"segment": shot * segments})
        for shot, lines in enumerate(ORDERS[order])
        for place, ky in enumerate(lines)
    ]
    scan = read(tmp_path, lines)
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-5, atol=1e-6)
    (note,) = (note for note in scan.notes if "EPI without its flags" in note)
    assert ("of each shot" in note) == ("shots" in order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("coils", [1, 2, 4])
@pytest.mark.parametrize("trajectory", ["cartesian", "epi"])
def test_readouts_that_all_run_forwards_stay(tmp_path, order, coils, trajectory):
    kspace = kspace_of(coils)
    lines = [acquisition(kspace[..., ky], ky) for shot in ORDERS[order] for ky in shot]
    scan = read(tmp_path, lines, trajectory)
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-5, atol=1e-6)
    undecided = any("do not tell which way" in note for note in scan.notes)
    assert undecided == (trajectory == "epi" and coils == 1)  # and a symmetric head


def test_a_first_readout_that_runs_backwards_mirrors_the_image_and_a_note_says_what_to_do(tmp_path):
    kspace = kspace_of(4)
    lines = [acquisition(kspace[:, :: 2 * (ky % 2) - 1, ky], ky) for ky in range(N)]
    scan = read(tmp_path, lines)
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace[:, ::-1], rtol=1e-5, atol=1e-6)
    assert any(
        "if the image is mirrored along the readout, set ACQ_IS_REVERSE" in n for n in scan.notes
    )


@pytest.mark.parametrize("phase", [0.0, 1.5, 6.0])
def test_phase_across_the_object_is_no_alternation(tmp_path, phase):
    """One coil: projections of neighbouring lines may then resemble each other mirrored."""
    y, x = grid()
    kspace = kspace_of(1, head(3) * np.exp(1j * phase * x * y))
    scan = read(tmp_path, [acquisition(kspace[..., ky], ky) for ky in range(N)])
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counter", ["contrast", None])
@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("bipolar", [False, True])
def test_echoes_that_are_mirrored_without_a_flag(tmp_path, counter, coils, bipolar):
    """Truth: every second echo was turned; one coil and a symmetric head do not tell."""
    echoes = [kspace_of(coils, head(phase=1 + echo) * 0.8**echo) for echo in range(3)]
    lines = [
        acquisition(
            kspace[:, :: -1 if bipolar and echo == 1 else 1, ky],
            ky,
            idx={counter: echo} if counter else {},
        )
        for ky in range(N)
        for echo, kspace in enumerate(echoes)
    ]
    scan = read(tmp_path, lines)
    found = bipolar and coils > 1
    for echo in range(3):
        expected = echoes[echo][:, :: -1 if echo == 1 and bipolar and not found else 1]
        np.testing.assert_allclose(scan.kspace(0, echo).numpy(), expected, rtol=1e-5, atol=1e-6)
    said = f"{counter or 'occurrence'} 1 without its flags: its readouts run backwards"
    assert any(said in note for note in scan.notes) == found


@pytest.mark.parametrize(
    ("coils", "flagged", "turned_at"),
    [
        (1, True, "stored middle"),  # without flags one coil and a symmetric head do not tell it
        (4, True, "stored middle"),
        (4, False, "stored middle"),
        (1, True, "forward middle"),
        (1, False, "forward middle"),
        (4, True, "forward middle"),
    ],
)
def test_where_reversed_readouts_have_their_centre(tmp_path, coils, flagged, turned_at):
    """Both store center_sample N // 2; k = 0 is there as ISMRMRD has it, or once in forward order (Siemens)."""
    kspace = kspace_of(coils)
    back = kspace[:, ::-1]
    if turned_at == "stored middle":
        back = np.roll(back, 1, axis=1)
    lines = [
        acquisition(
            (back if ky % 2 else kspace)[..., ky],
            ky,
            flags=("REVERSE",) if flagged and ky % 2 else (),
        )
        for ky in range(N)
    ]
    scan = read(tmp_path, lines)
    np.testing.assert_allclose(scan.kspace(0).numpy(), kspace, rtol=1e-5, atol=1e-6)
    moved = any("fit the forward ones one sample further on" in note for note in scan.notes)
    assert moved == (turned_at == "stored middle")


def test_a_signalling_nan_is_no_warning():
    block = np.zeros((2, 2, 4), np.complex64)
    block.view(np.uint32)[0, 0, 0] = 0x7F800001  # of a damaged file
    assert np.isfinite(_strongest(block)).all()
