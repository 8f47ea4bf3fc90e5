"""Seeded Cartesian sampling patterns with exact counts.

Masks are (readout, phase), True where sampled. "1D" kinds sample whole columns, "2D" kinds points. The same seed gives
the same mask on every platform, and no global random state is read or changed. docs/masks.md shows them all.
"""

from mrirecon.masks.area import Number as Number
from mrirecon.masks.area import Seed as Seed
from mrirecon.masks.area import fastmri_seed as fastmri_seed
from mrirecon.masks.kinds import MASKS as MASKS
from mrirecon.masks.kinds import Kind as Kind
from mrirecon.masks.kinds import MaskSpec as MaskSpec
from mrirecon.masks.kinds import default_center_fraction as default_center_fraction
from mrirecon.masks.kinds import kind_of as kind_of
from mrirecon.masks.kinds import make_mask as make_mask
