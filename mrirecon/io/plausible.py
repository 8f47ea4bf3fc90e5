"""Warnings about a slice that does not look like centred k-space, each with the option that corrects it.

K-space has most of its energy in a small region about its centre, and an image has air at the edges of its field of
view. Stored images, corner-centred arrays and swapped axes differ from that by far (figures: docs/formats.md). Warnings
are given only where this is nearly certain, and never for noise or tiny grids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.io.layout import IMAGE, PLANE, Layout
from mrirecon.tensors import fft2, fftshift, ifft2c, largest_part

BLOCK = ("coil", *PLANE)
MANY = 32  # coils: with so many, a plane of fewer than half as many samples per side is doubtful
SMALLEST = 16  # samples: along shorter axes nothing can be concluded
OPTION = {name: image for image, name in IMAGE.items()}


def doubts(
    kspace: Complex[Tensor, "coil readout phase"],
    axes: Sequence[str],
    slices: int,
    layout: Layout,
    partitions: bool = False,
) -> tuple[str, ...]:
    """Reasons why a slice is probably not centred k-space, one sentence each; empty where there are none.

    Args:
        kspace: a slice that has samples; zero where not sampled.
        axes: names of the stored axes where the file is an array; empty where a header orders the data.
        slices: number of slices of the scan.
        layout: the layout with which the file was read.
        partitions: whether the slices look like planes of 3D k-space.
    """
    power = kspace.real.square() + kspace.imag.square()
    if not 1e-30 < float(power.max()) < torch.inf:  # squares that overflow or vanish in float32
        largest = largest_part(kspace)
        if not 0 < largest < torch.inf:
            return ()  # refused with an error when the slice is reconstructed
        kspace = kspace / largest
        power = kspace.real.square() + kspace.imag.square()
    plane, coils = power.sum(dim=0), power.sum(dim=(1, 2))
    large = min(plane.shape) >= SMALLEST
    if large and (hybrid := _image_axis(kspace, coils, plane)) is not None:
        return (_hybrid_sentence(hybrid, axes),)
    planes = {"slice": "partition"} if partitions else {}
    if large and _is_image(kspace, coils, plane):
        return (_image_sentence(axes),)
    if axes and (order := _other_order(coils, plane, axes, slices)):
        order = ",".join(planes.get(name, name) for name in order.split(","))
        return (
            f"the axes of the array are read as {','.join(axes)} but look like {order}: give --axes {order}",
        )
    said = (_partition_sentence(slices, axes),) if partitions else ()
    if not large:
        unlikely = len(coils) >= MANY and len(coils) > 2 * max(plane.shape) and layout.axes is None
        small = (_small_plane(len(coils), plane.shape, axes),) if axes and unlikely else ()
        return (*said, *small)
    found = [*said]
    if corner := _cornered_axes(plane):
        found.append(
            f"the centre of k-space is in the corner, at the ends of {_along(corner)}: "
            f"give --kspace_centre {layout.moved('kspace_centre', corner)}"
        )
    if half := _split_axes(kspace, plane):
        found.append(
            f"the image is half a field of view off along {_along(half)} (k-space of an image that was not shifted "
            f"before its FFT): give --image_centre {layout.moved('image_centre', half)}"
        )
    return tuple(found)


def _other_order(
    coils: Float[Tensor, " coil"],
    plane: Float[Tensor, "readout phase"],
    axes: Sequence[str],
    slices: int,
) -> str | None:
    """The order of axes that the energy suggests, where an axis of k-space was read as coils or slices; else None."""
    profiles = [coils, *(_mean_power(plane, axis) for axis in (0, 1))]
    fractions = (0.6, 0.5, 0.5)  # the coils next to the head may have half of the power
    peaked = [
        name
        for name, profile, fraction in zip(BLOCK, profiles, fractions, strict=True)
        if _is_peaked(profile, fraction)
    ]
    flat = [name for name, profile in zip(BLOCK, profiles, strict=True) if _is_flat(profile)]
    stored = [IMAGE.get(name, name) for name in axes]
    many, few = len(coils), plane.shape[1]
    if stored[:1] == ["slice"] and len(stored) == 4 and len(peaked) == 3 and _is_encoded(coils):
        return "coil,readout,phase,partition"
    if "coil" in peaked and len(peaked) == 2 and len(flat) == 1:
        others = {flat[0]: "coil"}
    elif "coil" in stored and many > 64 and 4 * few <= many and flat == ["phase"]:
        # Too noisy to tell by the energy, but a scan with a hundred coils has more than twenty phase-encoding lines.
        peaked, others = ["coil", "readout"], {"phase": "coil"}
    elif peaked == ["coil"] and len(flat) == 2 and slices >= SMALLEST:
        peaked, others = ["slice", "coil"], dict(zip(flat, ("coil", "slice"), strict=True))
    elif peaked == ["readout"] and "phase" in flat and slices >= SMALLEST:
        peaked, others = ["slice", "readout"], {"phase": "slice"}
    else:
        return None
    encoded = iter(PLANE)
    order = [next(encoded) if name in peaked else others.get(name, name) for name in stored]
    return ",".join(order)


def _mean_power(plane: Float[Tensor, "readout phase"], axis: int) -> Float[Tensor, " n"]:
    """Mean power of the measured samples at each position along an axis; 0 where there are none."""
    return plane.sum(dim=1 - axis) / (plane > 0).sum(dim=1 - axis).clamp(min=1)


def _is_peaked(profile: Float[Tensor, " n"], fraction: float) -> bool:
    """Whether an axis looks like k-space: more than this fraction of its power lies in the eighth around its peak."""
    size = len(profile)
    if size < SMALLEST:
        return False
    centred = profile.roll(size // 2 - int(profile.argmax()))
    eighth = centred[size // 2 - size // 16 :][: size // 8]
    return bool(eighth.sum() > fraction * profile.sum()) and bool(
        profile.median() < 0.05 * profile.max()
    )


def _is_encoded(profile: Float[Tensor, " n"]) -> bool:
    """Whether the coil axis looks like a third axis of k-space, whose power falls gradually from the middle."""
    top = int(profile.argmax())
    beside = profile[max(0, top - 1) : top + 2]
    centred = abs(top - len(profile) // 2) <= 1 and len(beside) == 3
    return centred and bool(beside.min() > 0.01 * beside.max())


def _is_flat(profile: Float[Tensor, " n"]) -> bool:
    """Whether an axis looks like coils or slices, whose power differs, but not by orders of magnitude."""
    if len(profile) >= SMALLEST:
        return not _is_peaked(profile, 0.6) and bool(profile.median() > 0.01 * profile.max())
    return bool(profile[profile > 0].min() > 0.1 * profile.max())


def _along(axes: Sequence[int]) -> str:
    return " and ".join(PLANE[axis] for axis in axes)


def _image_sentence(axes: Sequence[str]) -> str:
    order = ",".join(OPTION.get(name, name) for name in axes)
    remedy = f"give --axes {order} to have it Fourier-transformed, " if axes else ""
    return (
        f"this looks like an image, not like k-space: {remedy}"
        "or make k-space of a magnitude image with the command simulate"
    )


def _small_plane(coils: int, plane: Sequence[int], axes: Sequence[str]) -> str:
    order = ",".join((*(name for name in axes if name not in BLOCK), *PLANE, "coil"))
    return (
        f"the array is read as {','.join(axes)}, {coils} coils of {plane[0]} x {plane[1]} samples: if its axes are in "
        f"another order, name them, such as --axes {order}"
    )


def _partition_sentence(slices: int, axes: Sequence[str]) -> str:
    order = ",".join("partition" if name == "slice" else name for name in axes)
    remedy = f"give --axes {order}" if axes else "set kspace_encode_step_2 when converting"
    return (
        f"the {slices} slices look like the second phase encoding of a 3D scan, nearly all power is in the middle: "
        f"{remedy}"
    )


def _concentration(plane: Float[Tensor, "y x"]) -> float:
    """Energy in the 1/64 of the plane around its peak: more than 0.4 of all for k-space, less than 0.2 for images."""
    for axis in (0, 1):
        size = plane.shape[axis]
        half = max(1, size // 16)
        plane = plane.roll(size // 2 - int(plane.sum(dim=1 - axis).argmax()), axis)
        plane = plane.narrow(axis, size // 2 - half, 2 * half + 1)
    return float(plane.sum())


def _is_image(
    kspace: Complex[Tensor, "coil readout phase"],
    coils: Float[Tensor, " coil"],
    plane: Float[Tensor, "readout phase"],
) -> bool:
    """Whether the data are spread out like an image and their Fourier transform is concentrated like k-space."""
    if _concentration(plane) > 0.2 * float(plane.sum()):
        return False
    transform = fft2(kspace[coils.topk(min(4, len(coils))).indices])
    gathered = (transform.real.square() + transform.imag.square()).sum(dim=0)
    share = _concentration(gathered) / float(gathered.sum())
    return 0.4 < share < 0.999  # above that the data are a constant, the k-space of a point


def _image_axis(
    kspace: Complex[Tensor, "coil readout phase"],
    coils: Float[Tensor, " coil"],
    plane: Float[Tensor, "readout phase"],
) -> int | None:
    """The axis along which the data are an image while the other axis is k-space (hybrid space); None if neither is.

    Along it the profile has air at both ends (slices or coils in its place have none), is not concentrated like
    k-space, and becomes so after a Fourier transform.
    """
    profiles = [_mean_power(plane, axis) for axis in (0, 1)]
    for axis, profile in enumerate(profiles):
        size, edge = len(profile), max(1, len(profile) // 16)
        air = torch.cat([profile[:edge], profile[-edge:]]).max() < 0.2 * profile.max()
        if size < 2 * SMALLEST or not air or _share(profile) > 0.45:
            continue
        if _share(profiles[1 - axis]) < 0.6:
            continue
        strongest = kspace[coils.topk(min(4, len(coils))).indices]
        transform = ifft2c(strongest, (axis - 2,))
        power = (transform.real.square() + transform.imag.square()).sum(dim=(0, 2 - axis))
        if 0.6 < _share(power) < 0.99:  # above that the image is a single line
            return axis
    return None


def _share(profile: Float[Tensor, " n"]) -> float:
    """Fraction of the power in the eighth of the axis around its peak."""
    size = len(profile)
    centred = profile.roll(size // 2 - int(profile.argmax()))
    eighth = centred[size // 2 - size // 16 :][: size // 8]
    return float(eighth.sum() / profile.sum())


def _hybrid_sentence(axis: int, axes: Sequence[str]) -> str:
    name = PLANE[axis]
    order = ",".join(OPTION[name] if stored == name else stored for stored in axes)
    remedy = f"give --axes {order}" if axes else "store k-space when converting"
    return f"the data look like an image along {name}, Fourier-transformed there already: {remedy}"


def _cornered_axes(plane: Float[Tensor, "readout phase"]) -> list[int]:
    """Axes whose power lies at both ends and not in the middle: k-space with its centre in the corner."""
    strength = []
    for axis in (0, 1):
        profile = _mean_power(plane, axis)
        edge = len(profile) // 16
        first, rest, last = profile[:edge], profile[edge:-edge], profile[-edge:]
        strength.append(float(torch.stack([first.mean(), last.mean()]).min() / rest.mean()))
    return [axis for axis in (0, 1) if strength[axis] > (1.3 if max(strength) > 2 else 2)]


def _split_axes(
    kspace: Complex[Tensor, "coil readout phase"], plane: Float[Tensor, "readout phase"]
) -> list[int]:
    """Axes along which the image, at 16 x 16 pixels, has signal at its ends and air in its middle."""
    energy = _low_resolution(kspace, plane, SMALLEST)
    at_the_ends, over_middle = zip(
        *(_ends(energy.sum(dim=1 - axis)) for axis in (0, 1)), strict=True
    )
    if min(over_middle) > 1.5 and max(over_middle) > 4:
        return [0, 1]
    single = [axis for axis in (0, 1) if over_middle[axis] > 8 and at_the_ends[axis] > 0.3]
    if not single:
        return []
    fine = _low_resolution(kspace, plane, 4 * SMALLEST)
    return [axis for axis in single if _reaches_ends(fine.sum(dim=1 - axis))]


def _low_resolution(
    kspace: Complex[Tensor, "coil readout phase"], plane: Float[Tensor, "readout phase"], most: int
) -> Float[Tensor, "y x"]:
    """Energy of a low-resolution image from the centre of k-space, with at most `most` pixels per side."""
    places, windows = [], []
    for axis in (0, 1):
        half = min(most, plane.shape[axis]) // 2
        offsets = torch.arange(-half, half)
        windows.append(torch.cos(torch.pi * offsets / (2 * half)).square())
        peak = int(plane.sum(dim=1 - axis).argmax())
        places.append((peak + offsets) % plane.shape[axis])
    block = kspace[:, places[0]][:, :, places[1]] * windows[0][:, None] * windows[1]
    image = ifft2c(block)
    return (image.real.square() + image.imag.square()).sum(dim=0)


def _reaches_ends(profile: Float[Tensor, " x"]) -> bool:
    """Whether the object continues across the ends of the field of view; two legs side by side have air there."""
    ends = torch.cat([profile[:2], profile[-2:]])
    return bool(ends.min() > 0.3 * profile.max())


def _ends(profile: Float[Tensor, " x"]) -> tuple[float, float]:
    """Signal at the ends of the field of view, relative to its maximum and to the signal in the middle."""
    size = len(profile)
    ends, middle = (
        x.narrow(0, size // 2 - 1, 3).mean() for x in (fftshift(profile, (0,)), profile)
    )
    return float(ends / profile.max()), float(ends / middle)
