"""Slices of a reconstruction that is not finished, kept beside its output so that a killed run can go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mrirecon.io.files import PathLike, replacing, write_json


class SliceStore:
    """A folder `.OUTPUT.slices` with one file per finished slice, and the request that they answer.

    Args:
        output: the reconstruction that they are for.
        request: all that decides the result; slices of another request are thrown away.
    """

    def __init__(self, output: PathLike, request: Mapping[str, Any]) -> None:
        self.folder = Path(output).with_name(f".{Path(output).name}.slices")
        self.request = json.loads(json.dumps(request))

    def save(self, place: tuple[int, int], tensors: Mapping[str, Tensor], about: Any) -> None:
        """Keep the slice (volume, slice): real tensors by name, and plain values about it.

        Raises:
            OSError: if it cannot be written.
        """
        from safetensors.torch import save_file

        asked = self.folder / "request.json"
        if not asked.exists():
            self.folder.mkdir(exist_ok=True)
            with replacing(asked) as (part,):
                write_json(part, self.request)
        with replacing(self._file(place)) as (part,):
            contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, part, metadata={"about": json.dumps(about)})

    def load(self) -> Iterator[tuple[tuple[int, int], dict[str, Tensor], Any]]:
        """What `save` kept; slices that cannot be read are made again."""
        from safetensors import SafetensorError, safe_open

        try:
            asked = json.loads((self.folder / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            asked = None
        if asked != self.request:
            self.clear()
            return
        for path in sorted(self.folder.glob("[0-9]*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    about = json.loads(file.metadata()["about"])
                volume, index = map(int, path.stem.split("_"))
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                continue
            yield (volume, index), tensors, about

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, place: tuple[int, int]) -> Path:
        volume, index = place
        return self.folder / f"{volume}_{index:05d}.safetensors"
