"""The other commands, and other people's files through all of them."""

import itertools
import json
import shutil
import subprocess

import h5py
import nibabel
import numpy as np
import pytest
from conftest import AFFINE, COILS, SLICES, phantom_image

from mrirecon import read_scan, reconstruct
from mrirecon.masks import MASKS

FORMATS = (".h5", ".mrd", ".cfl", ".npy", ".npz")


def image_of(mrirecon, scan, output, *options):
    args = ("recon", scan, "--output", output, "--method", "cg_sense", "--whiten", "false")
    result = mrirecon(*args, *options)
    assert result.status == 0, result.errors
    return np.load(output)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, repeat=2)))
def test_convert_keeps_the_image(mrirecon, scan_file, tmp_path, first, second):
    a, b = tmp_path / f"a{first}", tmp_path / f"b{second}"
    for source, target in ((scan_file, a), (a, b)):
        result = mrirecon("convert", source, target)
        assert result.status == 0 and "3 x 4 x 40 x 32" in result.out
    expected = image_of(mrirecon, scan_file, tmp_path / "0.npy")
    assert np.allclose(image_of(mrirecon, b, tmp_path / "1.npy"), expected, atol=1e-6)
    assert mrirecon("info", b).status == 0


def test_convert_says_what_is_lost(mrirecon, scan_file, tmp_path):
    lost = mrirecon("convert", scan_file, tmp_path / "a.npy").out
    assert "note: .npy does not hold voxel size and position" in lost
    assert "reference" in lost and "noise covariance" in lost
    assert mrirecon("convert", scan_file, tmp_path / "b.npy", "--slices", "1:2").status == 0
    whole, part = np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy")
    assert np.array_equal(part, whole[1:2])


def test_convert_says_what_was_assumed(mrirecon, scan_file, tmp_path):
    assert mrirecon("convert", scan_file, tmp_path / "a.npy").status == 0
    corner = np.fft.ifftshift(np.load(tmp_path / "a.npy"), axes=(-2, -1))
    np.save(tmp_path / "corner.npy", corner)
    out = mrirecon("convert", tmp_path / "corner.npy", tmp_path / "b.npy").out
    assert "--kspace_centre corner" in out


def test_geometry_survives_simulate_convert_recon(mrirecon, nifti_file, tmp_path):
    """The NIfTI that comes out lies where the one that went in lay."""
    scan, mrd, output = tmp_path / "s.h5", tmp_path / "s.mrd", tmp_path / "o.nii.gz"
    assert mrirecon("simulate", nifti_file, "--output", scan, "--snr", 200).status == 0
    assert mrirecon("convert", scan, mrd).status == 0
    assert mrirecon("recon", mrd, "--output", output, "--method", "cg_sense").status == 0
    truth, made = nibabel.load(nifti_file), nibabel.load(output)
    assert np.allclose(made.affine, truth.affine, atol=1e-3)
    a, b = np.asarray(truth.dataobj), np.asarray(made.dataobj)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


def test_info(mrirecon, scan_file):
    text = mrirecon("info", scan_file).out
    for words in (
        "3 slice(s) x 4 coil(s) x 40 readout x 32 phase",
        "2 x 2.5 x 4 mm",
        "readout to left, phase to anterior, slices to superior",
        "acceleration          1.000",
        "ESPIRiT from a 24 x 24 block",
        "noise measurement     yes",
        "reference image       yes",
    ):
        assert words in text, text


@pytest.mark.parametrize("kind", [kind for kind in MASKS if not kind.startswith("paper")])
@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_mask(mrirecon, tmp_path, kind, suffix):
    output = tmp_path / f"m{suffix}"
    args = ("mask", kind, "--shape", 48, 40, "--accel", 4, "--output", output, "--seed", 5)
    result = mrirecon(*args)
    assert result.status == 0, result.errors
    if suffix == ".png":
        from PIL import Image

        mask = np.asarray(Image.open(output)) > 0
    else:
        mask = np.load(output)
    assert mask.shape == (48, 40)
    assert f"{int(mask.sum())} points" in result.out
    assert f"acceleration {mask.size / mask.sum():.3f}" in result.out
    assert len(mrirecon(*args).errors) == 1
    made = output.read_bytes()
    assert mrirecon(*args, "--overwrite").status == 0 and output.read_bytes() == made


def test_simulate(mrirecon, nifti_file, tmp_path):
    path = tmp_path / "s.h5"
    options = ("--coils", 5, "--readout_oversampling", 2, "--slices", "1:3", "--snr", 30)
    result = mrirecon("simulate", nifti_file, "--output", path, *options)
    assert result.status == 0 and "2 x 5 x 80 x 32" in result.out
    with h5py.File(path) as file:
        assert file["kspace"].shape == (2, 5, 80, 32)
        assert file["reconstruction_rss"].shape == (2, 40, 32)
    again = tmp_path / "again.h5"
    assert mrirecon("simulate", nifti_file, "--output", again, *options).status == 0
    other = tmp_path / "other.h5"
    assert mrirecon("simulate", nifti_file, "--output", other, *options, "--seed", 1).status == 0
    with h5py.File(path) as a, h5py.File(again) as b, h5py.File(other) as c:
        assert np.array_equal(a["kspace"], b["kspace"])
        assert not np.array_equal(a["kspace"], c["kspace"])


def test_evaluate_agrees_with_fastmri(mrirecon, scan_file, tmp_path):
    from fastmri import evaluate as official

    output, metrics = tmp_path / "o.h5", tmp_path / "m.json"
    assert mrirecon("recon", scan_file, "--output", output, "--method", "adjoint").status == 0
    result = mrirecon("evaluate", output, scan_file, "--output", metrics)
    assert result.status == 0 and "protocol fastmri" in result.out
    with h5py.File(output) as a, h5py.File(scan_file) as b:
        x, t = a["reconstruction"][()], b["reconstruction_rss"][()]
    values = json.loads(metrics.read_text())["volumes"]["o.h5"]
    for key in ("nmse", "psnr", "ssim"):
        assert values[key] == pytest.approx(
            np.asarray(getattr(official, key)(t, x)).item(), rel=1e-5
        )
    beside = json.loads((tmp_path / "o.h5.json").read_text())["metrics"]
    assert beside["psnr"] == pytest.approx(values["psnr"], rel=1e-6)
    assert f"{values['psnr']:.3f}" in result.out


def test_evaluate_folders(mrirecon, scan_file, tmp_path):
    """Several reconstructions against their scans, matched by name whatever the suffix."""
    targets, folder = tmp_path / "targets", tmp_path / "out"
    targets.mkdir()
    for name in ("a.1.h5", "a.2.h5", "unused.h5"):
        shutil.copy(scan_file, targets / name)
    scans = (targets / "a.1.h5", targets / "a.2.h5")
    assert mrirecon("recon", *scans, "--output", folder, "--method", "adjoint").status == 0
    result = mrirecon("evaluate", folder, targets, "--output", tmp_path / "m.json")
    assert result.status == 0 and "mean of volumes" in result.out
    assert f"note: 1 of 3 volumes in {targets} have no partner" in result.out
    assert result.out.count("note: ") == 1
    found = json.loads((tmp_path / "m.json").read_text())
    assert set(found["volumes"]) == {"a.1.nii.gz", "a.2.nii.gz"}
    one = found["volumes"]["a.1.nii.gz"]
    assert found["mean"]["ssim"] == pytest.approx(one["ssim"]) and found["protocol"] == "fastmri"


def test_demo_with_one_slice(mrirecon, tmp_path):
    result = mrirecon("demo", "--output", tmp_path / "new" / "demo", "--slices", "11:12")
    assert result.status == 0, result.errors
    folder = tmp_path / "new" / "demo"
    names = {path.name for path in folder.iterdir()}
    assert {"demo.png", "report.html"} <= names
    volumes = sorted(name for name in names if name.endswith(".nii.gz"))
    volumes.remove("dds_std.nii.gz")
    assert nibabel.load(folder / "dds_std.nii.gz").get_fdata().any()
    assert "dds.nii.gz" in volumes and "standard deviation of 4 draws" in result.out
    assert len(volumes) >= 5 and {f"{name}.json" for name in volumes} <= names
    for name in volumes:
        image = nibabel.load(folder / name)
        assert image.shape == (128, 96, 1) and image.header["sform_code"] == 1
        assert json.loads((folder / f"{name}.json").read_text())["metrics"]["psnr"] > 20
    assert mrirecon("demo", "--output", folder, "--slices", "11:12").status == 0  # replaces


# --- files of other people's tools ---


def generate_shepp_logan(folder, *options):
    if shutil.which("ismrmrd_generate_cartesian_shepp_logan") is None:
        pytest.skip("ismrmrd-tools is not installed")
    path = folder / "phantom.h5"
    subprocess.run(
        ["ismrmrd_generate_cartesian_shepp_logan", "-m", "64", "-o", str(path), *options],
        check=True,
        capture_output=True,
    )
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("-c", "8"),
        ("-c", "8", "-r", "3"),
        ("-c", "8", "-a", "2", "-w", "16"),
        ("-c", "8", "-C"),
        ("-c", "8", "-a", "2", "-w", "16", "-C", "-r", "2"),
        ("-c", "1"),
        ("-c", "4", "-k"),
        ("-c", "5", "-n", "0.2"),
    ],
    ids=" ".join,
)
def test_ismrmrd_tools(mrirecon, tmp_path, options):
    path = generate_shepp_logan(tmp_path, *options)
    info = mrirecon("info", path)
    assert info.status == 0, info.errors
    assert "output matrix         64 x 64" in info.out
    output = tmp_path / "o.nii.gz"
    args = ("recon", path, "--output", output, "--method", "cg_sense")
    result = mrirecon(*args)
    assert result.status == 0, result.errors
    image = np.asarray(nibabel.load(output).dataobj)
    given = dict(itertools.pairwise(options))
    # the generator measures each repetition once per interleave, as a repetition of its own
    repetitions = int(given.get("-r", 1)) * int(given.get("-a", 1))
    assert image.shape == ((64, 64, 1) if repetitions == 1 else (64, 64, 1, repetitions))
    if "-C" in options:
        assert "noise measurement     yes" in info.out and "prewhitened" in result.out
    target = tmp_path / "c.mrd"
    assert mrirecon("convert", path, target).status == 0
    again = tmp_path / "again.nii.gz"
    options = ("--method", "cg_sense", "--whiten", "false", "--output")
    assert mrirecon("recon", target, *options, again).status == 0
    same = tmp_path / "same.nii.gz"
    assert mrirecon("recon", path, *options, same).status == 0
    a, b = (np.asarray(nibabel.load(file).dataobj) for file in (again, same))
    assert np.allclose(a, b, atol=1e-5 * b.max())


def run_bart(folder, *args):
    if shutil.which("bart") is None:
        pytest.skip("BART is not installed")
    done = subprocess.run(["bart", *args], check=True, capture_output=True, text=True, cwd=folder)
    return done.stdout


def test_bart_phantom(mrirecon, tmp_path):
    """k-space by BART, our image; the inverse FFT and RSS by BART agree with our zero-filled one."""
    run_bart(tmp_path, "phantom", "-x", "64", "-k", "-s", "8", "k")
    run_bart(tmp_path, "fft", "-i", "-u", "3", "k", "coils")
    run_bart(tmp_path, "rss", "8", "coils", "rss")
    for name in ("k", "k.cfl", "k.hdr"):
        output = tmp_path / f"{name}.npy"
        args = ("recon", tmp_path / name, "--output", output, "--method", "zero_filled")
        assert mrirecon(*args).status == 0
        expected = np.fromfile(tmp_path / "rss.cfl", np.complex64).reshape(64, 64, order="F")
        assert np.allclose(np.load(output)[0], expected, atol=1e-4 * np.abs(expected).max())
    assert mrirecon("info", tmp_path / "k").status == 0


def test_bart_reads_what_we_write(mrirecon, scan_file, tmp_path, kspace):
    assert mrirecon("convert", scan_file, tmp_path / "k.cfl").status == 0
    sizes = run_bart(tmp_path, "show", "-m", "k")
    assert "40" in sizes and "32" in sizes
    run_bart(tmp_path, "slice", "13", "1", "k", "one")
    one = np.fromfile(tmp_path / "one.cfl", np.complex64).reshape((40, 32, 4), order="F")
    assert np.array_equal(one.transpose(2, 0, 1), kspace[1])
    args = ("recon", scan_file, "--output", tmp_path / "image.cfl", "--method", "adjoint")
    assert mrirecon(*args).status == 0
    args = ("recon", scan_file, "--output", tmp_path / "image.npy", "--method", "adjoint")
    assert mrirecon(*args).status == 0
    run_bart(tmp_path, "slice", "13", "2", "image", "slice")
    image = np.fromfile(tmp_path / "slice.cfl", np.complex64).reshape((40, 32), order="F")
    assert np.array_equal(image, np.load(tmp_path / "image.npy")[2])


def test_bart_maps_and_masks(mrirecon, tmp_path):
    """Maps of BART's ecalib and a mask of BART's poisson, used as files."""
    run_bart(tmp_path, "phantom", "-x", "64", "-k", "-s", "8", "k")
    run_bart(tmp_path, "ecalib", "-m", "1", "-r", "24", "k", "maps")
    run_bart(
        tmp_path, "poisson", "-Y", "64", "-Z", "64", "-y", "1.5", "-z", "1.5", "-C", "20", "mask"
    )
    args = ("recon", tmp_path / "k", "--output", tmp_path / "o.npy", "--method", "cg_sense")
    result = mrirecon(*args, "--maps", tmp_path / "maps", "--mask", tmp_path / "mask")
    assert result.status == 0, result.errors
    image = np.load(tmp_path / "o.npy")[0]
    run_bart(tmp_path, "phantom", "-x", "64", "truth")
    truth = np.fromfile(tmp_path / "truth.cfl", np.complex64).reshape(64, 64, order="F")
    assert np.corrcoef(np.abs(image).ravel(), np.abs(truth).ravel())[0, 1] > 0.9


def test_how_an_array_is_stored_is_an_option_of_every_command(
    mrirecon, refused, scan_file, tmp_path
):
    """Doubted by info; mended in recon, maps and convert alike; part of what a result depends on."""
    whole = read_scan(scan_file)
    kspace = np.stack([whole.kspace(index).numpy() for index in range(SLICES)])
    usual, stored = tmp_path / "usual.npy", tmp_path / "stored.npy"
    np.save(usual, kspace)
    np.save(stored, np.fft.ifftshift(kspace, axes=(2, 3)).transpose(2, 3, 1, 0))
    options = ("--axes", "readout,phase,coil,slice", "--kspace_centre", "corner")
    np.save(tmp_path / "turned.npy", kspace.transpose(2, 3, 1, 0))
    for command in (
        ("info",),
        ("recon", "--output", tmp_path / "t.npy", "--method", "zero_filled"),
    ):
        said = mrirecon(command[0], tmp_path / "turned.npy", *command[1:]).out
        assert "give --axes readout,phase,coil,slice" in said
    mended = mrirecon("info", stored, *options).out
    assert f"{SLICES} slice(s) x {COILS} coil(s)" in mended and "give --" not in mended

    def images(source, *given):
        output = tmp_path / "o.npy"
        run = ("recon", source, "--output", output, "--method", "cg_sense", "--overwrite", *given)
        assert mrirecon(*run).status == 0
        return np.load(output), json.loads((tmp_path / "o.npy.json").read_text())["request"]

    expected, asked = images(usual)
    got, asked_otherwise = images(stored, *options)
    np.testing.assert_array_equal(got, expected)
    assert asked["layout"]["kspace_centre"] == "middle"
    assert asked_otherwise["layout"] == {
        **{"axes": options[1], "kspace_centre": "corner", "image_centre": "middle"},
        "variable": None,
    }
    again = ("recon", stored, "--output", tmp_path / "o.npy", "--method", "cg_sense")
    assert "made with other settings" in refused(*again, *options[:2])
    volume = reconstruct(
        stored, method="cg_sense", axes="readout,phase,coil,slice", kspace_centre="corner"
    )
    np.testing.assert_array_equal(volume.image[0].numpy(), expected)

    assert mrirecon("convert", stored, tmp_path / "c.npy", *options).status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), kspace)
    for source, given in ((usual, ()), (stored, options)):
        output = tmp_path / f"maps_{source.name}"
        assert mrirecon("maps", source, "--output", output, *given).status == 0
    same = [np.load(tmp_path / f"maps_{source.name}") for source in (usual, stored)]
    np.testing.assert_array_equal(*same)
    assert "kspace_centre is 'centre': give middle" in refused(
        "info", stored, "--kspace_centre", "centre"
    )
    (tmp_path / "layout.yaml").write_text("axes: readout,phase,coil,slice\nkspace_centre: corner\n")
    assert "give --" not in mrirecon("info", stored, "--config", tmp_path / "layout.yaml").out


def test_evaluate_of_another_unit_says_the_gain(mrirecon, tmp_path):
    image = phantom_image().transpose(2, 0, 1).astype(np.complex64)
    np.save(tmp_path / "target.npy", image)
    np.save(tmp_path / "recon.npy", 400 * image)
    result = mrirecon("evaluate", tmp_path / "recon.npy", tmp_path / "target.npy")
    assert "note: recon.npy is 400 times its target" in result.out
    assert "note" not in mrirecon("evaluate", tmp_path / "target.npy", tmp_path / "target.npy").out


def test_simulate_says_that_a_sheared_orientation_is_lost(mrirecon, tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 1.0
    nibabel.save(nibabel.Nifti1Image(phantom_image(), affine), tmp_path / "i.nii")
    result = mrirecon("simulate", tmp_path / "i.nii", "--output", tmp_path / "k.h5")
    assert result.status == 0 and "affine is sheared: orientation unknown" in result.out


def test_images_too_small_for_haarpsi_have_no_number_of_it(mrirecon, tmp_path):
    """Of a folder the mean is over the others."""
    for folder, factor in (("recon", 0.9), ("target", 1.0)):
        (tmp_path / folder).mkdir()
        for name, shape in (("small", (1, 15, 20)), ("large", (1, 20, 20))):
            image = factor * np.random.default_rng(0).random(shape, np.float32)
            np.save(tmp_path / folder / f"{name}.npy", image)
    metrics = tmp_path / "metrics.json"
    result = mrirecon("evaluate", tmp_path / "recon", tmp_path / "target", "--output", metrics)
    assert "nan" not in result.out
    assert "note: small.npy has no HaarPSI, which needs 16 x 16 pixels" in result.out
    found = json.loads(metrics.read_text())
    assert found["volumes"]["small.npy"]["haarpsi"] is None
    assert found["mean"]["haarpsi"] == found["volumes"]["large.npy"]["haarpsi"] > 0.5
