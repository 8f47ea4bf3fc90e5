"""Reconstruction methods: scan in, volume out."""

from mrirecon.methods.base import Reconstructor as Reconstructor
from mrirecon.methods.base import SliceMethod as SliceMethod
from mrirecon.methods.calibrate import Calibrated as Calibrated
from mrirecon.methods.calibrate import GivenMaps as GivenMaps
from mrirecon.methods.named import CLASSICAL as CLASSICAL
from mrirecon.methods.named import LEARNED as LEARNED
from mrirecon.methods.named import METHODS as METHODS
from mrirecon.methods.posterior import POSTERIOR as POSTERIOR
from mrirecon.methods.posterior import Posterior as Posterior
from mrirecon.methods.unrolled import EndToEnd as EndToEnd
from mrirecon.methods.whole_scan import Request as Request
from mrirecon.methods.whole_scan import reconstruct as reconstruct
