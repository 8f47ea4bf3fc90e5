"""Several slices in one call of a network, as on a GPU."""

from dataclasses import replace

import pytest
import torch

import mrirecon as mr
from mrirecon.methods.networks import NetworkMethod

METHODS = ["unet", "varnet", "humus", "unrolled_prior"]


@pytest.fixture
def scan():
    return mr.demo_scan("10:13")


@pytest.mark.parametrize("method", METHODS)
def test_they_are_those_of_one_after_the_other(method, scan, monkeypatch):
    solver = mr.METHODS[method]()
    expected = mr.run(solver, scan)
    sizes = []
    solve = type(solver).solve_with

    def watched(self, network, problems):
        sizes.append(len(problems))
        return solve(self, network, problems)

    monkeypatch.setattr(type(solver), "solve_with", watched)
    monkeypatch.setattr(NetworkMethod, "slices_at_once", lambda self, pixels, device: 2)
    found = mr.run(solver, scan)
    assert sizes == [2, 1]
    torch.testing.assert_close(
        found.image, expected.image, rtol=0, atol=1e-5 * float(expected.image.abs().max())
    )
    told = {"data_residual", "residual_over_noise"} & {*expected.info}
    assert (method == "unet") == (not told)
    for name in told:
        assert found.info[name] == pytest.approx(expected.info[name], rel=1e-4)


def test_a_slice_with_calibration_data_of_its_own_goes_with_others(scan, monkeypatch):
    """What the sensitivity network looks at differs from slice to slice."""
    whole = scan.read

    def other(volume, index):
        kspace = whole(volume, index)
        rows, columns = (n // 2 for n in kspace.shape[-2:])
        centre = torch.zeros_like(kspace)
        part = (..., slice(rows - 12, rows + 12), slice(columns - 12, columns + 12))
        centre[part] = (1.0 + 0.2 * index) * kspace[part].roll(1, 0)
        return centre

    mask = torch.zeros(scan.shape[-2:], dtype=torch.bool)
    mask[:, ::2] = mask[:, scan.shape[-1] // 2 - 1 : scan.shape[-1] // 2 + 1] = True
    separate = replace(scan.undersample(mask), calibration=other)
    solver = mr.METHODS["varnet"]()
    expected = mr.run(solver, separate).image
    monkeypatch.setattr(NetworkMethod, "slices_at_once", lambda self, pixels, device: 3)
    found = mr.run(solver, separate).image
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(found, mr.run(solver, scan.undersample(mask)).image, rtol=0.01)


def test_where_memory_runs_out_half_as_many_are_tried(scan, monkeypatch):
    solver = mr.METHODS["varnet"]()
    expected = mr.run(solver, scan).image
    real, sizes = type(solver.trained[0]).unroll, []

    def small(self, kspace, *others):
        sizes.append(len(kspace))
        if len(kspace) > 1:
            raise torch.OutOfMemoryError("no room")
        return real(self, kspace, *others)

    monkeypatch.setattr(type(solver.trained[0]), "unroll", small)
    monkeypatch.setattr(NetworkMethod, "slices_at_once", lambda self, pixels, device: 3)
    found = mr.run(solver, scan).image
    assert sizes == [3, 1, 2, 1, 1]
    assert torch.equal(found, expected)
