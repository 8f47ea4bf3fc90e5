"""The main job: from scans to volumes with their JSON, whatever happens on the way."""

import json
import random
import shutil
import subprocess
import sys
import time

import h5py
import nibabel
import numpy as np
import pytest

from mrirecon.io import read_scan, write_scan
from mrirecon.io.arrays import plain_scan
from mrirecon.methods import CLASSICAL
from mrirecon.methods.classical import L1Wavelet
from mrirecon.networks.varnet import VarNet
from mrirecon.weights import card_of, save_weights

GRAPPA_MASK = ("--mask", "equispaced", "--accel", 2, "--center_fraction", 0.4)


def strict_json(path):
    def refuse(name):
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize("method", [method.name for method in CLASSICAL])
def test_every_method(mrirecon, scan_file, tmp_path, method):
    output = tmp_path / "o.nii.gz"
    result = mrirecon("recon", scan_file, "--output", output, "--method", method, *GRAPPA_MASK)
    assert result.status == 0, result.errors
    assert f"{output}: {method}, acceleration" in result.out
    image = nibabel.load(output)
    with h5py.File(scan_file) as file:
        target = file["reconstruction_rss"][()]
    data = np.asarray(image.dataobj).transpose(2, 0, 1)
    assert data.shape == target.shape and data.dtype == np.float32
    scale = (data * target).sum() / (data**2).sum()
    bound = 0.35 if method in ("zero_filled", "adjoint") else 0.2
    assert np.linalg.norm(scale * data - target) < bound * np.linalg.norm(target)
    assert strict_json(tmp_path / "o.nii.gz.json")["method"] == method
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.nii.gz", "o.nii.gz.json"]


def test_json_says_everything(mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.nii.gz"
    options = ("--method", "l1_wavelet", "--method.iterations", 5, "--calibration.size", 14)
    mask = ("--mask", "uniform1d", "--accel", 2, "--center_fraction", 0.4, "--mask_seed", 7)
    assert mrirecon("recon", scan_file, "--output", output, *options, *mask).status == 0
    info = strict_json(tmp_path / "o.nii.gz.json")
    assert info["method"] == "l1_wavelet"
    assert info["parameters"] == L1Wavelet(iterations=5).parameters()
    assert info["mask"] == {
        "kind": "uniform1d", "acceleration": 2.0, "center_fraction": 0.4, "seed": 7
    }  # fmt: skip
    assert info["acceleration"]["nominal"] == 2.0
    assert info["acceleration"]["achieved"] == pytest.approx(32 / 16)
    assert info["acceleration"]["without_calibration"] > 2
    assert info["maps"]["kind"] == "espirit" and info["maps"]["size"] == 14
    assert len(info["intensity_scale"]) == 1 and info["intensity_scale"][0] > 0
    assert set(info["versions"]) == {"mrirecon", "torch", "numpy", "python"}
    assert info["seconds_per_slice"] > 0 and 0 < info["data_residual"] < 1
    assert info["metrics"]["protocol"] == "fastmri" and info["metrics"]["psnr"] > 15
    assert info["source"] == str(scan_file) and info["kspace_shape"] == [3, 4, 40, 32]
    assert any("undersampled retrospectively" in note for note in info["notes"])


def test_json_of_a_method_without_maps_has_the_same_keys(mrirecon, scan_file, tmp_path):
    for method in ("zero_filled", "tv"):
        output = tmp_path / f"{method}.npy"
        assert mrirecon("recon", scan_file, "--output", output, "--method", method).status == 0
    without, with_maps = (
        strict_json(tmp_path / f"{method}.npy.json") for method in ("zero_filled", "tv")
    )
    assert without["maps"] == {"kind": "none"} and without["intensity_scale"] is None
    assert without["mask"] == {"kind": "as acquired"}
    assert without["acceleration"]["nominal"] is None
    assert set(with_maps) - set(without) == {"data_residual", "prewhitened"}


def test_the_reference_changes_nothing(mrirecon, scan_file, tmp_path):
    """Without, with a scaled, and with an unusable reference the image is the same to the bit."""
    results = {}
    for name in ("whole", "none", "scaled", "nan", "cropped"):
        path = tmp_path / f"{name}.h5"
        shutil.copy(scan_file, path)
        with h5py.File(path, "r+") as file:
            target = file["reconstruction_rss"][()]
            if name != "whole":
                del file["reconstruction_rss"]
                file.attrs.pop("max", None)
            if name == "scaled":
                file["reconstruction_rss"] = 50 * target
            if name == "nan":
                file["reconstruction_rss"] = np.full_like(target, np.nan)
            if name == "cropped":
                file["reconstruction_rss"] = target[:, :-4]
        output = tmp_path / f"{name}.npy"
        args = ("--output", output, "--method", "l1_wavelet", "--method.iterations", 5)
        result = mrirecon("recon", path, *args, "--report", tmp_path / f"{name}.html")
        assert result.status == 0, (name, result.errors)
        results[name] = output.read_bytes()
        info = strict_json(tmp_path / f"{name}.npy.json")
        assert ("metrics" in info) == (name in ("whole", "scaled")), name
    assert len(set(results.values())) == 1


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".h5", ".npy", ".cfl"])
def test_output_formats_hold_the_same_image(mrirecon, scan_file, tmp_path, suffix):
    output = tmp_path / f"o{suffix}"
    assert mrirecon("recon", scan_file, "--output", output, "--method", "adjoint").status == 0
    again = tmp_path / "again.npy"
    assert mrirecon("recon", scan_file, "--output", again, "--method", "adjoint").status == 0
    metrics = tmp_path / "m.json"
    assert mrirecon("evaluate", output, again, "--output", metrics).status == 0
    values = strict_json(metrics)["volumes"][f"o{suffix}"]
    assert values["nmse"] == pytest.approx(0, abs=1e-12) and values["ssim"] == pytest.approx(1)
    assert values["psnr"] is None or values["psnr"] > 100  # infinite is null in JSON


def test_rerun_skips_what_is_complete(mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.nii.gz"
    args = ("recon", scan_file, "--output", output, "--method", "cg_sense")
    assert mrirecon(*args).status == 0
    made = output.stat().st_mtime_ns
    again = mrirecon(*args)
    assert again.status == 0 and "skipped" in again.out
    report = mrirecon(*args, "--report", tmp_path / "r.html")
    assert report.status == 0 and "not written" in report.out
    other = mrirecon(*args, "--method.iterations", 3)
    assert other.status == 2 and "--overwrite" in other.errors[0] and str(output) in other.errors[0]
    assert output.stat().st_mtime_ns == made
    assert mrirecon(*args, "--method.iterations", 3, "--overwrite").status == 0
    assert output.stat().st_mtime_ns > made
    assert strict_json(tmp_path / "o.nii.gz.json")["parameters"]["iterations"] == 3


@pytest.mark.parametrize("changed", ["mask", "maps", "weights", "scan"])
def test_a_rerun_notices_files_that_changed(mrirecon, scan_file, tmp_path, changed):
    scan, weights = tmp_path / "scan.h5", tmp_path / "w.safetensors"
    mask, maps = tmp_path / "mask.npy", tmp_path / "maps.npy"
    shape = read_scan(scan_file).shape

    def write(what, version):
        if what == "scan":
            shutil.copy(scan_file, scan)
        elif what == "weights":
            network = VarNet(num_cascades=1, chans=2 + version, pools=1, sens_chans=2, sens_pools=1)
            save_weights(network, weights, card_of(network), overwrite=True)
        elif what == "maps":
            np.save(maps, np.full(shape, shape[1] ** -0.5 * 1j**version, np.complex64))
        else:
            np.save(mask, np.arange(shape[3]) != version)

    for what in ("scan", "weights", "mask", "maps"):
        write(what, 0)
    method = ("--method", "varnet", "--weights", weights)
    if changed != "weights":
        method = ("--method", "cg_sense", "--mask", mask, "--maps", maps)
    args = ("recon", scan, "--output", tmp_path / "o.npy", *method)
    assert mrirecon(*args).status == 0
    assert "skipped" in mrirecon(*args).out
    write(changed, 1)
    again = mrirecon(*args)
    assert again.status == 2 and "from other files" in again.errors[0]
    assert mrirecon(*args, "--overwrite").status == 0


def test_a_rerun_notices_another_first_image(mrirecon, scan_file, tmp_path):
    first = tmp_path / "first.cfl"
    for method in ("cg_sense", "adjoint"):
        line = ("recon", scan_file, "--method", method, "--output", first, "--overwrite")
        assert mrirecon(*line).status == 0
        args = ("recon", scan_file, "--method", "dds", "--method.start", first)
        args = (*args, "--method.levels", 2, "--slices", ":3", "--output", tmp_path / "o.npy")
        told = mrirecon(*args)
        assert told.status == (0 if method == "cg_sense" else 2)
    assert "from other files" in told.errors[0]


def test_a_rerun_notices_half_of_a_pair(mrirecon, scan_file, tmp_path):
    assert mrirecon("convert", scan_file, tmp_path / "scan.cfl").status == 0
    for name in ("scan", "scan.hdr"):
        args = (
            "recon",
            tmp_path / name,
            "--method",
            "adjoint",
            "--output",
            tmp_path / f"{name}.npy",
        )
        assert mrirecon(*args).status == 0 and "skipped" in mrirecon(*args).out
        data = tmp_path / "scan.cfl"
        (2 * np.fromfile(data, np.complex64)).tofile(data)
        assert "from other files" in mrirecon(*args).errors[0]


def test_a_report_of_nothing_names_overwriting_only_where_it_helps(mrirecon, scan_file, tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"no scan")
    for first in (tmp_path / "bad2.h5", scan_file):  # nothing is skipped; one is, the other fails
        args = ("recon", first, tmp_path / "bad.h5", "--output", tmp_path / "out")
        args = (*args, "--method", "adjoint")
        mrirecon(*args)
        told = mrirecon(*args, "--report", tmp_path / "r.html")
        assert told.status == 1 and "--overwrite" not in told.out


@pytest.mark.parametrize("flag", [("--overwrite",), ("--overwrite=true",), ("--overwrite", "true")])
def test_overwrite_is_a_bare_flag(mrirecon, scan_file, tmp_path, flag):
    output = tmp_path / "o.npy"
    output.write_text("old")
    for args in ((*flag, scan_file, "--output", output), (scan_file, "--output", output, *flag)):
        assert mrirecon("recon", *args, "--method", "adjoint").status == 0
        assert np.load(output).shape == (3, 40, 32)


def test_an_output_not_of_ours_is_kept(refused, scan_file, tmp_path):
    output, described = tmp_path / "o.npy", tmp_path / "o.npy.json"
    args = ("recon", scan_file, "--output", output, "--method", "adjoint")
    output.write_text("precious")
    assert "--overwrite" in refused(*args)
    for text in ("not JSON", "[1, 2]", "{}"):
        described.write_text(text)
        assert "--overwrite" in refused(*args)
    assert output.read_text() == "precious"


def test_several_scans_of_which_some_are_bad(mrirecon, scan_file, tmp_path):
    good, also, bad, gone = (tmp_path / n for n in ("a.one.h5", "a.two.h5", "bad.h5", "gone.h5"))
    shutil.copy(scan_file, good)
    shutil.copy(scan_file, also)
    bad.write_text("text")
    folder = tmp_path / "out"
    args = ("recon", good, bad, gone, also, "--output", folder, "--method", "adjoint")
    result = mrirecon(*args, "--report", folder / "report.html")
    assert result.status == 1
    assert len(result.errors) == 2
    assert str(bad) in result.errors[0] and str(gone) in result.errors[1]
    names = {
        "a.one.nii.gz",
        "a.one.nii.gz.json",
        "a.two.nii.gz",
        "a.two.nii.gz.json",
        "report.html",
        "report_a.one.png",
        "report_a.two.png",
    }
    assert {path.name for path in folder.iterdir()} == names
    shutil.copy(scan_file, bad)
    shutil.copy(scan_file, gone)
    again = mrirecon(*args, "--report", tmp_path / "again.html")
    assert again.status == 0 and again.out.count("skipped") == 2
    left_out = "Not in this report, complete before: a.one.h5, a.two.h5"
    assert left_out in again.out and left_out in (tmp_path / "again.html").read_text()
    assert (folder / "bad.nii.gz").exists() and (folder / "gone.nii.gz").exists()


def test_errors_of_several_scans_name_the_scan(mrirecon, scan_file, tmp_path, kspace):
    other = tmp_path / "narrow.npy"
    np.save(other, kspace[..., 1:])
    np.save(tmp_path / "mask.npy", np.ones((40, 32), bool))
    args = ("--output", tmp_path / "out", "--mask", tmp_path / "mask.npy", "--method", "adjoint")
    result = mrirecon("recon", other, scan_file, *args)
    assert result.status == 1 and len(result.errors) == 1
    assert "narrow.npy" in result.errors[0] and "mask.npy" in result.errors[0]
    assert (tmp_path / "out" / "scan.nii.gz").exists()


def test_several_scans_of_the_same_name(refused, scan_file, tmp_path):
    (tmp_path / "x").mkdir()
    shutil.copy(scan_file, tmp_path / "x" / "scan.mrd")
    line = refused("recon", scan_file, tmp_path / "x" / "scan.mrd", "--output", tmp_path / "out")
    assert str(scan_file) in line and "different folders" in line
    assert not (tmp_path / "out").exists()


def test_several_scans_need_a_folder(refused, scan_file, tmp_path):
    two = tmp_path / "two.h5"
    shutil.copy(scan_file, two)
    assert "folder" in refused("recon", scan_file, two, "--output", tmp_path / "o.nii.gz")
    assert "folder" in refused("recon", scan_file, two, "--output", two / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["two.h5"]


def test_slices(mrirecon, scan_file, tmp_path):
    whole, part = tmp_path / "whole.nii.gz", tmp_path / "part.nii.gz"
    args = ("recon", scan_file, "--method", "cg_sense", "--output")
    assert mrirecon(*args, whole).status == 0
    assert mrirecon(*args, part, "--slices", "1:3").status == 0
    whole, part = nibabel.load(whole), nibabel.load(part)
    assert np.array_equal(np.asarray(part.dataobj), np.asarray(whole.dataobj)[..., 1:3])
    assert np.allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [0, 0, 1, 1], atol=1e-3)


@pytest.mark.parametrize("suffix", [".npy", ".png", ".cfl", " bare"])
def test_mask_files_do_what_the_kind_does(mrirecon, scan_file, tmp_path, suffix):
    mask = ("poisson", "--shape", 40, 32, "--accel", 3, "--center_fraction", 0.4, "--seed", 4)
    made = tmp_path / "mask.npy"
    assert mrirecon("mask", *mask, "--output", made).status == 0
    file = tmp_path / f"mask{suffix}"
    if suffix == ".png":
        assert mrirecon("mask", *mask, "--output", file).status == 0
    elif suffix != ".npy":
        file = tmp_path / ("mask" if suffix == " bare" else "mask.cfl")
        np.load(made).astype(np.complex64).ravel(order="F").tofile(tmp_path / "mask.cfl")
        (tmp_path / "mask.hdr").write_text("# Dimensions\n40 32\n")
    images = []
    kind = ("--mask", "poisson", "--accel", 3, "--center_fraction", 0.4, "--mask_seed", 4)
    for number, option in enumerate((kind, ("--mask", file))):
        output = tmp_path / f"{number}.npy"
        args = ("recon", scan_file, "--output", output, "--method", "adjoint", *option)
        assert mrirecon(*args).status == 0
        images.append(np.load(output))
    assert np.array_equal(*images)
    info = strict_json(tmp_path / "1.npy.json")
    assert info["mask"] == {"kind": "file", "file": str(file)}
    assert info["acceleration"]["achieved"] == pytest.approx(3, rel=0.01)


def test_a_mask_on_an_undersampled_scan_is_an_intersection(mrirecon, tmp_path, kspace):
    kspace = kspace.copy()
    kspace[..., 1:10:2] = 0
    np.save(tmp_path / "in.npy", kspace)
    mask = np.ones((40, 32), bool)
    mask[:, -8:] = False
    np.save(tmp_path / "mask.npy", mask)
    args = ("--output", tmp_path / "o.npy", "--mask", tmp_path / "mask.npy", "--method", "adjoint")
    result = mrirecon("recon", tmp_path / "in.npy", *args)
    assert result.status == 0 and "intersected" in result.out
    info = strict_json(tmp_path / "o.npy.json")
    assert info["acceleration"]["achieved"] == pytest.approx(32 / (32 - 5 - 8))


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".cfl"])
@pytest.mark.parametrize("sets", [1, 2])
def test_maps_of_a_file_are_the_maps_of_the_data(mrirecon, scan_file, tmp_path, suffix, sets):
    maps = tmp_path / f"maps{suffix}"
    calibration = ("--calibration.size", 16, "--calibration.sets", sets)
    assert mrirecon("maps", scan_file, "--output", maps, *calibration).status == 0
    made = strict_json(tmp_path / f"maps{suffix}.json")
    assert made["maps"]["kind"] == "espirit" and made["maps"]["size"] == 16
    assert len(made["source_sha256"]) == 64
    images = []
    for number, option in enumerate((("--maps", maps), calibration)):
        output = tmp_path / f"{number}.npy"
        args = ("recon", scan_file, "--output", output, "--method", "cg_sense", *option)
        # the file's maps are of the data as they are, not prewhitened
        assert mrirecon(*args, "--whiten", "false", "--slices", "1:3").status == 0
        images.append(np.load(output))
    assert images[0].shape == (2, 40, 32)
    assert np.allclose(*images, atol=1e-5 * np.abs(images[1]).max())
    assert strict_json(tmp_path / "0.npy.json")["maps"] == {"kind": "file", "source": str(maps)}


def test_maps_of_lowres(mrirecon, scan_file, tmp_path):
    output = tmp_path / "o.npy"
    assert mrirecon("recon", scan_file, "--output", output, "--maps", "lowres").status == 0
    assert strict_json(tmp_path / "o.npy.json")["maps"]["kind"] == "lowres"
    maps = tmp_path / "maps.npy"
    assert mrirecon("maps", scan_file, "--output", maps, "--kind", "lowres").status == 0
    power = (np.abs(np.load(maps)) ** 2).sum(axis=1)
    assert np.allclose(power[power > 0], 1, atol=1e-4)


def test_partial_fourier(mrirecon, nifti_file, tmp_path):
    scan = tmp_path / "scan.h5"
    args = ("simulate", nifti_file, "--output", scan, "--partial_fourier", 0.7, "--coils", 4)
    assert mrirecon(*args, "--phase_rad", 0.5).status == 0
    assert "--partial_fourier" in mrirecon("info", scan).out
    images = {}
    for kind in ("zero", "homodyne", "pocs"):
        output = tmp_path / f"{kind}.npy"
        args = ("recon", scan, "--output", output, "--method", "cg_sense")
        assert mrirecon(*args, "--partial_fourier", kind).status == 0
        info = strict_json(tmp_path / f"{kind}.npy.json")
        assert info["partial_fourier"] == kind
        images[kind] = info["metrics"]["nmse"]
    assert images["pocs"] < images["zero"] and images["homodyne"] < images["zero"]


def test_several_volumes_make_a_4d_nifti(mrirecon, refused, tmp_path, kspace, monkeypatch):
    import torch

    from mrirecon.recon.pipeline import Pipeline

    volumes = torch.from_numpy(np.stack([kspace, 2 * kspace]))
    scan = plain_scan(
        "memory", "test", kspace.shape, lambda volume, index: volumes[volume, index], volumes=2
    )
    write_scan(scan, tmp_path / "scan.cfl")
    assert read_scan(tmp_path / "scan.cfl").volumes == 2
    args = ("recon", tmp_path / "scan.cfl", "--method", "cg_sense", "--output")
    assert mrirecon(*args, tmp_path / "o.nii.gz", "--report", tmp_path / "r.html").status == 0
    data = np.asarray(nibabel.load(tmp_path / "o.nii.gz").dataobj)
    assert data.shape == (40, 32, 3, 2)
    assert np.allclose(data[..., 1], 2 * data[..., 0], rtol=1e-4, atol=1e-4 * data.max())
    monkeypatch.delattr(Pipeline, "run")  # refused before the work
    line = refused(*args, tmp_path / "o.npy")
    assert "2" in line and ".nii.gz" in line
    assert not (tmp_path / "o.npy").exists()


def test_killed_at_any_moment(mrirecon, scan_file, tmp_path):
    """SIGKILL leaves nothing under the final name, or everything; a rerun completes."""
    output, described = tmp_path / "o.nii.gz", tmp_path / "o.nii.gz.json"
    options = ("--method", "adjoint", "--output", str(output))
    command = [sys.executable, "-m", "mrirecon", "recon", str(scan_file), *options]
    assert mrirecon("recon", scan_file, *options).status == 0
    expected = output.read_bytes()
    output.unlink()
    described.unlink()
    rng = random.Random(0)
    events = (
        lambda: any(tmp_path.glob(".partial-*")),  # it has begun to write
        described.exists,  # between the renames, or a moment after them
        lambda: rng.random() < 1e-3,  # at random
        lambda: rng.random() < 1e-3,
    )
    for happened in events:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not happened():
            time.sleep(0.001)
        process.kill()
        process.wait()
        if output.exists():
            assert output.read_bytes() == expected
            strict_json(described)
            output.unlink()
    result = mrirecon("recon", scan_file, *options)
    assert result.status == 0 and "skipped" not in result.out
    assert output.read_bytes() == expected


@pytest.mark.parametrize("options", [(), ("--method.z_smoothness", 0.1)])
def test_a_killed_sampler_goes_on(mrirecon, scan_file, tmp_path, options):
    """SIGKILL once the first slice is kept: a rerun ends with the image of a run that nothing disturbed."""
    undisturbed, output = tmp_path / "undisturbed.npy", tmp_path / "o.npy"
    options = ("--method", "dds", "--method.levels", 8, "--method.images_at_once", 1, *options)
    args = tuple(map(str, ("recon", scan_file, *options, "--output")))
    assert mrirecon(*args, undisturbed).status == 0
    process = subprocess.Popen([sys.executable, "-m", "mrirecon", *args, str(output)])
    folder = tmp_path / ".o.npy.slices"
    while process.poll() is None and not any(folder.glob("[0-9]*.safetensors")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert folder.exists() and not output.exists()
    assert mrirecon(*args, output).status == 0
    assert not folder.exists()
    assert np.array_equal(np.load(output), np.load(undisturbed))


def test_killed_between_the_renames(mrirecon, refused, scan_file, tmp_path, monkeypatch):
    """Once the JSON has its name and the image has not, nothing counts as done, and a rerun completes."""
    from pathlib import Path

    output = tmp_path / "o.nii.gz"
    args = ("recon", scan_file, "--output", output, "--method", "adjoint")
    rename = Path.replace

    def die(self, target):
        if Path(target) == output:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        assert mrirecon(*args).status == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.nii.gz.json"]
    again = mrirecon(*args)
    assert again.status == 0 and output.exists()
    with (
        monkeypatch.context() as patch
    ):  # overwriting: the old image may not stand beside the new JSON
        patch.setattr(Path, "replace", die)
        assert mrirecon(*args, "--overwrite", "--slices", "0:1").status == 130
    assert not output.exists()
    assert mrirecon(*args).status == 0


@pytest.mark.parametrize("compression", ["svd", "geometric"])
def test_compressed_coils_hold_nearly_all_of_the_image(mrirecon, nifti_file, tmp_path, compression):
    scan = tmp_path / "scan.h5"
    assert (
        mrirecon("simulate", nifti_file, "--output", scan, "--coils", 12, "--snr", 1e4).status == 0
    )
    images = {}
    for name, options in {"all": (), "six": ("--compress_coils", 6)}.items():
        output = tmp_path / f"{name}.npy"
        options = (*options, "--compression", compression, "--method", "zero_filled")
        assert mrirecon("recon", scan, "--output", output, *options).status == 0
        images[name] = np.abs(np.load(output))
    difference = np.linalg.norm(images["all"] - images["six"])
    assert 0 < difference < 0.05 * np.linalg.norm(images["all"])
    info = strict_json(tmp_path / "six.npy.json")
    assert f"12 coils compressed to 6 ({compression})" in info["notes"][0] + info["notes"][-1]
    assert info["kspace_shape"][1] == 6


def test_removing_oversampling_keeps_the_image(mrirecon, nifti_file, tmp_path):
    scan = tmp_path / "scan.h5"
    oversampled = ("--readout_oversampling", 2, "--snr", 1e4)
    assert mrirecon("simulate", nifti_file, "--output", scan, *oversampled).status == 0
    images = []
    for flags in ((), ("--remove_oversampling",)):
        output = tmp_path / f"{len(flags)}.npy"
        mrirecon("recon", scan, "--output", output, "--method", "zero_filled", *flags)
        images.append(np.load(output))
    assert images[0].shape == images[1].shape
    assert np.linalg.norm(images[0] - images[1]) < 1e-4 * np.linalg.norm(images[0])


def test_preview(mrirecon, refused, scan_file, tmp_path):
    from PIL import Image

    picture, output = tmp_path / "p.png", tmp_path / "o.npy"
    args = ("recon", scan_file, "--output", output, "--preview", picture, "--method")
    assert mrirecon(*args, "dds", "--method.levels", 2).status == 0
    with Image.open(picture) as image:
        assert image.size == (3 * 40, 32)  # three slices side by side
        assert np.asarray(image).max() > 200
        assert image.text["Description"] == "slices 0, 1, 2: level 1 of 2, 0 draws finished"
    assert strict_json(tmp_path / "o.npy.json")["parameters"].get("preview") is None
    again = mrirecon(*args, "dds", "--method.levels", 3, "--overwrite")
    assert again.status == 0, again.errors  # an old preview is replaced
    assert "shows nothing" in refused(*args, "tv", "--overwrite")
    wrong = ("recon", scan_file, "--output", output, "--method", "dds", "--preview")
    assert ".png" in refused(*wrong, tmp_path / "p.jpg")
    assert "does not exist" in refused(*wrong, tmp_path / "no" / "p.png")
