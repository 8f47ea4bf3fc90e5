"""The Shepp-Logan phantom and its Fourier transform, both in closed form, and the scan of the demo."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.io import read_image
from mrirecon.options import parse_slices
from mrirecon.scan import Scan
from mrirecon.simulate import demo_simulation

# Toft, "The Radon Transform" (1996), appendix B: intensity, semi-axes (x, y), centre (x, y), angle in degrees.
ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.8740, 0.0, -0.0184, 0.0),
    (-0.2, 0.1100, 0.3100, 0.22, 0.0, -18.0),
    (-0.2, 0.1600, 0.4100, -0.22, 0.0, 18.0),
    (0.1, 0.2100, 0.2500, 0.0, 0.35, 0.0),
    (0.1, 0.0460, 0.0460, 0.0, 0.1, 0.0),
    (0.1, 0.0460, 0.0460, 0.0, -0.1, 0.0),
    (0.1, 0.0460, 0.0230, -0.08, -0.605, 0.0),
    (0.1, 0.0230, 0.0230, 0.0, -0.606, 0.0),
    (0.1, 0.0230, 0.0460, 0.06, -0.605, 0.0),
)


def shepp_logan(shape: tuple[int, int]) -> Float[Tensor, "y x"]:
    """The modified Shepp-Logan phantom (Toft 1996) at pixel centres, in [0, 1], with the chin at the last row."""
    y, x = (_centred(n) * 2 / n for n in shape)
    image = torch.zeros(shape, dtype=torch.float64)
    for intensity, a, b, x0, y0, degrees in ELLIPSES:
        u, v = _rotated(x[None, :] - x0, -y[:, None] - y0, degrees)
        image += intensity * ((u / a) ** 2 + (v / b) ** 2 <= 1)
    return image.clamp(min=0).float()  # 1 - 0.8 - 0.2 is not exactly 0


def shepp_logan_kspace(shape: tuple[int, int]) -> Complex[Tensor, "ky kx"]:
    """k-space of `shepp_logan` in closed form: Fourier integrals over the ellipses, so that nothing is discretised.

    Scaled so that `ifft2c` of it has the phantom's intensities. An ellipse with semi-axes a, b transforms to
    a b J1(2 pi r) / r with r = |(a u, b v)| (Van de Walle et al., IEEE TMI 19:1160, 2000).
    """
    ky, kx = (_centred(n) / 2 for n in shape)  # the FOV is 2 long: cycles per unit length
    kspace = torch.zeros(shape, dtype=torch.complex128)
    for intensity, a, b, x0, y0, degrees in ELLIPSES:
        u, v = _rotated(kx[None, :], -ky[:, None], degrees)
        r = torch.hypot(a * u, b * v)
        jinc = torch.where(r == 0, math.pi, torch.special.bessel_j1(2 * math.pi * r) / r)
        shift = -2 * math.pi * (kx[None, :] * x0 - ky[:, None] * y0)
        kspace += torch.polar(intensity * a * b * jinc.abs(), shift) * jinc.sign()
    return (kspace * math.sqrt(shape[0] * shape[1]) / 4).to(torch.complex64)


def _centred(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64) - count // 2


def _rotated(x: Tensor, y: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Coordinates along the axes of an ellipse that is rotated counter-clockwise."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos * x + sin * y, cos * y - sin * x


def demo_scan(slices: str | slice | None = None) -> Scan:
    """The embedded scan of `mrirecon demo`: a head, 8 coils, 24 slices of 128 x 96, with its truth as reference.

    Args:
        slices: a run of them, such as "10:13".

    Raises:
        ValueError: if there are no such slices.

    Example:
        >>> mr.demo_scan("11:13")
        Scan brain volume of nibabel, simulated scan (simulation): 2 slices x 8 coils x 256 x 96, output 128 x 96
    """
    # nibabel ships a real brain volume with an oblique affine: nothing is redistributed here.
    data, affine = read_image(str(files("nibabel") / "tests" / "data" / "example4d.nii.gz"))
    if affine is None:
        raise ValueError("nibabel's example volume has no affine: reinstall nibabel")
    scan = demo_simulation(data[..., 0], affine).scan
    return replace(
        scan.select(parse_slices(slices)), source="brain volume of nibabel, simulated scan"
    )
