"""Slices of a reconstruction that is not finished, kept beside its output: a killed run goes on, processes share."""

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

    def open(self) -> None:
        """Throw slices of another request away and write this one down; then several processes may save and load.

        Raises:
            OSError: if the folder cannot be written.
        """
        if self._asked() != self.request:
            self.clear()
            self.folder.mkdir(exist_ok=True)
            with replacing(self.folder / "request.json") as (part,):
                write_json(part, self.request)

    def is_open(self) -> bool:
        """Whether `open` was called here or in another process, with this request."""
        return bool(self._asked() == self.request)

    def save(self, place: tuple[int, int], tensors: Mapping[str, Tensor], about: Any) -> None:
        """Keep the slice (volume, slice): real tensors by name, and plain values about it.

        Raises:
            OSError: if it cannot be written.
        """
        volume, index = place
        self.put(f"{volume}_{index:05d}", tensors, about)

    def put(self, name: str, tensors: Mapping[str, Tensor], about: Any) -> None:
        """Keep what belongs to no single slice under a name that begins with a letter.

        Raises:
            OSError: if it cannot be written.
        """
        from safetensors.torch import save_file

        if not (self.folder / "request.json").exists():
            self.open()
        with replacing(self.folder / f"{name}.safetensors") as (part,):
            contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, part, metadata={"about": json.dumps(about)})

    def load(self) -> Iterator[tuple[tuple[int, int], dict[str, Tensor], Any]]:
        """What `save` kept; slices that cannot be read are made again."""
        if not self.is_open():
            self.clear()
            return
        for path in sorted(self.folder.glob("[0-9]*.safetensors")):
            try:
                volume, index = map(int, path.stem.split("_"))
            except ValueError:
                continue
            if (found := self.get(path.stem)) is not None:
                yield (volume, index), *found

    def get(self, name: str) -> tuple[dict[str, Tensor], Any] | None:
        """What `put` kept under a name; None where there is nothing, or nothing that can be read."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / f"{name}.safetensors"
        if not self.is_open():
            return None
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, json.loads(file.metadata()["about"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _asked(self) -> Any:
        try:
            return json.loads((self.folder / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
