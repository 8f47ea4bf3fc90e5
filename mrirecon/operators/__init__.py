"""The operator algebra, the SENSE operator, sparsity transforms, solvers and coil calibration."""

from mrirecon.operators.base import LinearOperator as LinearOperator
from mrirecon.operators.espirit import espirit as espirit
from mrirecon.operators.espirit import low_resolution_maps as low_resolution_maps
from mrirecon.operators.gradient import Gradient as Gradient
from mrirecon.operators.parts import Coils as Coils
from mrirecon.operators.parts import Fourier as Fourier
from mrirecon.operators.parts import Mask as Mask
from mrirecon.operators.sense import Sense as Sense
from mrirecon.operators.sense import sense as sense
from mrirecon.operators.solvers import conjugate_gradient as conjugate_gradient
from mrirecon.operators.solvers import fista as fista
from mrirecon.operators.solvers import largest_eigenvalue as largest_eigenvalue
from mrirecon.operators.solvers import pdhg as pdhg
from mrirecon.operators.wavelet import Wavelet as Wavelet
