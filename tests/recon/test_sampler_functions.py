"""A sampler's function, its method, and its file of configs/samplers are one: the same defaults, the same image."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from scan_cases import columns, image_of, phantom, pipeline_of, problems_of

import mrirecon as mr
from mrirecon.diffusion import ScaledDenoiser
from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods import METHODS
from mrirecon.tensors import stream_of

ROOT = Path(mr.__file__).parent
CONFIGS = ROOT.parent / "configs" / "samplers"


@pytest.fixture(scope="module")
def scan():
    """Not prewhitened, so that the image of the function is that of the method."""
    whole = phantom(shape=(32, 28)).scan
    return replace(whole, noise_covariance=None).undersample(columns(whole, calibration=12))


@pytest.mark.parametrize("name", SAMPLERS)
def test_function_method_and_file_give_the_same_image(name, scan):
    pipeline = pipeline_of(name, scan)
    method, (problem,) = pipeline.method, problems_of(pipeline, 1)
    scale, sampler = problem.scale, getattr(mr.samplers, name)
    start = None
    if method.start != "noise":
        start = image_of(METHODS["cg_sense"](), problem)[None, None] / scale
    noise = {"noise_std": problem.noise_std / scale}
    image = sampler(  # axes of draws and slices: sums round otherwise without
        problem.kspace[None, None] / scale,
        mr.sense(problem.maps, problem.mask[None]),
        mr.load_prior("prior_tiny")[0],
        method.sigmas,
        start=start,
        generator=[[stream_of(0, 0, 0, 0)]],  # seed 0, volume 0, slice 0, draw 0
        **(noise if "noise_std" in inspect.signature(sampler).parameters else {}),
    )[0, 0]
    expected = mr.run(METHODS[name](), scan).image[0, 0]
    assert bool(expected.any())
    assert torch.equal(image * problem.operator.support() * scale, expected)
    settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert torch.equal(mr.Request(**settings).pipeline(scan).run().image[0, 0], expected)


def test_seven_frames_lead_from_reconstruct_to_the_denoiser(scan):
    """That of a prior of images that are not as bright as ours, which wraps the one that computes."""
    seen = []

    class Plain:
        sigma_range = (0.005, 5.0)

        def __call__(self, x, sigma):
            seen.append([(Path(one.filename), one.function) for one in inspect.stack()])
            return x

    method = METHODS["dds"](levels=2)
    method.__dict__["trained"] = (ScaledDenoiser(Plain(), 0.5), method.trained[1])
    mr.reconstruct(scan, method=method, device="cpu")
    frames = [frame for frame in seen[0] if ROOT in frame[0].parents]
    assert frames[-1][1] == "reconstruct" and frames[0][1] == "__call__"
    assert len(frames) <= 7, frames
