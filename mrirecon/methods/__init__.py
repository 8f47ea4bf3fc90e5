"""Reconstruction methods: scan in, volume out."""

from mrirecon.methods.base import Reconstructor as Reconstructor
from mrirecon.methods.base import SliceMethod as SliceMethod
from mrirecon.methods.calibrate import Calibrated as Calibrated
from mrirecon.methods.calibrate import GivenMaps as GivenMaps
from mrirecon.methods.classical import (
    Adjoint,
    CGSense,
    L1Wavelet,
    MinNorm,
    TotalVariation,
    ZeroFilled,
)
from mrirecon.methods.grappa import Grappa
from mrirecon.methods.posterior import POSTERIOR
from mrirecon.methods.posterior import Posterior as Posterior
from mrirecon.methods.unrolled import HUMUS, UNet, VarNet
from mrirecon.methods.unrolled import EndToEnd as EndToEnd
from mrirecon.methods.unrolled_prior import UnrolledPrior

CLASSICAL = (ZeroFilled, Adjoint, MinNorm, CGSense, L1Wavelet, TotalVariation, Grappa)
LEARNED = (UNet, VarNet, HUMUS, UnrolledPrior)
METHODS: dict[str, type[SliceMethod]] = {
    method.name: method for method in CLASSICAL + LEARNED + POSTERIOR
}
