"""What to answer to a name that does not exist, and which names are usual elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

CUTOFF = 0.65  # of likeness: `noise` is no `coils`
# what an option is called elsewhere -> what it may be called here, the likelier first
SYNONYMS: dict[str, tuple[str, ...]] = {
    "accel": ("acceleration",),
    "r": ("acceleration",),
    "acc": ("acceleration",),
    "acceleration_factor": ("acceleration",),
    "accelerations": ("acceleration",),
    "center_fractions": ("center_fraction",),
    "mask_type": ("mask",),
    "lr": ("lr",),
    "learning_rate": ("lr",),
    "epochs": ("max_epochs",),
    "max_epochs": ("max_epochs",),
    "steps": ("max_steps", "iterations", "levels"),
    "max_steps": ("max_steps",),
    "batch": ("batch_size",),
    "batch_size": ("batch_size",),
    "num_workers": ("workers",),
    "gpus": ("devices", "device"),
    "gpu": ("device",),
    "data_path": ("root",),
    "resume": ("ckpt_path",),
    "lambda": ("regularization",),
    "lamda": ("regularization",),
    "lam": ("regularization",),
    "reg": ("regularization",),
    "regularisation": ("regularization",),
    "regularization": ("regularization",),
    "iters": ("iterations",),
    "iter": ("iterations",),
    "niter": ("iterations",),
    "n_iter": ("iterations",),
    "max_iter": ("iterations",),
    "iterations": ("iterations",),
    "n_samples": ("samples",),
    "num_samples": ("samples",),
    "checkpoint": ("weights",),
    "model": ("weights",),
    "smaps": ("maps",),
    "sens_maps": ("maps",),
    "acs": ("calibration.size", "center_fraction"),
    "calib": ("calibration.size",),
    "coil_compression": ("compress_coils",),
    "prewhiten": ("whiten",),
    "out": ("output",),
    "outdir": ("output",),
    "output_dir": ("output",),
    "force": ("overwrite",),
    "index": ("volume",),
    "metric": ("protocol",),
    "metrics": ("protocol",),
}


def known_as(name: object, known: Iterable[str]) -> str | None:
    """The known name that is meant: capitals, and dashes for underscores, do not matter; None where there is none."""
    known = list(known)
    if name in known:
        return str(name)
    plain = str(name).lower().replace("-", "_")
    return next((other for other in known if other.lower() == plain), None)


def usual_for(name: str, known: Iterable[str]) -> str | None:
    """The known option that a usual other name stands for, `optimizer.lr` for `learning_rate`; None where none does.

    Of a name with a group, such as `optimizer.learning_rate`, it is one of that group.
    """
    known = list(known)
    group, dot, last = name.lower().replace("-", "_").rstrip("_").rpartition(".")
    for other in SYNONYMS.get(last, ()):
        if f"{group}{dot}{other}" in known:
            return f"{group}{dot}{other}"
        within = [one for one in known if one.endswith(f".{other}")]
        if within and not group:
            return within[0]
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it, or begins so, whatever its capitals; None where none is."""
    plain = {other.lower(): other for other in known}
    wanted = name.lower().replace("-", "_")
    near = get_close_matches(wanted, list(plain), n=1, cutoff=CUTOFF)
    begun = [other for other in plain if wanted and other.startswith(wanted)]
    return plain[(near or begun)[0]] if near or begun else None


def likeliest(name: str, known: Iterable[str]) -> str | None:
    """What is probably meant: by another usual name, by the nearest one, or by one that is nearly usual."""
    known = list(known)
    usual = nearest(name, SYNONYMS)
    return usual_for(name, known) or nearest(name, known) or (usual and usual_for(usual, known))


def suggest(name: str, known: Iterable[str]) -> str:
    """The name that is meant, or the nearest one, as a question; or all of them."""
    known = list(known)
    if meant := likeliest(name, known):
        return f"did you mean {meant}?"
    return f"choose one of {', '.join(known)}" if known else "there is none"
