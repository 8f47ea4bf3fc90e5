"""Numbers recorded from the official implementations, and one real scan; `golden/README.md` says what each file holds.

A file that is missing is an error, not a skip: a clone has them all.
"""

import json
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"
REAL_SCAN = GOLDEN / "brain_8ch_poisson8" / "kspace.npy"


def golden_arrays(name: str) -> dict[str, torch.Tensor]:
    """The arrays of `NAME.npz`."""
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def golden_facts(name: str) -> dict:
    """What `NAME.json` says of the arrays beside it."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_state(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The official state dict among the arrays of a network."""
    start = "state/"
    return {key.removeprefix(start): v for key, v in arrays.items() if key.startswith(start)}


def published_map(name: str) -> dict:
    """Names and shapes (`state`) of a published weight file, and its constructor."""
    return golden_facts(f"published_state_maps/{name}")
