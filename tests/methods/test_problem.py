"""One slice to solve, and what is known of it."""

from dataclasses import replace

import pytest
import torch

import mrirecon as mr
from mrirecon.operators import sense
from mrirecon.recon.problems import Problems


@pytest.fixture
def problem():
    scan = mr.demo_scan("10:11")
    maps = mr.EstimatedMaps()
    problems = Problems(mr.METHODS["cg_sense"](), scan, maps, range(1), True, "cpu")
    ((found,),) = problems.batches(problems.places())
    return found


def test_what_is_known_of_a_mask_does_not_outlive_it(problem):
    """A^H A of a mask that varies along no axis would be that of full sampling for any other mask."""
    assert problem.axes == () and replace(problem, tell=None).axes == ()
    mask = torch.rand(problem.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    other = replace(problem, mask=mask, kspace=problem.kspace * mask)
    assert other.axes is None
    x = torch.randn(mask.shape, dtype=torch.complex64)
    A = sense(problem.maps[0], mask)
    torch.testing.assert_close(other.operator.gram(x), A.H(A(x)), rtol=1e-4, atol=1e-4)
