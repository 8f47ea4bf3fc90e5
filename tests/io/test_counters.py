"""Readouts that no counter tells apart, unfinished volumes, empty readouts, decimals in the header: MRD files."""

import numpy as np
import pytest
from test_mrd import (
    acquisition,
    fft,
    full_slice,
    header_3d,
    plain_header,
    random_complex,
    write_file,
)

from mrirecon.io.mrd import read_mrd, write_mrd
from mrirecon.io.mrd_header import parse_header


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("averages", [1, 2])
def test_readouts_that_no_counter_tells_apart_are_volumes(tmp_path, segments, averages):
    """Two echoes of every line with one counter; their true averages are still averaged."""
    rng = np.random.default_rng(1)
    truth = random_complex(rng, averages, 2, 2, 16, 12)
    lines = [
        acquisition(
            truth[average, echo, ..., ky], ky, idx={"average": average, "segment": echo * segments}
        )
        for average in range(averages)
        for ky in range(12)
        for echo in ((1, 0) if segments else (0, 1))  # the segment goes before the order
    ]
    scan = read_mrd(write_file(tmp_path / "echoes.h5", plain_header(), lines))
    assert scan.volume_names == ("occurrence 0", "occurrence 1")
    for echo in range(2):
        expected = truth[:, echo].mean(axis=0)
        np.testing.assert_allclose(scan.kspace(0, echo).numpy(), expected, rtol=1e-5)
    text = "; ".join(scan.notes)
    assert "2 readouts of each line have the same counters" in text and "not averaged" in text
    assert ("average of 2 readouts" in text) == (averages == 2)
    write_mrd(scan, tmp_path / "again.h5")
    again = read_mrd(tmp_path / "again.h5")
    np.testing.assert_array_equal(again.kspace(0, 1).numpy(), scan.kspace(0, 1).numpy())


def test_segments_of_different_lines_are_one_volume(tmp_path):
    truth = random_complex(np.random.default_rng(2), 1, 16, 12)
    lines = [acquisition(truth[..., ky], ky, idx={"segment": ky % 4}) for ky in range(12)]
    scan = read_mrd(write_file(tmp_path / "segments.h5", plain_header(), lines))
    np.testing.assert_array_equal(scan.kspace(0).numpy(), truth)
    assert scan.volumes == 1


def test_some_lines_twice_without_a_counter_are_refused(tmp_path):
    truth = random_complex(np.random.default_rng(3), 1, 16, 12)
    lines = [*full_slice(truth), acquisition(truth[..., 7], 7)]
    words = r"twice\.h5: 2 readouts of line 7 have the same counters .*, but 1 of line 0: number repeats"
    with pytest.raises(ValueError, match=words):
        read_mrd(write_file(tmp_path / "twice.h5", plain_header(), lines))


def test_one_line_fewer_in_a_set_without_a_counter_names_that_line(tmp_path):
    truth = random_complex(np.random.default_rng(3), 1, 16, 12)
    lines = [line for line in full_slice(truth) for _ in range(2)]
    del lines[11]  # the second of line 5
    words = r"2 readouts of line 0 have the same counters .*, but 1 of line 5: number repeats"
    with pytest.raises(ValueError, match=words):
        read_mrd(write_file(tmp_path / "fewer.h5", plain_header(), lines))


def test_noise_readouts_of_the_coils_of_the_imaging_are_taken(tmp_path):
    """Truth: the covariance of the fitting ones alone."""
    rng = np.random.default_rng(6)
    truth, noise = random_complex(rng, 2, 16, 12), random_complex(rng, 2, 64)
    kind = {"flags": ("NOISE_MEASUREMENT",)}
    other = acquisition(random_complex(rng, 5, 64), **kind)
    fitting = acquisition(noise, **kind)
    for number, more in enumerate(([other, fitting], [fitting, other, other])):
        path = write_file(tmp_path / f"{number}.h5", plain_header(), [*more, *full_slice(truth)])
        scan = read_mrd(path)
        expected = noise @ noise.conj().T / 63
        np.testing.assert_allclose(scan.noise_covariance.numpy(), expected, rtol=1e-5)
        said = [note for note in scan.notes if "noise readouts of 5 coils do not fit" in note]
        assert len(said) == 1 and said[0].startswith(str(len(more) - 1))
    only = read_mrd(write_file(tmp_path / "only.h5", plain_header(), [other, *full_slice(truth)]))
    assert only.noise_covariance is None


def test_the_encoding_space_with_the_most_lines_is_read(tmp_path):
    truth = random_complex(np.random.default_rng(7), 1, 16, 12)
    few = [
        acquisition(truth[..., ky], ky, idx={"average": n}, encoding_space_ref=1)
        for ky in (5, 6, 7)
        for n in range(9)
    ]
    scan = read_mrd(write_file(tmp_path / "two.h5", plain_header(), [*few, *full_slice(truth)]))
    np.testing.assert_array_equal(scan.kspace(0).numpy(), truth)
    (note,) = (note for note in scan.notes if "encoding spaces" in note)
    assert "27 readouts of other encoding spaces are ignored (1): encoding space 0" in note


@pytest.mark.parametrize(
    "counted, words", [("ky", "set kspace_encode_step_2"), (None, "set kspace_encode_step_1")]
)
def test_3d_scans_without_counters_are_refused(tmp_path, counted, words):
    """Stored coordinates may tell partitions apart, counters of 0 do not."""
    kspace = fft(random_complex(np.random.default_rng(4), 1, 8, 6, 4), axes=(1, 2, 3))
    lines = [
        acquisition(kspace[:, :, ky, kz], ky if counted else 0)
        for ky in range(6)
        for kz in range(4)
    ]
    with pytest.raises(ValueError, match=words):
        read_mrd(write_file(tmp_path / "3d.h5", header_3d(8, 6, 4, 8), lines))


def test_phase_correction_and_navigators_of_one_line_do_not_count(tmp_path):
    truth = random_complex(np.random.default_rng(5), 1, 16, 12)
    extra = [
        acquisition(truth[..., 6], 6, flags=flags)
        for flags in (["PHASECORR_DATA", "RTFEEDBACK_DATA"], ["NAVIGATION_DATA"])
        for _ in range(3)
    ]
    scan = read_mrd(write_file(tmp_path / "epi.h5", plain_header(), extra + full_slice(truth)))
    np.testing.assert_array_equal(scan.kspace(0).numpy(), truth)
    assert "3 phase correction readouts are ignored" in scan.notes
    assert "3 navigator readouts are ignored" in scan.notes


def test_unfinished_repetition_is_named(tmp_path):
    truth = random_complex(np.random.default_rng(6), 3, 1, 16, 12)
    lines = [
        acquisition(truth[repetition, ..., ky], ky, idx={"repetition": repetition})
        for repetition in range(3)
        for ky in range(12 if repetition < 2 else 4)
    ]
    scan = read_mrd(write_file(tmp_path / "stopped.h5", plain_header(), lines))
    assert "volume repetition 2 has only 4 of 12 lines: not finished?" in scan.notes
    whole = read_mrd(write_file(tmp_path / "whole.h5", plain_header(), lines[:24]))
    assert not any("not finished" in note for note in whole.notes)


def test_empty_readouts_are_left_out(tmp_path):
    truth = random_complex(np.random.default_rng(7), 2, 16, 12)
    lines = full_slice(truth)
    lines.insert(5, acquisition(np.zeros((2, 0)), 3))
    lines.insert(0, acquisition(np.zeros((2, 0)), 0, flags=["NOISE_MEASUREMENT"]))
    scan = read_mrd(write_file(tmp_path / "gaps.h5", plain_header(), lines))
    np.testing.assert_array_equal(scan.kspace(0).numpy(), truth)
    assert scan.noise_covariance is None
    assert any(note.startswith("2 readouts are empty") for note in scan.notes)


def test_a_file_of_empty_readouts_is_refused(tmp_path):
    lines = [acquisition(np.zeros((2, 0)), ky) for ky in range(12)]
    with pytest.raises(ValueError, match=r"meta\.h5: all 12 readouts are empty"):
        read_mrd(write_file(tmp_path / "meta.h5", plain_header(), lines))


def test_noise_of_one_sample_names_the_file(tmp_path):
    noise = acquisition(np.ones((2, 1)), flags=["NOISE_MEASUREMENT"])
    lines = [noise, *full_slice(np.ones((2, 16, 12)))]
    with pytest.raises(ValueError, match=r"one\.h5: a noise scan of 1 samples"):
        read_mrd(write_file(tmp_path / "one.h5", plain_header(), lines))


def test_noise_whose_squares_are_not_finite_is_refused(tmp_path):
    lines = full_slice(np.ones((2, 16, 12)))
    for size, dwell in ((1e30, 5.0), (1.0, np.inf)):
        noise = acquisition(
            np.full((2, 9), size), flags=["NOISE_MEASUREMENT"], sample_time_us=dwell
        )
        with pytest.raises(ValueError, match=r"noise\.h5: .* have no finite covariance: repair or"):
            read_mrd(write_file(tmp_path / "noise.h5", plain_header(), [noise, *lines]))


def test_noise_that_is_not_finite_names_the_file(tmp_path):
    noise = acquisition(np.full((2, 9), np.nan), flags=["NOISE_MEASUREMENT"])
    lines = [noise, *full_slice(np.ones((2, 16, 12)))]
    with pytest.raises(ValueError, match=r"nan\.h5: the noise scan holds NaN"):
        read_mrd(write_file(tmp_path / "nan.h5", plain_header(), lines))


@pytest.mark.parametrize("matrix", ["1e9", "65535"])
def test_a_matrix_beyond_any_scan_is_refused(tmp_path, matrix):
    xml = plain_header().replace("<x>16</x>", f"<x>{matrix}</x>")
    xml = xml.replace("<y>12</y>", "<y>60000</y>")
    said = "the matrix along kspace_encoding_step_1 is 60000, but lines 0 to 11 need 12: repair the header's matrix"
    with pytest.raises(ValueError, match=said):
        read_mrd(write_file(tmp_path / "huge.h5", xml, full_slice(np.ones((2, 16, 12)))))
    xml = plain_header().replace("<x>16</x>", f"<x>{matrix}</x>")
    with pytest.raises(
        ValueError, match=r"readout matrix is [0-9]+, but the readouts need 16: repair"
    ):
        read_mrd(write_file(tmp_path / "wide.h5", xml, full_slice(np.ones((2, 16, 12)))))


def test_a_grid_beyond_any_scan_is_refused(tmp_path):
    xml = plain_header().replace("<x>16</x>", "<x>8192</x>").replace("<y>12</y>", "<y>9000</y>")
    lines = [acquisition(np.ones((1, 512)) * (ky + 1), 800 * ky) for ky in range(12)]
    with pytest.raises(ValueError, match=r"grid of 8192 x [0-9]+: repair the header's matrix"):
        read_mrd(write_file(tmp_path / "huge.h5", xml, lines))


def test_a_matrix_of_some_times_its_readouts_is_zero_filled(tmp_path):
    xml = plain_header().replace("<y>12</y>", "<y>1024</y>")
    scan = read_mrd(write_file(tmp_path / "a.h5", xml, full_slice(np.ones((2, 16, 12)))))
    assert scan.shape == (1, 2, 16, 1024)


def test_receiver_channels_that_are_not_those_of_the_readouts_are_said(tmp_path):
    system = "<acquisitionSystemInformation><receiverChannels>8</receiverChannels></acquisitionSystemInformation>"
    xml = plain_header(extra=system)
    scan = read_mrd(write_file(tmp_path / "a.h5", xml, full_slice(np.ones((2, 16, 12)))))
    assert "8 receiver channels in the header, 2 coils in the readouts" in scan.notes
    scan = read_mrd(write_file(tmp_path / "b.h5", xml, full_slice(np.ones((8, 16, 12)))))
    assert not any("receiver channels" in note for note in scan.notes)


def test_whole_numbers_may_be_decimals():
    xml = plain_header().replace("<x>16</x>", "<x>15.9996</x>").replace("<y>12</y>", "<y>12.0</y>")
    encoding = parse_header(xml.replace(">11<", ">11.0<")).encoding
    assert encoding.encoded_matrix == (16, 12, 1) == encoding.recon_matrix
    assert encoding.limits["kspace_encoding_step_1"].maximum == 11
    for wrong in ("35.5", "448.4", "0.9"):
        with pytest.raises(ValueError, match=f"'{wrong}', not a whole number"):
            parse_header(plain_header().replace("<x>16</x>", f"<x>{wrong}</x>"))
    with pytest.raises(ValueError, match="'inf', not a finite number"):
        parse_header(plain_header().replace("<x>16</x>", "<x>inf</x>"))
