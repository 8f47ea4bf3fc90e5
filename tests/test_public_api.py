"""The names that `import mrirecon as mr` offers, and `mr.reconstruct` beside the command that does the same."""

import ast
import inspect
import json
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
import torch

import mrirecon as mr
from mrirecon.cli import main
from mrirecon.io.layout import Layout
from mrirecon.io.volumes import describe
from mrirecon.methods.registry import DEFAULT, as_method, options_of
from mrirecon.options import parse_slices
from mrirecon.phantom import shepp_logan

PUBLIC = [
    *("CleanDenoiser", "Coils", "Denoiser", "EstimatedMaps", "Fourier", "GaussianDenoiser"),
    *(
        "Geometry",
        "GivenMaps",
        "Gradient",
        "GradientEcho",
        "LinearOperator",
        "MASKS",
        "METHODS",
        "Mask",
    ),
    *("MaskSpec", "Method", "Needs", "NoiseDenoiser", "PROTOCOLS", "Problem", "Request", "Scan"),
    *("ScoreDenoiser", "SliceMethod", "Solution", "Volume", "Wavelet", "birdcage_maps"),
    *(
        "compare",
        "complex_noise_like",
        "conjugate_gradient",
        "demo_scan",
        "espirit",
        "estimate_maps",
        "evaluate",
    ),
    *(
        "fft2c",
        "fista",
        "haarpsi",
        "ifft2c",
        "import_weights",
        "load_prior",
        "load_weights",
        "make_mask",
    ),
    *("methods", "networks", "noise_level", "pdhg", "prepare", "prewhiten", "read_image"),
    *("read_maps", "read_scan", "read_volume", "reconstruct", "register", "rss", "run"),
    *("samplers", "save_weights", "schedules", "sense", "shipped_weights", "show", "simulate_scan"),
    *("volume_scale", "write_maps", "write_scan", "write_volume"),
]


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    image = (shepp_logan((40, 32)).numpy()[:, :, None] * np.array([1, 0.8, 0.6])).astype(np.float32)
    mr.write_scan(mr.simulate_scan(image, coils=4, snr=60.0).scan, path)
    return path


def test_the_public_names_are_these():
    assert mr.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(mr, name) is not None and name in dir(mr)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(mr.__file__).with_suffix(".pyi").read_text())
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    seen = [a.asname for n in imports for a in n.names if a.asname == a.name]
    assert sorted(seen) == PUBLIC
    assert (Path(mr.__file__).parent / "py.typed").exists()


def test_options_of_methods_do_not_hide_those_of_reconstruct():
    parameters = inspect.signature(mr.reconstruct).parameters
    assert parameters["method"].default == mr.Request().method == DEFAULT
    shared = {*parameters, *(one.name for kind in (mr.Request, Layout) for one in fields(kind))}
    for name in mr.METHODS:
        assert not shared & set(options_of(name))


@pytest.mark.parametrize("name", mr.METHODS)
def test_defaults_of_every_method_are_of_their_own_types(name):
    kind = mr.METHODS[name]
    bare = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    needed = dict.fromkeys(bare, "w")  # weights, of a network that ships none
    made = kind(**needed)
    defaults = {option: getattr(made, option) for option in options_of(name)}
    assert (
        as_method(name, defaults).parameters() == as_method(name, needed).parameters() == defaults
    )


@pytest.mark.parametrize(
    ("typed", "keywords"),
    [
        ([], {}),
        (
            ["--method", "tv", "--method.iterations", "5", "--mask", "poisson", "--accel", "3"],
            {"method": "tv", "iterations": 5, "mask": "poisson", "acceleration": 3.0},
        ),
        (
            [
                "--method",
                "cg_sense",
                "--maps",
                "lowres",
                "--slices",
                "1:3",
                "--compress_coils",
                "3",
            ],
            {"method": "cg_sense", "maps": "lowres", "slices": "1:3", "compress_coils": 3},
        ),
        (
            [
                *("--method", "dds", "--samples", "2", "--seed", "3", "--method.levels", "2"),
                *("--mask", "uniform1d", "--accel", "2", "--center_fraction", "0.25"),
                *("--mask_seed", "4", "--slices", "1:2"),
            ],
            {
                **{"method": "dds", "samples": 2, "seed": 3, "levels": 2, "mask": "uniform1d"},
                **{"acceleration": 2.0, "center_fraction": 0.25, "mask_seed": 4},
                "slices": slice(1, 2),
            },
        ),
    ],
)
def test_reconstruct_does_what_the_command_does(scan_file, tmp_path, typed, keywords):
    output = tmp_path / "o.npy"
    with pytest.raises(SystemExit) as end:
        main(["recon", str(scan_file), "--output", str(output), "--device", "cpu", *typed])
    assert not end.value.code
    volume = mr.reconstruct(scan_file, device="cpu", **keywords)
    assert np.array_equal(volume.image[0].numpy(), np.load(output))
    said = json.loads((tmp_path / "o.npy.json").read_text())
    info = json.loads(json.dumps(describe(volume)))
    for entry in (said, info):
        entry.pop("seconds_per_slice")
    assert info == said


def test_a_scan_a_mask_and_maps_at_hand(scan_file):
    scan = mr.read_scan(scan_file)
    mask = mr.make_mask("uniform1d", scan.shape[2:], 2, center_fraction=0.25, seed=1)
    less = scan.undersample(mask)
    maps = torch.stack([mr.EstimatedMaps()(less, index, "cpu")[0] for index in range(3)])
    same = {"method": "cg_sense", "whiten": False, "device": "cpu"}
    given = mr.reconstruct(scan, mask=mask, maps=maps, **same)
    assert given.info["acceleration"]["achieved"] == 2 and given.info["mask"]["kind"] == "given"
    assert given.info["maps"] == {"kind": "given", "source": "a tensor"}
    json.dumps(describe(given))
    named = {"mask": "uniform1d", "acceleration": 2, "center_fraction": 0.25, "mask_seed": 1}
    assert torch.equal(given.image, mr.reconstruct(scan_file, **named, **same).image)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"method": "ddss"}, ["'ddss'", "did you mean dds?"]),
        ({"method": "dds", "sample": 3}, ["dds", "'sample'", "did you mean samples?"]),
        ({"method": "tv", "samples": 3}, ["tv has no option 'samples'", "dps", "do"]),
        ({"method": "tv", "acceleraton": 3}, ["'acceleraton'", "did you mean acceleration?"]),
        ({"method": "zero_filled", "iterations": 3}, ["zero_filled", "'iterations'"]),
        ({"method": "tv", "iterations": "many"}, ["iterations", "'many'", "whole number"]),
        ({"method": "tv", "iterations": True}, ["iterations", "True", "whole number"]),
        (
            {"method": "dds", "schedule": "carras"},
            ["schedule", "'carras'", "karras, geometric, vp"],
        ),
        ({"mask": "poison", "acceleration": 4}, ["'poison'", "did you mean poisson?"]),
        ({"mask": "poisson"}, ["poisson", "needs an acceleration", "such as 4"]),
        ({"acceleration": 4}, ["acceleration", "mask", "such as poisson"]),
        ({"mask": torch.ones(3, 3, dtype=torch.bool)}, ["3 columns", "32"]),
        ({"mask": torch.full((32,), 2.0)}, ["only 0 and 1"]),
        ({"maps": "espirits"}, ["espirits", "lowres"]),
        ({"method": "cg_sense", "maps": torch.ones(3, 4, 8, 8)}, ["a tensor", "(3, 4, 8, 8)"]),
        ({"accel": 4}, ["'accel'", "acceleration="]),
        ({"calibration": 24}, ["calibration is 24", "EstimatedMaps"]),
        ({"mask": "poisson", "acceleration": "4"}, ["acceleration is '4'", "a number"]),
        ({"partial_fourier": "some"}, ["'some'", "zero, homodyne, pocs"]),
        ({"whiten": 1}, ["whiten is 1", "true or false"]),
        ({"slices": 1.5}, ["slices is 1.5", "give a run"]),
        ({"slices": "1"}, ["A:B"]),
        ({"slices": slice(0, 3, 2)}, ["step of 2"]),
        ({"slices": slice(2, 9)}, ["2:9", "0:3"]),
        ({"device": "tpu"}, ["'tpu'"]),
    ],
)
def test_what_is_wrong_is_one_sentence(scan_file, keywords, words):
    with pytest.raises(ValueError) as error:
        mr.reconstruct(scan_file, **keywords)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert len(text) < 300 and "\n" not in text


@pytest.mark.parametrize("given", [1, 1.5, [1, 2], slice(1.5, 2), slice("a", None)])
def test_what_is_no_run_of_slices(given):
    with pytest.raises(ValueError, match="give a run, such as slice"):
        parse_slices(given)


def test_a_prior_composed_with_a_sampler():
    image = shepp_logan((40, 32)).numpy()[:, :, None].astype(np.float32)
    simulation = mr.simulate_scan(image, coils=4, snr=60.0)
    scan, truth = simulation.scan, simulation.truth(0)
    scale, noise = mr.volume_scale(scan), mr.noise_level(scan)
    mask = mr.make_mask("uniform1d", scan.shape[2:], 2, center_fraction=0.25, seed=1)
    A = mr.sense(simulation.maps(0), mask)
    denoiser, card = mr.load_prior("prior_tiny")
    assert isinstance(denoiser, mr.Denoiser) and card.network == "denoiser"
    y = scan.kspace(0) * mask / scale
    sigmas = mr.schedules.karras(10, denoiser.sigma_range[0], 0.3)
    image = mr.samplers.dds(y, A, denoiser, sigmas, noise_std=noise / scale, start=A.H(y)) * scale
    assert (image - truth).norm() < 0.8 * (A.H(y) * scale - truth).norm()
    with pytest.raises(ValueError, match="varnet, which is no prior"):
        mr.load_prior("varnet_tiny")
