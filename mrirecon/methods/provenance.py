"""What the JSON beside a reconstruction says of how it was made, and its metrics where there is a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mrirecon.metrics import evaluate
from mrirecon.scan import Scan, Volume


def completed(
    volume: Volume, scan: Scan, mask: Mapping[str, Any] | None, request: Mapping[str, Any]
) -> Volume:
    """The volume with everything its JSON should say, with metrics under `fastmri` where the scan has a reference.

    Raises:
        ValueError: if the reconstruction is not finite.
    """
    volume = described(volume, scan, mask, request)
    return replace(volume, info={**volume.info, **_metrics(volume, scan)})


def described(
    volume: Volume, scan: Scan, mask: Mapping[str, Any] | None, request: Mapping[str, Any]
) -> Volume:
    """The volume with everything its JSON should say but metrics.

    Args:
        volume: as a method gave it.
        scan: what it was reconstructed from.
        mask: how the retrospective mask was made; None where there is none.
        request: all that was asked for.

    Raises:
        ValueError: if the reconstruction is not finite.
    """
    if not bool(torch.isfinite(volume.image.abs()).all()):
        raise ValueError(
            f"{volume.info['method']} gave NaN or infinite values for {scan.source}: "
            "check the options of --method"
        )
    mask = mask or {"kind": "as acquired"}
    acceleration = {"nominal": mask.get("acceleration"), **volume.info["acceleration"]}
    info = {
        "maps": {"kind": "none"},
        "intensity_scale": None,
        **volume.info,
        "acceleration": acceleration,
        "mask": mask,
        "request": request,
    }
    return replace(volume, info=info)


def _metrics(volume: Volume, scan: Scan) -> dict[str, Any]:
    """Metrics where the scan has a reference; a reference that cannot be used is a note, never an error."""
    if scan.reference is None or scan.volumes > 1:
        return {}
    try:
        target = torch.stack([scan.reference(index) for index in range(scan.shape[0])])
        return {"metrics": evaluate(volume.image[0].abs(), target)._asdict()}
    except ValueError as error:
        note = f"no metrics, the reference cannot be used: {error}"
        return {"notes": [*volume.info["notes"], note]}
