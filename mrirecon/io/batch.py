"""Several scans at once: what folders and patterns of file names stand for, and where the outputs go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from os import sep
from pathlib import Path

from mrirecon.io.cfl import pair
from mrirecon.io.files import existing_file, make_folder, suffix_of
from mrirecon.io.foreign import foreign_folder
from mrirecon.io.layout import Layout
from mrirecon.io.scans import INPUT_SUFFIXES, READABLE, is_scan
from mrirecon.io.volumes import VOLUME_SUFFIXES, extra_path


@dataclass(frozen=True)
class Inputs:
    """Scans as they were named.

    Attributes:
        paths: k-space files.
        folder: whether outputs go to a folder: several files, a folder or a pattern were named.
    """

    paths: list[str]
    folder: bool

    @classmethod
    def named(cls, words: Sequence[str], layout: Layout | None = None) -> Inputs:
        """The scans that files, folders and patterns such as `*.h5` stand for; folders in the order of names.

        Raises:
            FileNotFoundError: if a folder holds no scan, no file matches a pattern, or the only file does not exist.
            ValueError: if a folder is one of another program, or a name is empty.
        """
        found: list[str] = []
        for word in words:
            found += _stands_for(word, layout)
        paths = list(dict.fromkeys(found))
        if len(words) == 1 and paths == list(words) and not _is_there(Path(paths[0])):
            existing_file(paths[0])  # says so, before the output is looked at
        return cls(paths, len(paths) > 1 or paths != list(words))

    def outputs(
        self,
        output: str,
        kind: str | None = None,
        default: str = "nii.gz",
        suffixes: Sequence[str] = VOLUME_SUFFIXES,
    ) -> list[Path]:
        """One output per scan: OUTPUT itself, or files in the folder OUTPUT, which is made.

        It is a folder for several scans, for the scans of a folder or a pattern, where it ends in a slash, where there
        is a folder of that name, and where a kind is given that its name does not end in.

        Args:
            output: as typed.
            kind: suffix of the files in a folder, without its dot; None where none is asked for.
            default: the kind that is taken then.
            suffixes: of outputs.

        Raises:
            ValueError: if the name of the output does not suit, or two scans would have the same one.
            OSError: if the folder cannot be made.
        """
        if not self.means_folder(output, kind, suffixes):
            return [Path(output)]
        targets = self._inside(Path(output), f".{kind or default}")
        make_folder(Path(output))
        return targets

    def folders(self, output: str) -> list[Path]:
        """A folder per scan: OUTPUT itself for one file, else one inside it that is called like the scan.

        Raises:
            ValueError: if two scans would have the same one, or OUTPUT is empty.
        """
        named_like_a_file = output.lower().endswith((".html", ".csv", *VOLUME_SUFFIXES))
        if not output or (named_like_a_file and not Path(output).exists()):
            raise ValueError(
                f"--output {output!r} is no name of a folder: give one without a suffix"
            )
        return self._inside(Path(output), "") if self.folder else [Path(output)]

    def _inside(self, folder: Path, ending: str) -> list[Path]:
        """What is called like the scans in a folder."""
        targets: dict[Path, str] = {}
        for scan in self.paths:
            path = Path(scan)
            stem = path.stem if path.suffix.lower() in INPUT_SUFFIXES else path.name
            target = folder / f"{stem}{ending}"
            if target in targets:
                raise ValueError(
                    f"{targets[target]} and {scan} would both become {target}: "
                    "give one after the other, to different folders"
                )
            targets[target] = scan
        return list(targets)

    def means_folder(self, output: str, kind: str | None, suffixes: Sequence[str]) -> bool:
        """Whether an output is a folder.

        Raises:
            ValueError: if its name says otherwise than what else is given.
        """
        path = Path(output)
        if not output or not (path.name or path.is_dir()):
            raise ValueError(f"--output {output!r} is no name of a file or folder")
        as_file = path.name.lower().endswith(tuple(suffixes))
        if output.endswith(("/", sep)) or (path.is_dir() and not as_file):
            return True
        if self.folder:
            if as_file:
                raise ValueError(
                    f"{output} is named like a file: several scans, and those of a folder, go to a folder"
                )
            return True
        if kind is None:
            if not as_file:
                raise ValueError(
                    f"{output}: the file name must end in one of {', '.join(suffixes)}, or in / for a folder"
                )
            return False
        if as_file and suffix_of(path, suffixes) != f".{kind}":
            raise ValueError(f"--format {kind} is not what {output} ends in: leave one of them out")
        return not as_file


def outputs_of_methods(
    inputs: Inputs, output: str, methods: Sequence[str], kind: str | None = None
) -> dict[str, list[Path]]:
    """Method -> one output per scan: of `brain.nii.gz` that is `brain_METHOD.nii.gz`, in a folder `METHOD.nii.gz`.

    Outputs of several scans are `SCAN_METHOD.nii.gz` in the folder.

    Raises:
        ValueError, OSError: as `Inputs.outputs`.
    """
    if inputs.folder or not _a_folder_of_methods(inputs, output, kind):
        outputs = inputs.outputs(output, kind)
        return {method: [extra_path(one, method) for one in outputs] for method in methods}
    folder = make_folder(Path(output))
    return {method: [folder / f"{method}.{kind or 'nii.gz'}"] for method in methods}


def _a_folder_of_methods(inputs: Inputs, output: str, kind: str | None) -> bool:
    """Whether one scan's output is a folder: a name without a suffix is enough, since there are several files."""
    plain = bool(Path(output).name) and not Path(output).suffix
    return plain or inputs.means_folder(output, kind, VOLUME_SUFFIXES)


def scans_in(folder: Path, layout: Layout | None = None) -> list[Path]:
    """The scans in a folder, in the order of their names.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is a folder of another program, such as a DICOM series.
    """
    found = [path for path in sorted(folder.iterdir()) if is_scan(path, layout)]
    if found:
        return found
    if advice := foreign_folder(folder):
        raise ValueError(f"{folder} {advice}")
    inner = [one for one in sorted(folder.iterdir()) if one.is_dir()]
    full = next((one for one in inner if any(map(is_scan, one.iterdir()))), None)
    remedy = f"give a folder that does, such as {full}" if full else "give a file or another folder"
    raise FileNotFoundError(f"{folder} is a folder without scans ({READABLE}): {remedy}")


def _stands_for(word: str, layout: Layout | None) -> list[str]:
    """The scans of a folder or pattern, or the word itself."""
    if not word:
        raise ValueError("a SCAN is empty: give a file, a folder or a pattern such as '*.h5'")
    path = Path(word)
    if path.is_dir() and not _is_pair(word):
        return [
            f"{word.rstrip('/')}/{one.name}" if path.name else str(one)
            for one in scans_in(path, layout)
        ]
    if path.exists() or not has_magic(word):
        return [word]
    matching = sorted(glob(word, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute ones)
    if not matching:
        raise FileNotFoundError(f"{word}: no file matches this pattern: check it, and the folder")
    inside = [one for one in matching if Path(one).is_dir() or is_scan(Path(one), layout)]
    if not inside:
        raise FileNotFoundError(
            f"{word}: none of the {len(matching)} files that match is a scan ({READABLE}): give another pattern"
        )
    return [
        scan
        for one in inside
        for scan in (_stands_for(one, layout) if Path(one).is_dir() else [one])
    ]


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name, as BART gives names too."""
    return any(part.exists() for part in (path, *pair(path)))


def _is_pair(word: str) -> bool:
    """Whether a bare name is that of a cfl pair beside a folder of the same name."""
    return (
        bool(Path(word).name)
        and not word.endswith("/")
        and all(p.is_file() for p in pair(Path(word)))
    )
