"""Axes of the k-space grid against counting: every line has its point, and none is to spare."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mrirecon.io.grid import phase_axis
from mrirecon.io.mrd_header import Encoding, Limit


@settings(deadline=None, max_examples=100)
@given(
    first=st.integers(0, 4), count=st.integers(8, 40), before=st.integers(0, 20), matrix=st.data()
)
def test_the_phase_axis_holds_every_line_and_no_more(first, count, before, matrix):
    """The smallest grid, not below the header's, whose point N // 2 is the centre and that has all lines."""
    last, center = first + count - 1, first + min(before, count - 1)
    size = matrix.draw(st.integers(count, 2 * count))
    encoding = Encoding(
        encoded_matrix=(16, size, 1), limits={"kspace_encoding_step_1": Limit(first, last, center)}
    )
    axis = phase_axis(np.arange(first, last + 1), 1, encoding, None, [])
    center = axis.size // 2 - axis.offset  # of full grids, one beside the middle is moved there
    fits = [
        n
        for n in range(size, 4 * count)
        if n // 2 - center + first >= 0 and n // 2 - center + last < n
    ]
    assert axis.size == fits[0]
