"""Reconstruction methods: what solves slices.

Example:
    volume = mr.run(mr.methods.TotalVariation(iterations=50), scan)
"""

from mrirecon.methods.base import Method as Method
from mrirecon.methods.base import Needs as Needs
from mrirecon.methods.base import Neighbours as Neighbours
from mrirecon.methods.base import Preview as Preview
from mrirecon.methods.base import Problem as Problem
from mrirecon.methods.base import SliceMethod as SliceMethod
from mrirecon.methods.base import Solution as Solution
from mrirecon.methods.classical import Adjoint as Adjoint
from mrirecon.methods.classical import CGSense as CGSense
from mrirecon.methods.classical import L1Wavelet as L1Wavelet
from mrirecon.methods.classical import MinNorm as MinNorm
from mrirecon.methods.classical import TotalVariation as TotalVariation
from mrirecon.methods.classical import ZeroFilled as ZeroFilled
from mrirecon.methods.csgm import CSGM as CSGM
from mrirecon.methods.dirac import DiracMethod as DiracMethod
from mrirecon.methods.grappa import Grappa as Grappa
from mrirecon.methods.image_networks import UnrolledPriorMethod as UnrolledPriorMethod
from mrirecon.methods.networks import HUMUSMethod as HUMUSMethod
from mrirecon.methods.networks import UNetMethod as UNetMethod
from mrirecon.methods.networks import VarNetMethod as VarNetMethod
from mrirecon.methods.posterior import Posterior as Posterior
from mrirecon.methods.registry import CLASSICAL as CLASSICAL
from mrirecon.methods.registry import LEARNED as LEARNED
from mrirecon.methods.registry import METHODS as METHODS
from mrirecon.methods.registry import as_method as as_method
from mrirecon.methods.registry import register as register
from mrirecon.methods.samplers import SAMPLER_METHODS as SAMPLER_METHODS
from mrirecon.methods.untrained import DIP as DIP
from mrirecon.methods.untrained import UNTRAINED as UNTRAINED
from mrirecon.methods.untrained import ConvDecoderMethod as ConvDecoderMethod
from mrirecon.methods.untrained import Untrained as Untrained
from mrirecon.methods.variational import Variational as Variational
from mrirecon.methods.walk import PriorMethod as PriorMethod
