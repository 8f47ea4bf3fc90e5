"""What a report shows of one scan: stacks of slices as values, every kind at one window."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mrirecon.io.nifti import affine_ras
from mrirecon.report.orientation import Plane, plane
from mrirecon.report.packed import Packed
from mrirecon.report.sampling import Thumbnail, thumbnails
from mrirecon.report.slices import SliceCurve, left_out_curves, slice_curves
from mrirecon.scan import Scan, Volume

Item = tuple[Scan, Volume]
BRIGHT = 0.995  # quantile that is shown white
ERROR_GAIN = 4  # error maps reach their brightest at 1 / ERROR_GAIN of that
# What a report may take, in pixels: 6.5 million are 13 MB where gzip cannot compress them.
MOST_PIXELS = 6_500_000
LEAST_PIXELS = 10_000  # of a picture: with less of it than 100 x 100 a scan is rather left out
MOST_VOLUMES = 8
EXTRAS = {
    "error": "|error|",
    "std": "standard deviation",
    "null_space": "null-space part",
    "low": "lower bound",
    "high": "upper bound",
}
BOUNDS = ("low", "high")


@dataclass(frozen=True)
class Window:
    """The values that a kind of picture spans.

    Attributes:
        kind: image, error, std, null_space, ...
        title: in words.
        top: value shown brightest; 0 is shown darkest.
        gray: whether it is shown in gray, and not in the colours of maps.
    """

    kind: str
    title: str
    top: float
    gray: bool


@dataclass(frozen=True)
class LayerStack:
    """Pictures of one kind, one per place shown.

    Attributes:
        kind: image, error, std, null_space, ...
        title: in words, what a screen reader says.
        packed: their values, all slices of the first volume first; None of errors, which the page computes.
    """

    kind: str
    title: str
    packed: Packed | None


@dataclass(frozen=True)
class PictureCard:
    """One column of the comparison.

    Attributes:
        title: method, or what it is.
        number: index of the method's volume among those of the scan; None for the reference.
        stacks: from top to bottom.
    """

    title: str
    number: int | None
    stacks: list[LayerStack]


@dataclass(frozen=True)
class Comparison:
    """All pictures of one scan.

    Attributes:
        cards: the reference first, if there is one, then methods.
        sampled: k-space and the distinct masks of the middle slice.
        windows: of each kind of picture.
        plane: how slices lie on the screen.
        size: rows and columns of a picture.
        aspect: width over height of a picture, pixel sizes considered.
        slices: those shown, in the file's numbers.
        volumes: those shown.
        start: index of the first shown place, in the middle.
        curves: metrics and left-out errors of each slice.
        reduced: pixels of the image along a side of one pixel shown.
    """

    cards: list[PictureCard]
    sampled: list[Thumbnail]
    windows: list[Window]
    plane: Plane
    size: tuple[int, int]
    aspect: float
    slices: list[int]
    volumes: list[int]
    start: int
    curves: list[SliceCurve]
    reduced: int

    @property
    def across(self) -> bool:
        """Whether maps stand beside the image, as of a single method, and not below it."""
        return len(self.methods) == 1

    @property
    def alone(self) -> list[str]:
        """Kinds of maps that stand in a row of their own."""
        kinds = [[stack.kind for stack in card.stacks] for card in self.methods]
        return alone(self.windows, kinds)

    @property
    def methods(self) -> list[PictureCard]:
        """All cards but the reference."""
        return [card for card in self.cards if card.number is not None]

    @property
    def columns(self) -> int:
        """Pictures in a row where they cannot all be on one screen: rows as equal as they can be."""
        count, most = (len(self.methods[0].stacks), 3) if self.across else (len(self.methods), 5)
        return math.ceil(count / math.ceil(count / most))

    def about(self) -> dict[str, Any]:
        """What the page's script needs to know besides the values."""
        return {
            "slices": self.slices,
            "volumes": len(self.volumes),
            "start": self.start,
            "size": self.size,
            "aspect": self.aspect,
            "edges": self.plane.edges,
            "windows": {w.kind: {"high": w.top, "gray": w.gray} for w in self.windows},
            "cards": [
                {
                    "title": card.title,
                    "isReference": card.number is None,
                    "stacks": {s.kind: s.packed and s.packed.about() for s in card.stacks},
                }
                for card in self.cards
            ],
            "curves": [vars(curve) for curve in self.curves],
        }


def names_of(items: Sequence[Item]) -> list[str]:
    """The methods' names, numbered where one occurs again."""
    names: list[str] = []
    for _, volume in items:
        method = str(volume.info["method"])
        again = sum(name.partition(" (")[0] == method for name in names)
        names.append(f"{method} ({again + 1})" if again else method)
    return names


def reference_of(scan: Scan, index: int) -> Float[Tensor, "readout phase"] | None:
    """The target of a slice, where there is one that fits the image and is finite."""
    if scan.reference is None or scan.volumes > 1:
        return None
    target = scan.reference(index)
    fits = tuple(target.shape) == scan.matrix and bool(torch.isfinite(target).all())
    return target if fits else None


def layers_of(
    volume: Volume, targets: dict[int, Tensor] | None, place: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The pictures of one place (volume, slice) by kind: the magnitude, its error, and the volume's extras."""
    image = volume.image[place].abs().numpy()
    layers = {"image": image}
    if targets is not None:
        layers["error"] = np.abs(image - targets[place[1]].numpy())
    layers |= {name: extra[place].float().numpy() for name, extra in volume.extras.items()}
    return layers


def windows_of(
    items: Sequence[Item], targets: dict[int, Tensor] | None, places: Sequence[tuple[int, int]]
) -> dict[str, Window]:
    """One window per kind: 0 to the bright level of the reference, or of the last image without one."""
    shown: dict[str, list[np.ndarray]] = {}
    for place in places:
        for _, volume in items:
            for kind, layer in layers_of(volume, targets, place).items():
                shown.setdefault(kind, []).append(layer)
    last = [items[-1][1].image[place].abs().numpy() for place in places]
    top = _bright(last if targets is None else [target.numpy() for target in targets.values()])
    windows = {"image": Window("image", "image", top, True)}
    for kind in sorted(set(shown) - {"image"}, key=_rank):
        if kind == "error":
            windows[kind] = Window(kind, EXTRAS[kind], top / ERROR_GAIN, False)
        elif kind.startswith("draw") or kind in BOUNDS:  # which are images
            windows[kind] = Window(kind, EXTRAS.get(kind, kind), top, True)
        else:
            windows[kind] = Window(kind, EXTRAS.get(kind, kind), _bright(shown[kind]), False)
    return windows


def least_pixels(items: Sequence[Item]) -> int:
    """Of the report's pixels, what the reconstructions of one scan need at least."""
    return _overhead(items) + _count(items) * LEAST_PIXELS


def alone(windows: Sequence[Window], methods: Sequence[Collection[str]]) -> list[str]:
    """Kinds that one only of several methods has: below it, they would leave a row of empty places."""
    counts = {window.kind: sum(window.kind in own for own in methods) for window in windows}
    return [kind for kind, count in counts.items() if count == 1 < len(methods)]


def compared(items: Sequence[Item], most_pixels: int = MOST_PIXELS) -> Comparison:
    """The pictures of the reconstructions of one scan.

    Where all would be too many pixels, evenly spaced slices; where even one is, at a lower resolution.
    """
    scan, first = items[0]
    volumes, slices = first.image.shape[:2]
    of_place = _count(items) * scan.matrix[0] * scan.matrix[1]
    most_pixels = max(most_pixels - _overhead(items), 1)
    reduced = max(1, math.ceil((of_place / most_pixels) ** 0.5))
    allowed = max(1, most_pixels // of_place)
    chosen_volumes = evenly(volumes, min(MOST_VOLUMES, allowed))
    chosen = evenly(slices, max(1, allowed // len(chosen_volumes)))
    found = {index: reference_of(scan, index) for index in chosen}
    known = {index: target for index, target in found.items() if target is not None}
    targets = known if len(known) == len(chosen) else None
    places = [(volume, index) for volume in chosen_volumes for index in chosen]
    windows = windows_of(items, targets, places)
    affine = affine_ras(first.geometry, scan.matrix) if first.geometry.known else None
    view = plane(affine, 2)
    reconstructions = [volume for _, volume in items]
    numbers = [(volume, scan.first_slice + index) for volume, index in places]
    voxel = first.geometry.voxel_mm or (1.0, 1.0, 1.0)
    size = [n * mm for n, mm in zip(scan.matrix, voxel[:2], strict=True)]

    def stack(kind: str, title: str, layer: Callable[[tuple[int, int]], np.ndarray]) -> LayerStack:
        if kind == "error":
            return LayerStack(kind, title, None)
        pictures = [view.shown(_coarse(layer(place), reduced)) for place in places]
        return LayerStack(kind, title, Packed.of(pictures))

    cards = []
    if targets is not None:
        target = stack("image", "reference", lambda place: targets[place[1]].numpy())
        cards.append(PictureCard("reference", None, [target]))
    for number, (name, (_, volume)) in enumerate(zip(names_of(items), items, strict=True)):
        stacks = [
            stack(
                kind,
                name if kind == "image" else f"{name}: {window.title}",
                lambda place, kind=kind, volume=volume: layers_of(volume, targets, place)[kind],  # type: ignore[misc]
            )
            for kind, window in windows.items()
            if kind == "image" or kind in volume.extras or (kind == "error" and targets is not None)
        ]
        cards.append(PictureCard(name, number, stacks))
    return Comparison(
        cards=cards,
        sampled=thumbnails(items, view, slices // 2),
        windows=list(windows.values()),
        plane=view,
        size=view.shown(_coarse(first.image[0, 0].abs().numpy(), reduced)).shape,
        aspect=size[view.right] / size[view.down],
        slices=[scan.first_slice + index for index in chosen],
        volumes=chosen_volumes,
        start=places.index((chosen_volumes[0], chosen[len(chosen) // 2])),
        curves=slice_curves(reconstructions, targets) + left_out_curves(reconstructions, numbers),
        reduced=reduced,
    )


def _count(items: Sequence[Item]) -> int:
    """Pictures of one place: the reference, and of each method the image and its maps."""
    return 1 + sum(1 + len(volume.extras) for _, volume in items)


def _overhead(items: Sequence[Item]) -> int:
    """What k-space, masks, plots and the text of parameters take, as pixels."""
    return 35_000 + 7_000 * len(items)


def _coarse(layer: np.ndarray, by: int) -> np.ndarray:
    """Means of squares of pixels."""
    if by == 1:
        return layer
    pooled = functional.avg_pool2d(torch.from_numpy(layer)[None, None], by, ceil_mode=True)
    return pooled[0, 0].numpy()


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spaced around the middle."""
    kept = min(count, most)
    return [int((n + 0.5) * count / kept) for n in range(kept)]


def _bright(images: Sequence[np.ndarray]) -> float:
    """The bright level; 1 for empty images and those without numbers, which have none."""
    values = np.concatenate([x.ravel() for x in images])
    values = values[np.isfinite(values)]
    return float(np.quantile(values, BRIGHT)) or 1.0 if len(values) else 1.0


def _rank(kind: str) -> tuple[int, str]:
    known = list(EXTRAS)
    return (known.index(kind) if kind in known else len(known), kind)
