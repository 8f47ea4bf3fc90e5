"""Calibration lines of MRD and twix: embedded ones are k-space, a separate scan stays calibration."""

import numpy as np
import pytest
from test_mrd import (
    acquisition,
    calibration_header,
    full_slice,
    header_xml,
    plain_header,
    random_complex,
    write_file,
)

from mrirecon.io.mrd import read_mrd, write_mrd

ONLY, BOTH = ["PARALLEL_CALIBRATION"], ["PARALLEL_CALIBRATION_AND_IMAGING"]
LATTICE, BLOCK = range(0, 12, 3), range(4, 9)


def siemens_integrated(kspace, **kwargs):
    """R = 3 with five ACS lines, flagged as Siemens' integrated reference lines are."""
    return [
        acquisition(kspace[..., ky], ky, flags=_flags(ky), **kwargs)
        for ky in sorted({*LATTICE, *BLOCK})
    ]


def _flags(ky):
    if ky in BLOCK:
        return BOTH if ky in LATTICE else ONLY
    return []


def lines_in(kspace):
    return np.flatnonzero(np.abs(kspace).max(axis=(0, 1))).tolist()


def header(mode):
    return plain_header() if mode is None else calibration_header(mode)


@pytest.mark.parametrize("mode", ["embedded", "Embedded", "interleaved", "other", None])
def test_embedded_lines_are_k_space(tmp_path, mode):
    truth = random_complex(np.random.default_rng(1), 2, 16, 12)
    scan = read_mrd(write_file(tmp_path / "acs.h5", header(mode), siemens_integrated(truth)))
    kspace = scan.kspace(0).numpy()
    assert lines_in(kspace) == [0, 3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(kspace[..., lines_in(kspace)], truth[..., lines_in(kspace)])
    np.testing.assert_array_equal(scan.mask(0).numpy().all(axis=0), kspace[0, 0] != 0)
    assert scan.calibration is None  # k-space holds all of it
    assert sum("4 calibration readouts lie between" in note for note in scan.notes) == 1
    write_mrd(scan, tmp_path / "again.h5")
    np.testing.assert_array_equal(read_mrd(tmp_path / "again.h5").kspace(0).numpy(), kspace)


@pytest.mark.parametrize("mode", ["separate", "external"])
def test_the_header_can_say_that_they_are_a_scan_of_their_own(tmp_path, mode):
    truth = random_complex(np.random.default_rng(2), 2, 16, 12)
    scan = read_mrd(write_file(tmp_path / "acs.h5", header(mode), siemens_integrated(truth)))
    assert lines_in(scan.kspace(0).numpy()) == list(LATTICE)
    assert lines_in(scan.calibration(0, 0).numpy()) == list(BLOCK)


@pytest.mark.parametrize("mode", ["other", None])
def test_a_scan_that_runs_through_the_lattice_is_separate(tmp_path, mode):
    """Without a word of the header, its lines at the places of imaging lines tell, and none are averaged with these."""
    rng = np.random.default_rng(3)
    truth, other = random_complex(rng, 2, 16, 12), random_complex(rng, 2, 16, 12)
    lines = [acquisition(truth[..., ky], ky, flags=BOTH if ky == 6 else []) for ky in LATTICE]
    lines += [acquisition(other[..., ky], ky, flags=ONLY) for ky in BLOCK]
    scan = read_mrd(write_file(tmp_path / "acs.h5", header(mode), lines))
    kspace, calibration = scan.kspace(0).numpy(), scan.calibration(0, 0).numpy()
    assert lines_in(kspace) == list(LATTICE)
    np.testing.assert_array_equal(kspace[..., 6], truth[..., 6])
    np.testing.assert_array_equal(calibration[..., BLOCK], other[..., BLOCK])


def test_embedded_line_at_the_place_of_an_imaging_line_stays_calibration(tmp_path):
    rng = np.random.default_rng(4)
    truth, other = random_complex(rng, 2, 16, 12), random_complex(rng, 2, 16, 12)
    lines = [acquisition(truth[..., ky], ky) for ky in LATTICE]
    lines += [acquisition(other[..., ky], ky, flags=ONLY) for ky in BLOCK]
    scan = read_mrd(write_file(tmp_path / "acs.h5", header("embedded"), lines))
    kspace = scan.kspace(0).numpy()
    assert lines_in(kspace) == [0, 3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_array_equal(kspace[..., 6], truth[..., 6])
    np.testing.assert_array_equal(scan.calibration(0, 0)[..., 6].numpy(), other[..., 6])


@pytest.mark.parametrize(
    "change",
    [
        {"sample_time_us": 2.5},
        {"idx": {"contrast": 1}},
        {"idx": {"slice": 1}},
        {"discard_pre": 1},
        {"center_sample": 7},
    ],
)
def test_lines_of_another_kind_are_no_k_space(tmp_path, change):
    rng = np.random.default_rng(5)
    truth, other = random_complex(rng, 2, 16, 12), random_complex(rng, 2, 16, 12)
    lines = [acquisition(truth[..., ky], ky) for ky in LATTICE]
    lines += [acquisition(other[..., ky], ky, flags=ONLY, **change) for ky in (4, 5, 7, 8)]
    scan = read_mrd(write_file(tmp_path / "acs.h5", header("embedded"), lines))
    assert scan.volumes == 1 and lines_in(scan.kspace(0).numpy()) == list(LATTICE)


def test_another_encoding_space_is_no_k_space(tmp_path):
    truth = random_complex(np.random.default_rng(6), 2, 16, 12)
    xml = header("embedded")
    start, stop = xml.index("<encoding>"), xml.index("</encoding>") + len("</encoding>")
    xml = xml[:stop] + xml[start:stop] + xml[stop:]
    lines = [acquisition(truth[..., ky], ky) for ky in LATTICE]
    lines += [
        acquisition(truth[..., ky], ky, flags=ONLY, encoding_space_ref=1) for ky in (4, 5, 7, 8)
    ]
    scan = read_mrd(write_file(tmp_path / "acs.h5", xml, lines))
    assert lines_in(scan.kspace(0).numpy()) == list(LATTICE)
    assert lines_in(scan.calibration(0, 0).numpy()) == [4, 5, 7, 8]


def test_calibration_stays_for_the_repetitions_that_have_none(tmp_path):
    """Calibration lines in the first repetition only: its k-space has them, and the others are calibrated by them."""
    truth = random_complex(np.random.default_rng(7), 2, 2, 16, 12)
    lines = siemens_integrated(truth[0])
    lines += [acquisition(truth[1, ..., ky], ky, idx={"repetition": 1}) for ky in LATTICE]
    scan = read_mrd(write_file(tmp_path / "acs.h5", header("embedded"), lines))
    assert lines_in(scan.kspace(0, 0).numpy()) == [0, 3, 4, 5, 6, 7, 8, 9]
    assert lines_in(scan.kspace(0, 1).numpy()) == list(LATTICE)
    for volume in (0, 1):
        calibration = scan.calibration(volume, 0).numpy()
        np.testing.assert_array_equal(calibration[..., BLOCK], truth[0][..., BLOCK])


def test_every_volume_keeps_its_own_calibration(tmp_path):
    truth = random_complex(np.random.default_rng(10), 3, 2, 16, 12)
    lines = [
        acquisition(truth[volume, ..., ky], ky, flags=flags, idx={"repetition": volume})
        for volume in range(3)
        for flags, taken in (([], LATTICE), (ONLY, BLOCK))
        for ky in taken
    ]
    scan = read_mrd(write_file(tmp_path / "acs.h5", header("separate"), lines))
    for volume in range(3):
        calibration = scan.calibration(volume, 0).numpy()
        np.testing.assert_array_equal(calibration[..., BLOCK], truth[volume][..., BLOCK])


def test_embedded_block_of_a_3d_scan(tmp_path):
    rng = np.random.default_rng(8)
    truth = random_complex(rng, 2, 8, 12, 10)
    xml = header("embedded").replace("<z>1</z>", "<z>10</z>").replace(
        "</kspace_encoding_step_1></encodingLimits>",
        "</kspace_encoding_step_1><kspace_encoding_step_2><minimum>0</minimum><maximum>9</maximum>"
        "<center>5</center></kspace_encoding_step_2></encodingLimits>",
    ).replace("<x>16</x>", "<x>8</x>")  # fmt: skip
    lines, expected = [], np.zeros((12, 10), bool)
    for ky, kz in np.ndindex(12, 10):
        lattice, block = (ky + kz) % 2 == 0, abs(ky - 6) < 3 and abs(kz - 5) < 3
        if lattice or block:
            flags = [] if not block else BOTH if lattice else ONLY
            lines.append(acquisition(truth[:, :, ky, kz], ky, kz, flags=flags))
            expected[ky, kz] = True
    scan = read_mrd(write_file(tmp_path / "3d.h5", xml, lines))
    assert scan.is_3d and scan.calibration is None
    np.testing.assert_array_equal(scan.mask(3).numpy(), expected)


def test_all_lines_flagged_as_both_need_no_calibration_of_their_own(tmp_path):
    truth = random_complex(np.random.default_rng(9), 2, 16, 12)
    scan = read_mrd(write_file(tmp_path / "b.h5", plain_header(), full_slice(truth, flags=BOTH)))
    np.testing.assert_array_equal(scan.kspace(0).numpy(), truth)
    assert scan.calibration is None


def smooth(coils=2, readout=32, phase=64, echo=32):
    """k-space that falls from its echo to both sides, and some noise."""
    x, y = np.arange(readout) - readout // 2, np.arange(phase) - echo
    kspace = 1e3 / (1 + x[:, None] ** 2 + y**2) * (1 + np.arange(coils))[:, None, None]
    return (kspace + random_complex(np.random.default_rng(1), coils, readout, phase)).astype("c8")


def own_space(count, centre):
    """The imaging space of 64 lines, and one of `count` with its own centre."""
    matrix = (32, 64, 1)
    spaces = [
        header_xml(
            matrix,
            matrix,
            (160.0, 160.0, 5.0),
            (160.0, 160.0, 5.0),
            {"kspace_encoding_step_1": limits},
        )
        for limits in ((0, 63, 32), (0, count - 1, centre))
    ]
    start, stop = spaces[1].index("<encoding>"), spaces[1].index("</encoding>") + len("</encoding>")
    return spaces[0].replace("</encoding>", "</encoding>" + spaces[1][start:stop])


@pytest.mark.parametrize("count", [8, 24, 40])
@pytest.mark.parametrize("stated", [None, 0, 32])
def test_lines_of_a_space_of_their_own_are_placed_by_its_centre(tmp_path, count, stated):
    """Counted from 0, whatever the limits say, unless there are too few lines for their energy to tell."""
    if count == 8 and stated is not None:
        return
    truth, first = smooth(), 32 - count // 2
    lines = [acquisition(truth[..., ky], ky) for ky in range(0, 64, 4)]
    lines += [
        acquisition(truth[..., ky], ky - first, flags=ONLY, encoding_space_ref=1)
        for ky in range(first, first + count)
    ]
    xml = own_space(count, count // 2 if stated is None else stated)
    scan = read_mrd(write_file(tmp_path / "acs.h5", xml, lines))
    block = slice(first, first + count)
    np.testing.assert_array_equal(scan.calibration(0, 0)[..., block].numpy(), truth[..., block])
    assert lines_in(scan.calibration(0, 0).numpy()) == list(range(first, first + count))
    assert any(f"ky {count // 2} (imaging: 32)" in note for note in scan.notes)


@pytest.mark.parametrize("space", [0, 1])
def test_lines_counted_as_the_imaging_ones_stay_where_they_are(tmp_path, space):
    truth = smooth()
    lines = [acquisition(truth[..., ky], ky) for ky in range(0, 64, 4)]
    lines += [
        acquisition(truth[..., ky], ky, flags=ONLY, encoding_space_ref=space)
        for ky in range(20, 44)
    ]
    scan = read_mrd(write_file(tmp_path / "acs.h5", own_space(24, 12), lines))
    assert lines_in(scan.calibration(0, 0).numpy()) == list(range(20, 44))
    assert not any("centre of their own" in note for note in scan.notes)
