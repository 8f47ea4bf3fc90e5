"""`mrirecon view`."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

from mrirecon.cli.run import Command
from mrirecon.io.cfl import check_apart
from mrirecon.io.files import existing_file

SUFFIXES = (".nii.gz", ".nii")


def view(
    *,
    volumes: list[str],
    output: str | None = None,
    overlay: str | None = None,
    volume: int | None = None,
    open: bool = True,
    overwrite: bool = False,
) -> None:
    """Make one HTML page that shows NIfTI volumes in three planes, in any browser, without a network, and open it.

    Args:
        volumes: NIfTI files, side by side.
        output: page to write; by default the first volume's name with .html.
        overlay: a map on the same grid, such as NAME_std.nii.gz, laid over the volume.
        volume: show only this volume, counted from 0, of files that have several.
        open: open the page in the browser where somebody at a terminal has a display; false never does.
        overwrite: replace an existing page; one that `view` made of the same files is renewed without.
    """
    from mrirecon.report import check_page, write_viewer
    from mrirecon.report.viewer import names_in, shows

    for path in (*volumes, *([] if overlay is None else [overlay])):
        existing_file(path)
    target = _beside(Path(volumes[0])) if output is None else Path(output)
    check_apart([target], [*volumes, *([] if overlay is None else [overlay])])
    overwrite = overwrite or shows(target, names_in(volumes, overlay))
    check_page(target, overwrite)
    write_viewer(target, volumes, overlay=overlay, volume=volume, overwrite=overwrite)
    size = f"({target.stat().st_size / 1e6:.1f} MB)"
    if open and _is_watched() and webbrowser.open(target.resolve().as_uri()):
        print(f"{target}: opened in the browser {size}")
    else:
        print(f"{target}: open it in a browser {size}")


def _is_watched() -> bool:
    """Whether somebody at a terminal on this machine can see a browser."""
    on_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    remote = any(os.environ.get(name) for name in ("SSH_CONNECTION", "CI"))
    return on_screen and not remote and sys.stdout.isatty()


def _beside(volume: Path) -> Path:
    """`brain.nii.gz` -> `brain.html`."""
    suffix = next((s for s in SUFFIXES if volume.name.lower().endswith(s)), volume.suffix)
    return volume.with_name(volume.name[: len(volume.name) - len(suffix)] + ".html")


COMMAND = Command(
    "view",
    view,
    "VOLUME...",
    {"volumes": {"metavar": "VOLUME", "help": "NIfTI file", "nargs": "+", "type": str}},
    (
        "brain.nii.gz",
        "dds.nii.gz --overlay dds_std.nii.gz --output dds.html",
        "demo/tv.nii.gz demo/varnet.nii.gz",
    ),
)
