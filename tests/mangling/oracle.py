"""What a reader may answer to a mangled file: one clear error, or something whose parts agree.

Each file is read in a forked process, so that a crash, a hang or a leak is seen and harms nobody.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mangling.cases import Case
from mrirecon.io import read_image, read_maps, read_mask, read_scan, read_volume
from mrirecon.scan import Scan
from mrirecon.weights import load_weights

SECONDS, MEMORY = 10.0, 2 << 30
ANSWERS = ("error", "read")
FAULTS = {
    "exception": "an exception that is no ValueError or OSError",
    "sentence": "an error that is not one sentence with the file's name",
    "warning": "a warning, or something printed",
    "shape": "parts that do not agree",
    "zeros": "zeros for data, and no note",
    "accepted": "read, though nothing could be right",
    "hang": f"no answer in {SECONDS:g} s",
    "signal": "killed by a signal",
}


@dataclass(frozen=True)
class Verdict:
    """`answer` is one of `ANSWERS` or `FAULTS`; `detail` the message, or what is wrong."""

    answer: str
    detail: str

    @property
    def is_fault(self) -> bool:
        return self.answer in FAULTS


def judged(case: Case) -> Verdict:
    """Read the file of a case in a process of its own and judge what comes out."""
    verdict = in_child(lambda: _answer(case.kind, case.path))
    if verdict.answer == "read" and case.must_refuse:
        return Verdict("accepted", verdict.detail)
    return verdict


def in_child(function: Callable[[], Verdict]) -> Verdict:
    """The verdict of a function that runs in a forked process with limits on time and memory."""
    receiving, sending = os.pipe()
    with tempfile.TemporaryFile() as chatter:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads, which sleep
            child = os.fork()
        if child == 0:
            try:
                for stream in (1, 2):
                    os.dup2(chatter.fileno(), stream)
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                used = pages * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                torch.set_num_threads(1)  # threads that the parent had do not live on in a fork
                verdict = function()
                os.write(sending, json.dumps([verdict.answer, verdict.detail[:2000]]).encode())
            finally:
                os._exit(0)
        os.close(sending)
        ready = select.select([receiving], [], [], SECONDS)[0]
        content = os.read(receiving, 1 << 16) if ready else b""
        os.close(receiving)
        if not ready:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        chatter.seek(0)
        printed = chatter.read(500).decode(errors="replace").strip()
    if not ready:
        return Verdict("hang", FAULTS["hang"])
    if not content:
        how = signal.Signals(status).name if os.WIFSIGNALED(status) else "no answer"
        return Verdict("signal", f"{how} {printed}")
    if printed:
        return Verdict("warning", f"printed {printed!r}")
    return Verdict(*json.loads(content))


def _answer(kind: str, path: Path) -> Verdict:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            wrong = READ[kind](path)
        except (ValueError, OSError) as error:
            return _judge_message(path, error)
        except Warning as warning:
            return Verdict("warning", f"{type(warning).__name__}: {warning}")
        except BaseException as error:
            place = _place(error)
            return Verdict("exception", f"{type(error).__name__} in {place}: {error}")
    return Verdict(*wrong) if wrong else Verdict("read", "")


def _judge_message(path: Path, error: Exception) -> Verdict:
    """One line, of a length that can be read, with the name of a file of the case, and no bare errno."""
    text = str(error)
    clear = "\n" not in text and 20 < len(text) < 700 and "[Errno" not in text
    if clear and any(part.name in text for part in path.parent.iterdir()):
        return Verdict("error", text)
    return Verdict("sentence", f"{type(error).__name__} in {_place(error)}: {text}")


def _place(error: BaseException) -> str:
    """The last line of ours that an error came through."""
    traceback, place = error.__traceback__, ""
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if name.startswith("mrirecon."):
            place = f"{name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


# --- what is read must agree with itself


def _read_scan(path: Path) -> tuple[str, str] | None:
    scan = read_scan(path)
    slices, _, readout, phase = scan.shape
    checks = {
        "volume names": len(scan.volume_names) in (0, scan.volumes),
        "acquired": tuple(scan.acquired.shape) == (readout, phase) and bool(scan.acquired.any()),
        "crop": all(
            0 <= part.start < part.stop <= size
            for part, size in zip(scan.crop, (readout, phase), strict=True)
        ),
        "matrix": all(
            size >= part.stop - part.start
            for part, size in zip(scan.crop, scan.matrix, strict=True)
        ),
        "oversampling": 1 <= scan.oversampling < 100,
        "stored size": _stored_size(path, scan) in (None, scan.volumes * int(np.prod(scan.shape))),
        "geometry": _geometry_agrees(scan),
        "noise covariance": _is_covariance(scan),
        "attributes": all(isinstance(note, str) and note for note in scan.notes),
    }
    empty = []
    for volume in range(scan.volumes):
        for index in range(slices):
            kspace, mask = scan.measured(index, volume)
            checks["k-space"] = kspace.shape == scan.shape[1:] and kspace.dtype == torch.complex64
            checks["mask"] = tuple(mask.shape) == (readout, phase) and mask.dtype == torch.bool
            checks["zero outside the mask"] = not bool((kspace * ~mask).any())
            if scan.calibration is not None:
                lines = scan.calibration(volume, index)
                checks["calibration"] = lines.shape == scan.shape[1:]
            if not bool(kspace.any()):
                empty.append(index)
            if wrong := [name for name, holds in checks.items() if not holds]:
                return "shape", f"{', '.join(wrong)} of {_summary(scan)}"
    if scan.reference is not None:
        for index in range(slices):
            target = scan.reference(index)
            if tuple(target.shape) != tuple(scan.matrix):
                return "shape", f"reference {tuple(target.shape)} of {_summary(scan)}"
    image = scan.to_output(torch.ones(readout, phase, dtype=torch.complex64))
    if tuple(image.shape) != tuple(scan.matrix):
        return "shape", f"output {tuple(image.shape)} of {_summary(scan)}"
    said = any(
        word in note for note in scan.notes for word in ("zero", "no samples", "no readouts")
    )
    if empty and not said:
        return "zeros", f"slices {empty} of {_summary(scan)}"
    return None


def _summary(scan: Scan) -> str:
    return (
        f"{scan.format} {scan.shape} x {scan.volumes}, crop {scan.crop}, matrix {scan.matrix}, "
        f"oversampling {scan.oversampling}, {scan.geometry}, notes {scan.notes}"
    )


def _stored_size(path: Path, scan: Scan) -> int | None:
    """How many samples the file's own format says it holds, read without this package; None where that is no matter."""
    if scan.format == "npy":
        return int(np.prod(np.load(path, mmap_mode="r").shape))
    if scan.format == "fastmri":
        import h5py

        with h5py.File(path) as file:
            return int(np.prod(file["kspace"].shape))
    if scan.format == "cfl":
        return path.with_suffix(".cfl").stat().st_size // 8
    return None


def _geometry_agrees(scan: Scan) -> bool:
    geometry = scan.geometry
    voxel = geometry.voxel_mm
    parts = (voxel or (), geometry.directions or (), geometry.centers_mm or ())
    numbers = np.concatenate([np.ravel(part) for part in parts]).astype(float)
    sized = voxel is None or (len(voxel) == 3 and min(voxel) > 0)
    placed = geometry.centers_mm is None or np.shape(geometry.centers_mm) == (scan.shape[0], 3)
    turned = geometry.directions is None or (
        np.shape(geometry.directions) == (3, 3)
        and np.allclose(np.linalg.norm(geometry.directions, axis=1), 1, atol=1e-2)
    )
    if not (sized and placed and turned and bool(np.isfinite(numbers).all())):
        return False
    return not geometry.known or bool(np.isfinite(geometry.affine_lps(scan.matrix)).all())


def _is_covariance(scan: Scan) -> bool:
    covariance = scan.noise_covariance
    if covariance is None:
        return True
    finite = bool(torch.isfinite(torch.view_as_real(covariance.to(torch.complex64))).all())
    return finite and tuple(covariance.shape) == (scan.shape[1],) * 2


def _read_image(path: Path) -> tuple[str, str] | None:
    data, affine = read_image(path)
    if data.ndim not in (3, 4) or not np.isfinite(data).all() or data.size == 0:
        return "shape", f"image {data.shape}"
    if affine is not None and not (affine.shape == (4, 4) and np.isfinite(affine).all()):
        return "shape", f"affine {affine.tolist()}"
    return None


def _read_mask(path: Path) -> tuple[str, str] | None:
    mask = read_mask(path)
    fine = mask.dtype == torch.bool and mask.ndim in (1, 2) and mask.numel() > 0
    return None if fine else ("shape", f"mask {tuple(mask.shape)} of {mask.dtype}")


def _read_maps(path: Path) -> tuple[str, str] | None:
    maps = read_maps(path)
    fine = maps.is_complex() and maps.ndim in (4, 5) and bool(torch.isfinite(maps.abs()).all())
    return None if fine else ("shape", f"maps {tuple(maps.shape)} of {maps.dtype}")


def _read_volume(path: Path) -> tuple[str, str] | None:
    image = read_volume(path)
    return None if image.ndim == 3 and image.numel() else ("shape", f"image {tuple(image.shape)}")


def _read_weights(path: Path) -> tuple[str, str] | None:
    network, card = load_weights(path)
    state: dict[str, Any] = dict(network.state_dict())
    finite = all(bool(torch.isfinite(x).all()) for x in state.values())
    same = network.name == card.network and dict(card.config) == network.config
    return None if finite and same else ("shape", f"{card.network} {card.config}: finite {finite}")


READ: dict[str, Callable[[Path], tuple[str, str] | None]] = {
    "scan": _read_scan,
    "image": _read_image,
    "mask": _read_mask,
    "maps": _read_maps,
    "volume": _read_volume,
    "weights": _read_weights,
}
