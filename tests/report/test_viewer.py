"""The viewer's page as a file: what it holds, and what is refused."""

import json
import re

import nibabel
import numpy as np
import pytest
import torch
from report_cases import unpacked

from mrirecon.geometry import Geometry
from mrirecon.io import write_volume
from mrirecon.report import viewer, write_viewer
from mrirecon.scan import Volume

OBLIQUE = np.array(  # 20 degrees about the body's axis; columns of 2, 3 and 4 mm
    [
        [-1.8793852, 1.0260604, 0, 10],
        [-0.6840403, -2.8190779, 0, 20],
        [0, 0, 4, -30],
        [0, 0, 0, 1],
    ]
)


def save(path, data, affine=OBLIQUE, dtype=np.float32):
    image = nibabel.Nifti1Image(np.asarray(data, dtype), affine)
    if affine is None:
        image.header.set_zooms((2.0, 3.0, 4.0, 1.0)[: image.ndim])
    else:
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
    nibabel.save(image, path)
    return path


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def embedded(path, kind="about", data="data"):
    """What the page says of its first volume, and its values."""
    text = path.read_text(encoding="utf-8")
    about = json.loads(re.search(rf'class="{kind}">(.*?)</script>', text)[1])
    packed = re.search(rf'class="{data}">(.*?)</script>', text)[1]
    steps = unpacked(packed).reshape(about["shape"], order="F")
    return about, about["low"] + steps * (about["high"] - about["low"]) / 65535


def facts(about):
    return dict(map(tuple, about["facts"]))


def test_values_and_geometry(tmp_path):
    data = noise(5, 6, 7)
    write_viewer(tmp_path / "v.html", [save(tmp_path / "v.nii.gz", data)])
    about, values = embedded(tmp_path / "v.html")
    np.testing.assert_allclose(values[..., 0], data, atol=np.ptp(data) / 65535)
    np.testing.assert_allclose(about["voxel"], (2, 3, 4), rtol=1e-6)
    np.testing.assert_allclose(about["affine"], OBLIQUE, atol=1e-5)
    assert facts(about)["orientation"].startswith("LPS")
    assert facts(about)["voxel"] == "2 x 3 x 4 mm"
    (warning,) = about["warnings"]
    assert warning.startswith("Oblique by 20.0 degrees") and "(LPS)" in warning
    assert [p["edges"] for p in about["planes"]] == [
        ["R", "L", "A", "P"],
        ["R", "L", "S", "I"],
        ["A", "P", "S", "I"],
    ]


def test_unknown_orientation(tmp_path):
    write_viewer(tmp_path / "v.html", [save(tmp_path / "v.nii", noise(5, 6, 7), None)])
    about, _ = embedded(tmp_path / "v.html")
    assert about["affine"] is None and about["voxel"] == [2, 3, 4] and about["isKnown"]
    assert about["warnings"] == [
        "Orientation unknown: the file claims none (sform and qform codes are 0)"
    ]
    assert all(not any(p["edges"]) for p in about["planes"])


def test_what_recon_does_not_know_the_page_does_not_say(tmp_path):
    """A volume of a scan without geometry: no voxel size, no letters."""
    image = torch.ones(1, 3, 5, 4, dtype=torch.complex64)
    write_volume(Volume(image=image, geometry=Geometry()), tmp_path / "v.nii.gz")
    write_viewer(tmp_path / "v.html", [tmp_path / "v.nii.gz"])
    about, _ = embedded(tmp_path / "v.html")
    assert facts(about)["voxel"] == "unknown: shown as cubes" and about["voxel"] == [1, 1, 1]
    assert not about["isKnown"]  # no ruler
    assert facts(about)["orientation"] == "orientation unknown"


def test_what_else_a_nifti_can_hold(tmp_path):
    data = noise(4, 5, 6)
    path = save(tmp_path / "c.nii", data + 1j * noise(4, 5, 6, seed=1), dtype=np.complex64)
    write_viewer(tmp_path / "c.html", [path])
    about, values = embedded(tmp_path / "c.html")
    magnitude = np.abs(nibabel.load(path).get_fdata(dtype=np.complex64))
    np.testing.assert_allclose(values[..., 0], magnitude, atol=1e-4)
    assert facts(about)["note"] == "complex values: the magnitude is shown"

    series = save(tmp_path / "s.nii", noise(4, 5, 6, 3))
    write_viewer(tmp_path / "s.html", [series])
    assert embedded(tmp_path / "s.html")[0]["shape"] == [4, 5, 6, 3]
    write_viewer(tmp_path / "s1.html", [series], volume=1)
    about, values = embedded(tmp_path / "s1.html")
    np.testing.assert_allclose(values[..., 0], noise(4, 5, 6, 3)[..., 1], atol=1e-3)
    assert facts(about)["note"] == "volume 1 of 0 to 2"

    holes = data.copy()
    holes[0, 0, :2] = np.nan, np.inf
    write_viewer(tmp_path / "h.html", [save(tmp_path / "h.nii", holes)])
    about, values = embedded(tmp_path / "h.html")
    assert facts(about)["note"] == "2 voxel(s) are NaN or infinite and shown as 0"
    assert abs(values[0, 0, 0, 0]) < 1e-3

    write_viewer(tmp_path / "f.html", [save(tmp_path / "f.nii", np.full((4, 5), 2.0))])
    assert embedded(tmp_path / "f.html")[0]["shape"] == [4, 5, 1, 1]


def test_axes_that_are_not_at_right_angles_are_said(tmp_path):
    sheared = np.diag([1.0, 1.0, 1.0, 1.0])
    sheared[0, 2] = 0.2
    image = nibabel.Nifti1Image(noise(4, 5, 6), sheared)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "v.nii")
    write_viewer(tmp_path / "v.html", [tmp_path / "v.nii"])
    assert any("right angles" in line for line in embedded(tmp_path / "v.html")[0]["warnings"])


def test_overlay_must_lie_on_the_same_grid(tmp_path):
    volume = save(tmp_path / "v.nii", noise(4, 5, 6))
    moved = OBLIQUE.copy()
    moved[0, 3] += 5
    cases = {
        "small": (save(tmp_path / "small.nii", noise(4, 5, 5)), "small.nii is 4 x 5 x 5"),
        "moved": (save(tmp_path / "moved.nii", noise(4, 5, 6), moved), "lies up to 5 mm"),
        "series": (save(tmp_path / "series.nii", noise(4, 5, 6, 2)), "has 2 volumes"),
    }
    for name, (path, words) in cases.items():
        with pytest.raises(ValueError, match=words):
            write_viewer(tmp_path / f"{name}.html", [volume], overlay=path)
        assert not (tmp_path / f"{name}.html").exists()
    unknown = save(tmp_path / "unknown.nii", noise(4, 5, 6), None)
    write_viewer(tmp_path / "v.html", [volume], overlay=unknown)


def test_refusals(tmp_path, monkeypatch):
    series = save(tmp_path / "s.nii", noise(4, 5, 6, 3))
    with pytest.raises(ValueError, match=r"s\.nii has volumes 0 to 2: --volume 3"):
        write_viewer(tmp_path / "v.html", [series], volume=3)
    monkeypatch.setattr(viewer, "MOST_VALUES", 100)
    with pytest.raises(ValueError, match=r"s\.nii: .* fewer files, or one volume with --volume N"):
        write_viewer(tmp_path / "v.html", [series])
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.nii is no NIfTI image"):
        write_viewer(tmp_path / "v.html", [tmp_path / "text.nii"])
    assert not (tmp_path / "v.html").exists()


def test_a_page_is_known_to_be_of_its_files(tmp_path):
    one, two = (save(tmp_path / name, noise(4, 5, 6)) for name in ("a&b.nii", "two.nii"))
    write_viewer(tmp_path / "v.html", [one, two])
    assert viewer.shows(tmp_path / "v.html", viewer.names_in([one, two]))
    assert not viewer.shows(tmp_path / "v.html", viewer.names_in([one]))
    assert not viewer.shows(tmp_path / "v.html", viewer.names_in([one], two.with_name("x.nii")))
    (tmp_path / "mine.html").write_text("<html>")
    for other in ("mine.html", "none.html", "."):
        assert not viewer.shows(tmp_path / other, viewer.names_in([one, two]))
