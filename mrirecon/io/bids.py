"""Reconstructions in a BIDS derivative dataset: names, sidecars, and what describes the dataset (BIDS 1.10)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrirecon.io.acquisition import of_volume
from mrirecon.io.dicom_modules import WARNING
from mrirecon.io.files import check_target, replacing, write_json
from mrirecon.io.volumes import is_complete
from mrirecon.scan import Volume

VERSION = "1.10.0"
IGNORED = "*.nii.gz.json"  # the record of a reconstruction, which no other tool needs
SUFFIXES = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "PDT2", "inplaneT1", "inplaneT2", "angio")
# BIDS name -> DICOM keyword, and what its value is divided by
FIELDS = {
    "Manufacturer": ("Manufacturer", None),
    "ManufacturersModelName": ("ManufacturerModelName", None),
    "DeviceSerialNumber": ("DeviceSerialNumber", None),
    "StationName": ("StationName", None),
    "InstitutionName": ("InstitutionName", None),
    "MagneticFieldStrength": ("MagneticFieldStrength", None),
    "ImagingFrequency": ("ImagingFrequency", None),
    "ReceiveCoilName": ("ReceiveCoilName", None),
    "ScanningSequence": ("ScanningSequence", None),
    "SequenceVariant": ("SequenceVariant", None),
    "ScanOptions": ("ScanOptions", None),
    "SequenceName": ("SequenceName", None),
    "MRAcquisitionType": ("MRAcquisitionType", None),
    "BodyPart": ("BodyPartExamined", None),
    "SliceThickness": ("SliceThickness", None),
    "FlipAngle": ("FlipAngle", None),
    "EchoTime": ("EchoTime", 1000),
    "RepetitionTime": ("RepetitionTime", 1000),
    "InversionTime": ("InversionTime", 1000),
}


@dataclass(frozen=True, kw_only=True)
class Bids:
    """How outputs are named in a BIDS dataset.

    Attributes:
        bids: folder of a BIDS derivative dataset to write to, in place of an output; it is made where it is missing.
        subject: label of the subject, letters and digits; by default the name of the scan's file.
        session: label of the session.
        contrast: what the image is, its suffix in BIDS, such as T1w, T2w, PDw, T2starw or FLAIR.
    """

    bids: str | None = None
    subject: str | None = None
    session: str | None = None
    contrast: str | None = None

    def __post_init__(self) -> None:
        """Refuse labels that BIDS does not know.

        Raises:
            ValueError: naming the option, its value and what it takes.
        """
        labels = {"subject": self.subject, "session": self.session, "contrast": self.contrast}
        if self.bids is None:
            for name, value in labels.items():
                if value is not None:
                    raise ValueError(
                        f"{name} names files of a BIDS dataset: give --bids FOLDER too"
                    )
            return
        if self.contrast not in SUFFIXES:
            given = "is missing" if self.contrast is None else f"is {self.contrast!r}"
            raise ValueError(f"contrast {given}: BIDS needs one of {', '.join(SUFFIXES)}")
        for name in ("subject", "session"):
            value = labels[name]
            if value is not None and not re.fullmatch("[a-zA-Z0-9]+", value):
                raise ValueError(f"{name} is {value!r}: BIDS takes letters and digits")

    def targets(
        self, scans: list[str], methods: list[str], overwrite: bool = False
    ) -> list[list[Path]]:
        """Of each method one file per scan, such as sub-01/anat/sub-01_rec-tv_T1w.nii.gz; their folders are made.

        Raises:
            ValueError: if two scans would have the same name, or the dataset is one of raw data.
            OSError: if files are there already, or folders cannot be made.
        """
        assert self.bids is not None
        folder = Path(self.bids)
        _check_dataset(folder)
        targets = [[self._target(folder, scan, method) for scan in scans] for method in methods]
        named: dict[Path, str] = {}
        for scan, target in zip(scans, targets[0], strict=True):
            if target in named:
                raise ValueError(
                    f"{named[target]} and {scan} would both become {target.name}: give one a --subject or --session"
                )
            named[target] = scan
        for target in (one for each in targets for one in each):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not is_complete(target):
                check_target(sidecar_path(target), overwrite)
        _describe_dataset(folder)
        return targets

    def _target(self, folder: Path, scan: str, method: str) -> Path:
        subject = self.subject or _label(Path(scan).name.partition(".")[0])
        if not subject:
            raise ValueError(
                f"{scan}: its name gives no label of letters and digits: give --subject"
            )
        parts = {"sub": subject, "ses": self.session}
        places = [f"{key}-{label}" for key, label in parts.items() if label]
        name = "_".join([*places, f"rec-{_label(method)}", f"{self.contrast}.nii.gz"])
        return folder.joinpath(*places, "anat", name)


NO_BIDS = Bids()


def sidecar_path(target: Path) -> Path:
    """Where BIDS has the metadata of an image: `sub-01_T1w.nii.gz` -> `sub-01_T1w.json`."""
    return target.with_name(target.name.removesuffix(".nii.gz") + ".json")


def sidecar_of(volume: Volume, partial_fourier: float | None = None) -> dict[str, Any]:
    """The metadata of a reconstruction under the names that BIDS has for them; times are seconds.

    Args:
        volume: of one volume.
        partial_fourier: share of k-space that was covered, where that is less than 1.
    """
    from mrirecon import __version__

    acquisition = of_volume(volume.acquisition, 0)
    found = {
        name: acquisition[keyword] / divisor if divisor else acquisition[keyword]
        for name, (keyword, divisor) in FIELDS.items()
        if keyword in acquisition
    }
    rate = volume.info.get("acceleration")
    achieved = rate.get("achieved") if isinstance(rate, Mapping) else None
    if isinstance(achieved, float) and achieved > 1.0:
        found["ParallelReductionFactorInPlane"] = round(achieved, 4)
    if partial_fourier is not None:
        found["PartialFourier"] = round(partial_fourier, 4)
    return {
        **found,
        "Description": f"reconstructed from k-space by mrirecon, method {volume.info.get('method')}; {WARNING}",
        "SkullStripped": False,
        "Units": "arbitrary",
        "ReconMethod": volume.info.get("method"),
        "Geometry": volume.geometry.note or "as the file of the scan says",
        "ConversionSoftware": "mrirecon",
        "ConversionSoftwareVersion": __version__,
    }


def _label(name: str) -> str:
    """What is left of a name in a label."""
    return re.sub("[^a-zA-Z0-9]", "", name)


def _check_dataset(folder: Path) -> None:
    """Raise ValueError if a folder is a BIDS dataset of raw data, which nothing that is computed belongs to."""
    file = folder / "dataset_description.json"
    if not file.is_file():
        return
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("DatasetType", "raw")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file} is no JSON of a dataset: repair it") from error
    if kind != "derivative":
        raise ValueError(
            f"{folder} is a BIDS dataset of raw data: give its folder derivatives/mrirecon, for example"
        )


def _describe_dataset(folder: Path) -> None:
    """Write what describes a dataset, where it is missing."""
    for name, text in _descriptions():
        file = folder / name
        there = file.read_text(encoding="utf-8") if file.is_file() else None
        if name == ".bidsignore" and there is not None and IGNORED not in there.splitlines():
            text = f"{there.rstrip()}\n{text}"
        elif there is not None:
            continue
        with replacing(file) as (part,):
            if name.endswith(".json"):
                write_json(part, json.loads(text))
            else:
                part.write_text(text, encoding="utf-8")


def _descriptions() -> Iterator[tuple[str, str]]:
    from mrirecon import __version__

    about = {
        "Name": "Images reconstructed from k-space by mrirecon",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "mrirecon", "Version": __version__}],
    }
    yield ".bidsignore", f"{IGNORED}\n"
    yield (
        "README",
        "Images reconstructed from k-space by mrirecon; rec-METHOD names the method.\n"
        "Research only, not for diagnosis.\n"
        f"Beside each image, {IGNORED} has all parameters of the reconstruction.\n",
    )
    yield "dataset_description.json", json.dumps(about)
