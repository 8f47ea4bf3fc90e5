"""`mrirecon view`, and that everybody agrees on where a reconstruction lies."""

import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from mrirecon.cli import view
from mrirecon.io import write_scan
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan


def about(page):
    """What the page says of its first volume."""
    return json.loads(re.search(r'class="about">(.*?)</script>', page.read_text())[1])


def test_the_page_stands_beside_the_volume(mrirecon, refused, nifti_file, tmp_path):
    image = tmp_path / "brain.one.nii.gz"
    shutil.copy(nifti_file, image)
    result = mrirecon("view", image)
    assert result.status == 0 and str(tmp_path / "brain.one.html") in result.out
    assert about(tmp_path / "brain.one.html")["name"] == "brain.one.nii.gz"
    (tmp_path / "brain.one.html").write_text("mine")
    assert "--overwrite" in refused("view", image)
    assert (tmp_path / "brain.one.html").read_text() == "mine"
    assert mrirecon("view", image, "--overwrite").status == 0
    before = (tmp_path / "brain.one.html").read_text()
    assert mrirecon("view", image).status == 0  # its own page of the same file
    assert (tmp_path / "brain.one.html").read_text() == before
    assert "--overwrite" in refused("view", image, "--overlay", image)
    both = mrirecon("view", image, nifti_file, "--overlay", image, "--output", tmp_path / "b.html")
    assert both.status == 0
    assert (tmp_path / "b.html").read_text().count('class="about"') == 2


def test_a_browser_opens_only_for_somebody_who_sees_it(mrirecon, nifti_file, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    page = tmp_path / "v.html"
    words = ("view", nifti_file, "--output", page)
    for name in ("CI", "SSH_CONNECTION", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    assert "open it in a browser" in mrirecon(*words).out  # no terminal
    monkeypatch.setattr("mrirecon.cli.view._is_watched", lambda: True)
    assert "open it in a browser" in mrirecon(*words, "--open", "false").out and not opened
    assert "opened in the browser" in mrirecon(*words).out
    assert opened == [page.as_uri()]


@pytest.mark.parametrize(
    ("known", "terminal", "watched"),
    [
        ({"DISPLAY": ":0"}, True, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, True),
        ({"DISPLAY": ":0"}, False, False),
        ({"DISPLAY": ":0", "CI": "true"}, True, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "a"}, True, False),
        ({}, True, False),
    ],
)
def test_who_sees_a_browser(monkeypatch, known, terminal, watched):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: terminal))
    assert view._is_watched() == watched


def test_options_from_yaml(mrirecon, nifti_file, tmp_path):
    (tmp_path / "v.yaml").write_text(f"volumes: {nifti_file}\noutput: {tmp_path / 'v.html'}\n")
    assert mrirecon("view", "--config", tmp_path / "v.yaml").status == 0
    assert about(tmp_path / "v.html")["name"] == nifti_file.name


# Array axes of 2, 3 and 5 mm towards left, inferior and posterior (a coronal scan), turned by 25 degrees about the
# left-right axis and then by 10 about the body's.
LETTERS, VOXEL = "LIP", (2.0, 3.0, 5.0)


def oblique_affine():
    about_x, about_z = np.radians(25), np.radians(10)
    straight = np.array(
        [[-1, 0, 0], [0, 0, -1], [0, -1, 0]]
    )  # columns in RAS: left, inferior, posterior
    turn_x = [
        [1, 0, 0],
        [0, np.cos(about_x), -np.sin(about_x)],
        [0, np.sin(about_x), np.cos(about_x)],
    ]
    turn_z = [
        [np.cos(about_z), -np.sin(about_z), 0],
        [np.sin(about_z), np.cos(about_z), 0],
        [0, 0, 1],
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.array(turn_z) @ turn_x @ straight * VOXEL
    affine[:3, 3] = (12.0, -7.0, 31.0)
    return affine


@pytest.fixture
def oblique_volume(mrirecon, tmp_path):
    """A NIfTI that `recon` made of an MRD file with oblique slices."""
    image = shepp_logan((40, 32)).numpy()[:, :, None] * np.linspace(1, 0.6, 4, dtype=np.float32)
    scan = simulate_scan(image, coils=4, snr=60.0, affine=oblique_affine()).scan
    write_scan(scan, tmp_path / "scan.mrd")
    output = tmp_path / "v.nii.gz"
    done = mrirecon("recon", tmp_path / "scan.mrd", "--method", "zero_filled", "--output", output)
    assert done.status == 0, done.errors
    return output


def test_nibabel_and_the_viewer_agree_on_an_oblique_volume(mrirecon, oblique_volume):
    image = nibabel.load(oblique_volume)
    np.testing.assert_allclose(image.affine, oblique_affine(), atol=1e-3)
    assert "".join(nibabel.aff2axcodes(image.affine)) == LETTERS
    np.testing.assert_allclose(image.header.get_zooms(), VOXEL, rtol=1e-4)
    assert mrirecon("view", oblique_volume).status == 0
    said = about(oblique_volume.with_name("v.html"))
    assert dict(said["facts"])["orientation"].startswith(f"{LETTERS}:")
    assert dict(said["facts"])["voxel"] == "2 x 3 x 5 mm"
    np.testing.assert_allclose(said["voxel"], VOXEL, rtol=1e-4)
    assert said["warnings"][0].startswith("Oblique by ") and f"({LETTERS})" in said["warnings"][0]
    coronal, sagittal_or_axial = said["planes"][0], [p["name"] for p in said["planes"][1:]]
    assert coronal["name"] == "coronal" and "".join(coronal["edges"]) == "RLSI"
    assert sagittal_or_axial == ["axial", "sagittal"]


def test_mrtrix_agrees_on_an_oblique_volume(oblique_volume):
    """Its strides say which file axis runs along which side of the patient, in which direction."""
    if shutil.which("mrinfo") is None:
        pytest.skip("mrinfo is not installed (Debian package mrtrix3)")

    def mrinfo(option):
        done = subprocess.run(
            ["mrinfo", option, str(oblique_volume)], capture_output=True, text=True, check=True
        )
        return [[float(x) for x in line.split()] for line in done.stdout.splitlines()]

    (strides,), (spacing,) = mrinfo("-strides"), mrinfo("-spacing")
    letters, voxel = [""] * 3, [0.0] * 3
    for side, (stride, size) in enumerate(zip(strides, spacing, strict=True)):
        axis = int(abs(stride)) - 1
        letters[axis] = ("RL", "AP", "SI")[side][int(stride < 0)]
        voxel[axis] = size
    assert "".join(letters) == LETTERS
    np.testing.assert_allclose(voxel, VOXEL, rtol=1e-4)
    # Its transform has unit axes along the patient's sides: the file's columns, put in order, with their signs.
    transform = np.array(mrinfo("-transform"))
    expected = oblique_affine()[:3, :3] / VOXEL
    for side, stride in enumerate(strides):
        column = np.sign(stride) * expected[:, int(abs(stride)) - 1]
        np.testing.assert_allclose(transform[:3, side], column, atol=1e-4)
