"""Names, sidecars and datasets as BIDS has them; checked by its own validator."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mrirecon.geometry import Geometry
from mrirecon.io import write_volume
from mrirecon.io.bids import Bids, sidecar_of, sidecar_path
from mrirecon.io.volumes import extra_path
from mrirecon.scan import Volume

ACQUISITION = {
    "ManufacturerModelName": "Prisma",
    "MagneticFieldStrength": 2.89,
    "EchoTime": 12.5,
    "RepetitionTime": 500.0,
    "FlipAngle": 90.0,
    "PatientName": "Doe^Jane",
    "ReceiveCoilName": "Head_32",
}


def volume(**more):
    image = np.random.default_rng(0).uniform(size=(1, 3, 8, 6)).astype(np.complex64)
    info = {"method": "dds", "notes": [], "acceleration": {"achieved": 3.9}}
    geometry = Geometry(
        voxel_mm=(1.0, 1.0, 4.0),
        directions=((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        centers_mm=tuple((0.0, 0.0, 4.0 * k) for k in range(3)),
    )
    return Volume(
        image=torch.from_numpy(image),
        geometry=geometry,
        info=info,
        acquisition=ACQUISITION,
        **more,
    )


def test_the_sidecar_has_the_names_and_units_of_bids():
    found = sidecar_of(volume(), 0.75)
    assert found["EchoTime"] == 0.0125 and found["RepetitionTime"] == 0.5  # seconds
    assert found["MagneticFieldStrength"] == 2.89 and found["FlipAngle"] == 90
    assert found["ManufacturersModelName"] == "Prisma"
    assert found["ReceiveCoilName"] == "Head_32"
    assert found["ParallelReductionFactorInPlane"] == 3.9 and found["PartialFourier"] == 0.75
    assert "Jane" not in json.dumps(found)


def test_names_are_those_of_bids(tmp_path):
    one = Bids(bids=str(tmp_path), subject="01", session="a", contrast="T1w")
    ((target,), (other,)) = one.targets(["x/scan.h5"], ["l1_wavelet", "tv"])
    assert target == tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_rec-l1wavelet_T1w.nii.gz"
    assert other.name == "sub-01_ses-a_rec-tv_T1w.nii.gz" and target.parent.is_dir()
    assert sidecar_path(target).name == "sub-01_ses-a_rec-l1wavelet_T1w.json"
    assert (
        extra_path(other, "null_space_std").name
        == "sub-01_ses-a_rec-tv_desc-nullspacestd_T1w.nii.gz"
    )
    several = Bids(bids=str(tmp_path), contrast="FLAIR")
    ((first, second),) = several.targets(["x/file_1.h5", "x/file_2.h5"], ["tv"])
    assert [first.name, second.name] == [
        "sub-file1_rec-tv_FLAIR.nii.gz",
        "sub-file2_rec-tv_FLAIR.nii.gz",
    ]
    with pytest.raises(ValueError, match=r"would both become sub-01_ses-a_rec-tv_T1w\.nii\.gz"):
        one.targets(["a.h5", "b.h5"], ["tv"])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"subject": "01"}, "give --bids FOLDER too"),
        ({"bids": "x"}, "contrast is missing: BIDS needs one of T1w"),
        ({"bids": "x", "contrast": "T1"}, "contrast is 'T1'"),
        ({"bids": "x", "contrast": "T1w", "subject": "sub-01"}, "letters and digits"),
    ],
)
def test_labels_that_bids_does_not_know_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Bids(**options)


def test_a_dataset_of_raw_data_is_left_alone(tmp_path):
    raw = tmp_path / "dataset_description.json"
    raw.write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    with pytest.raises(ValueError, match="raw data: give its folder derivatives/mrirecon"):
        Bids(bids=str(tmp_path), contrast="T1w").targets(["a.h5"], ["tv"])
    assert [file.name for file in tmp_path.iterdir()] == [raw.name]
    inside = tmp_path / "derivatives" / "mrirecon"
    Bids(bids=str(inside), contrast="T1w").targets(["a.h5"], ["tv"])
    (inside / ".bidsignore").write_text("mine\n")
    Bids(bids=str(inside), contrast="T1w").targets(["b.h5"], ["tv"])
    assert (inside / ".bidsignore").read_text() == "mine\n*.nii.gz.json\n"


def test_its_validator_finds_no_error(tmp_path):
    beside = Path(sys.executable).parent / "bids-validator-deno"
    validator = shutil.which("bids-validator-deno") or (beside if beside.is_file() else None)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    bids = Bids(bids=str(tmp_path / "set"), subject="01", contrast="T1w")
    ((target,),) = bids.targets(["a.h5"], ["dds"])
    v = volume(extras={"std": torch.ones(1, 3, 8, 6)})
    write_volume(v, target, beside={sidecar_path(target): sidecar_of(v, 0.75)})

    def errors():
        done = subprocess.run([validator, "--json", bids.bids], capture_output=True, text=True)
        issues = json.loads(done.stdout)["issues"]["issues"]
        return [issue["code"] for issue in issues if issue["severity"] == "error"]

    assert errors() == []
    target.rename(target.with_name("sub-02_rec-dds_T1w.nii.gz"))  # it does look
    assert errors()
