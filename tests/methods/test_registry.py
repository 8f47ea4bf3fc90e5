"""Methods by name, and those of other people: objects, classes, registered ones, networks, entry points."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
import torch
from scan_cases import columns, error, phantom

import mrirecon as mr
from mrirecon.cli import main
from mrirecon.io import write_scan
from mrirecon.methods import registry
from mrirecon.networks import MODELS, NETWORKS
from mrirecon.networks.base import Network
from mrirecon.weights import card_of


@pytest.fixture
def scan():
    whole = phantom().scan
    return whole.undersample(columns(whole))


@dataclass(frozen=True, kw_only=True)
class Twice(mr.SliceMethod):
    """The adjoint, times a factor."""

    factor: float = 2.0

    name: ClassVar[str] = "twice"

    def solve_slice(self, problem):
        return mr.Solution(image=self.factor * problem.operator.adjoint(problem.kspace))


class Bare:
    """No `Method` at all."""

    def solve(self, batch):
        return [3 * problem.operator.adjoint(problem.kspace) for problem in batch]


@pytest.mark.parametrize(
    ("method", "options", "factor"),
    [
        (Twice(), {}, 2),
        (Twice, {"factor": 5.0}, 5),
        (Twice(), {"factor": 4}, 4),
        (Bare(), {}, 3),
        (Bare, {}, 3),
    ],
)
def test_an_object_or_a_class_stands_where_a_name_can(method, options, factor, scan):
    plain = mr.reconstruct(scan, method="adjoint")
    volume = mr.reconstruct(scan, method=method, **options)
    assert error(volume.image, factor * plain.image) < 1e-6
    assert volume.info["request"]["method"]["name"] == volume.info["method"]
    if isinstance(method, mr.Method):
        assert error(mr.run(method, scan).image, 2 * plain.image) < 1e-6


def test_what_solves_nothing_is_refused(scan):
    for method in (3, object(), None):
        with pytest.raises(
            ValueError, match="give the name of one, an object with `solve`, or a function"
        ):
            mr.reconstruct(scan, method=method)
    with pytest.raises(ValueError, match=r"twice has no option 'facto': did you mean factor"):
        mr.reconstruct(scan, method=Twice(), facto=3)
    with pytest.raises(ValueError, match="Bare is built already: give it factor itself"):
        mr.reconstruct(scan, method=Bare(), factor=3)
    with pytest.raises(ValueError, match=r"factor is 'x': it takes a number"):
        mr.reconstruct(scan, method=Twice, factor="x")


@pytest.fixture
def known(monkeypatch):
    """The registry, as it was before afterwards."""
    monkeypatch.setattr(mr.METHODS, "_known", dict(mr.METHODS._known))
    registry._entry_points.cache_clear()
    yield mr.METHODS
    registry._entry_points.cache_clear()


def test_a_registered_method_has_a_name(known, scan):
    assert mr.register(Twice) is Twice
    assert known["twice"] is Twice and "twice" in list(known)
    assert (
        error(
            mr.reconstruct(scan, method="twice", factor=3.0).image,
            1.5 * mr.run(Twice(), scan).image,
        )
        < 1e-6
    )
    mr.register(Twice)  # again, as a module that is reloaded does

    @dataclass(frozen=True, kw_only=True)
    class Other(Twice):
        name: ClassVar[str] = "adjoint"

    with pytest.raises(ValueError, match="there is a method adjoint already"):
        mr.register(Other)


def test_methods_of_other_packages_are_found_by_their_entry_points(known, monkeypatch, scan):
    point = EntryPoint("twice", f"{__name__}:Twice", registry.GROUP)
    wrong = EntryPoint("bare", f"{__name__}:Bare", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point, wrong])
    assert {"twice", "bare"} <= set(known)
    assert registry.options_of("twice") == ["factor"]
    with pytest.raises(ValueError, match=r"the entry point bare of mrirecon\.methods is no class"):
        mr.reconstruct(scan, method="bare")


class Blur(Network):
    """A network that knows nothing: the root sum of squares, times one weight."""

    name = "blur"

    def __init__(self, gain=2.0):
        super().__init__()
        self.config = {"gain": gain}
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    def forward(self, kspace, mask, calibration, crop):
        return self.gain * mr.rss(mr.ifft2c(kspace[:, 0]))[(..., *crop)]


def test_a_network_needs_no_class_of_its_own(known, monkeypatch, scan, tmp_path, capsys):
    for table in (NETWORKS, MODELS):
        monkeypatch.setattr(table, "homes", dict(table.homes))
    assert mr.register(Blur) is Blur and mr.register(Blur) is Blur
    path = tmp_path / "blur.safetensors"
    network = Blur()
    mr.save_weights(network, path, card_of(network))
    volume = mr.reconstruct(scan, method="blur", weights=path)
    plain = mr.reconstruct(scan, method="zero_filled")
    assert error(volume.image, 2 * plain.image) < 1e-5
    assert volume.info["weights"]["network"] == "blur"
    write_scan(scan, tmp_path / "scan.h5")
    words = ["recon", str(tmp_path / "scan.h5"), "--method", "blur"]
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--output", str(tmp_path / "none.nii.gz")])
    assert "give --method.weights" in capsys.readouterr().err
    for number, option in enumerate(("--weights", "--method.weights")):
        output = tmp_path / f"{number}.nii.gz"
        with pytest.raises(SystemExit, match="0"):
            main([*words, option, str(path), "--output", str(output)])
        assert output.exists()


def test_a_network_needs_a_name_that_is_free():
    class Varnet(Blur):
        name = "varnet"

    class Nameless(Network):
        pass

    for network in (Varnet, Nameless):
        with pytest.raises(ValueError, match=f"{network.__name__} needs a name of its own"):
            mr.register(network)
    assert mr.networks.MODELS["varnet"] is not Varnet


@pytest.mark.parametrize(
    ("typed", "meant"), [("TV", "tv"), ("CG-Sense", "cg_sense"), ("Zero_Filled", "zero_filled")]
)
def test_capitals_and_dashes_do_not_matter(typed, meant, scan):
    assert mr.reconstruct(scan, method=typed).info["method"] == meant


@pytest.mark.parametrize(
    ("typed", "meant"), [("rss", "zero_filled"), ("sense", "cg_sense"), ("tvv", "tv")]
)
def test_what_people_call_otherwise_is_named(typed, meant, scan):
    with pytest.raises(ValueError, match=f"unknown method '{typed}': did you mean {meant}"):
        mr.reconstruct(scan, method=typed)
