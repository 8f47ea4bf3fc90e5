"""MRD scans written by the ismrmrd package become a training set; targets by numpy's FFT."""

import convert_mridata as script
import h5py
import ismrmrd
import numpy as np
import pytest

from mrirecon.io import read_scan

NAMESPACE = "http://www.ismrm.org/ISMRMRD"


def header(nx, ny, nz=1):
    space = (
        f"<matrixSize><x>{nx}</x><y>{ny}</y><z>{nz}</z></matrixSize>"
        f"<fieldOfView_mm><x>{2 * nx}</x><y>{2 * ny}</y><z>{3 * nz}</z></fieldOfView_mm>"
    )
    return (
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="{NAMESPACE}"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>1</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"<encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace><encodingLimits>"
        f"<kspace_encoding_step_1><minimum>0</minimum><maximum>{ny - 1}</maximum><center>{ny // 2}</center>"
        "</kspace_encoding_step_1><kspace_encoding_step_2><minimum>0</minimum>"
        f"<maximum>{nz - 1}</maximum><center>{nz // 2}</center></kspace_encoding_step_2>"
        "</encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
    )


def save(path, xml, lines):
    """Lines are (samples (coil, readout), counters)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ismrmrd.Dataset(str(path), "dataset") as file:
        file.write_xml_header(xml.encode())
        for samples, counters in lines:
            line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples))
            line.center_sample = samples.shape[1] // 2
            line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
            for name, value in counters.items():
                setattr(line.idx, name, value)
            line.position[:] = (0, 0, 3.0 * counters.get("slice", 0))
            file.append_acquisition(line)
    return path


def random(*shape, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def stack(path, slices=4, repetitions=1, keep=lambda ky: True):
    """A 2D multislice scan; its k-space (repetition, slice, coil, readout, phase)."""
    kspace = random(repetitions, slices, 3, 16, 12, seed=len(path.name))
    lines = [
        (kspace[r, s, :, :, k], {"slice": s, "kspace_encode_step_1": k, "repetition": r})
        for r in range(repetitions)
        for s in range(slices)
        for k in range(12)
        if keep(k)
    ]
    save(path, header(16, 12), lines)
    return kspace


def image_of(kspace, axes=(-2, -1)):
    shifted = np.fft.ifftshift(kspace, axes=axes)
    return np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes)


def rss(kspace):
    return np.sqrt((np.abs(image_of(kspace)) ** 2).sum(axis=-3))


def test_multislice_scans_by_a_split_file(tmp_path, call):
    raw = {name: stack(tmp_path / "in" / f"{name}.h5") for name in ("a", "bb", "ccc")}
    (tmp_path / "split.csv").write_text("file,part,patient\na,train,1\nbb.h5,val,2\nccc,train,1\n")
    out = tmp_path / "set"
    arguments = (tmp_path / "in", "--output", out, "--split", tmp_path / "split.csv")
    assert call(script, *arguments, "--skip_ends", "1", "--acquisition", "AXT2")[0] == 0
    for name, part, patient in (("a", "train", "1"), ("bb", "val", "2"), ("ccc", "train", "1")):
        with h5py.File(out / f"multicoil_{part}" / f"{name}.h5") as file:
            assert np.array_equal(file["kspace"], raw[name][0, 1:3])
            expected = rss(raw[name][0, 1:3])
            assert file["reconstruction_rss"][()] == pytest.approx(expected, rel=1e-5)
            assert file.attrs["max"] == pytest.approx(expected.max(), rel=1e-5)
            assert (file.attrs["patient_id"], file.attrs["acquisition"]) == (patient, "AXT2")
    status, printed, _ = call(script, *arguments)
    assert status == 0
    assert printed.count("there already") == 3


def test_the_fastmri_package_reads_what_was_converted(tmp_path, call):
    from fastmri.data import SliceDataset

    raw = stack(tmp_path / "a.h5")
    call(script, tmp_path / "a.h5", "--output", tmp_path / "set")
    data = SliceDataset(tmp_path / "set" / "multicoil_train", "multicoil", transform=None)
    kspace, _, target, attributes, *_ = data[2]
    assert np.array_equal(kspace, raw[0, 2])
    assert target == pytest.approx(rss(raw[0, 2]), rel=1e-5)
    assert attributes["encoding_size"][:2] == (16, 12)


def test_a_3d_scan_becomes_slices_along_its_readout(tmp_path, call):
    kspace = random(2, 10, 12, 8)  # coil, readout, phase, second phase
    lines = [
        (kspace[:, :, y, z], {"kspace_encode_step_1": y, "kspace_encode_step_2": z})
        for y in range(12)
        for z in range(8)
    ]
    save(tmp_path / "knee.h5", header(10, 12, 8), lines)
    assert call(script, tmp_path / "knee.h5", "--output", tmp_path / "set")[0] == 0
    expected = np.sqrt((np.abs(image_of(kspace, (1, 2, 3))) ** 2).sum(axis=0))
    with h5py.File(tmp_path / "set" / "multicoil_train" / "knee.h5") as file:
        assert file["kspace"].shape == (10, 2, 12, 8)
        assert file["reconstruction_rss"][()] == pytest.approx(expected, rel=1e-4)


def test_repetitions_become_files(tmp_path, call):
    raw = stack(tmp_path / "r.h5", repetitions=2)
    call(script, tmp_path / "r.h5", "--output", tmp_path / "set")
    for number in range(2):
        scan = read_scan(tmp_path / "set" / "multicoil_train" / f"r_{number}.h5")
        assert np.array_equal(scan.kspace(1).numpy(), raw[number, 1])


def test_a_scan_that_cannot_be_used_is_named_and_the_others_are_done(tmp_path, call):
    stack(tmp_path / "in" / "good.h5")
    stack(tmp_path / "in" / "half.h5", keep=lambda ky: ky % 2 == 0)
    (tmp_path / "in" / "broken.h5").write_bytes(b"no HDF5")
    status, printed, errors = call(script, tmp_path / "in", "--output", tmp_path / "set")
    assert status == 1
    assert "1 of 3 files converted" in printed
    assert "half.h5: 50% of the covered k-space points were measured" in errors
    assert "broken.h5" in errors
    assert len(errors.splitlines()) == 2
    assert [path.name for path in (tmp_path / "set").rglob("*") if path.is_file()] == ["good.h5"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,train,1\nbb,val,1\n", "a patient belongs to one part"),
        ("a,train,1\n", "does not say to which part bb.h5 belongs"),
        ("a,train,1\nbb,training,2\n", "give train, val or test"),
    ],
)
def test_splits_that_are_refused(tmp_path, refused, rows, message):
    for name in ("a", "bb"):
        stack(tmp_path / "in" / f"{name}.h5", slices=1)
    (tmp_path / "split.csv").write_text("file,part,patient\n" + rows)
    arguments = (tmp_path / "in", "--output", tmp_path / "set", "--split", tmp_path / "split.csv")
    assert message in refused(script, *arguments)
    assert not (tmp_path / "set").exists()


def test_inputs_that_are_none(tmp_path, refused):
    assert "no such file" in refused(script, tmp_path / "x", "--output", tmp_path / "set")
    assert "no file named .h5" in refused(script, tmp_path, "--output", tmp_path / "set")
