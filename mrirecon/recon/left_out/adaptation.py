"""Weights of a network adapted to one scan, without any reference: it learns to predict left-out samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.device import has_fast_bfloat16
from mrirecon.methods.base import Pace, Problem
from mrirecon.methods.left_out import choose_left_out
from mrirecon.networks import Model
from mrirecon.recon.left_out.loss import prediction_loss
from mrirecon.recon.left_out.prediction import Trial, leave_out, misfit_and_energy
from mrirecon.recon.slice_store import SliceStore
from mrirecon.weights import Card

LEARNED_SLICES = 4  # of the scan, unless more are asked for
STEPS = 40  # most steps of `auto`
PATIENCE = 20  # steps without a better prediction of the validation samples, after which it stops
CLIP = 1.0  # norm of the gradient
SHARES = (0.2, 0.5)  # of the samples outside the calibration centre that a step leaves out


@runtime_checkable
class Adaptable(Protocol):
    """A method whose weights can be adapted to a scan.

    Attributes:
        pace: how fast.
    """

    pace: ClassVar[Pace]

    def predicted(
        self, module: Any, problem: Problem, seed: int | None = None
    ) -> Complex[Tensor, "coil y x"]:
        """All of k-space as the method has it with the weights of `module`.

        With a seed, of what is random in it, gradients flow through it; without, it is what the weights are judged by.
        """
        ...

    @property
    def model(self) -> tuple[Model, Card]:
        """The network and the card of its weights."""
        ...

    def with_module(self, module: Any, card: Card) -> Any:
        """The method with these weights."""
        ...


@dataclass
class Adaptation:
    """How weights were adapted.

    Attributes:
        step: steps that were done.
        best: step whose weights are taken.
        curve: (step, error of the validation samples), the first of the weights as they were.
        state: weights of the best step.
    """

    step: int = 0
    best: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        steps, errors = zip(*self.curve, strict=True)
        return {
            "steps": self.step,
            "best_step": self.best,
            "validated": list(steps),
            "left_out_error": list(errors),
        }

    def note(self) -> str:
        """What was gained, by the samples that were not learned from."""
        before = self.curve[0][1]
        after = dict(self.curve)[self.best]
        if self.best == 0:
            return f"adapted in {self.step} steps: left-out samples were predicted no better, the weights stay"
        return (
            f"weights adapted to this scan in {self.best} of {self.step} steps: the error of left-out samples fell "
            f"from {before:.3f} to {after:.3f}"
        )


@torch.enable_grad()
def adapt(
    method: Adaptable,
    trials: Sequence[Trial],
    *,
    steps: int | None = None,
    seed: int = 0,
    done: Callable[[Adaptation], object] = lambda found: None,
    keep: SliceStore | None = None,
) -> Adaptation:
    """Adapt the weights of a method to slices of a scan.

    The first set of left-out samples of each slice is for validation and never learned from. Each step takes one slice,
    leaves out a part of the other samples, and lowers `prediction_loss` of these. The weights that predict the
    validation samples best are taken, so that by them the result is never worse than the weights before.

    This is cross-validation on k-space; zero-shot self-supervised learning (Yaman et al. 2022, arXiv:2102.07737) is the
    published relative.

    Args:
        method: whose weights; they stay as they are.
        trials: slices with samples for validation.
        steps: number of steps; None stops when the validation samples are predicted no better for `PATIENCE` steps.
        seed: of the samples that are left out in each step.
        done: called after each step.
        keep: where a stopped adaptation is found again, to be gone on with as if it had not been stopped.
    """
    module = _trainable(method.model[0])
    optimizer = torch.optim.Adam(
        (p for p in module.parameters() if p.requires_grad), lr=method.pace.rate
    )
    learned = [trial.without(0) for trial in trials]
    found = Adaptation(state=_copy(module))

    def validate() -> None:
        found.curve.append((found.step, validation_error(method, module, trials, learned)))
        if found.curve[-1][1] <= min(error for _, error in found.curve):
            found.best, found.state = found.step, _copy(module)

    if keep is None or not _go_on(keep, module, optimizer, found):
        validate()
    most = STEPS if steps is None else steps
    while found.step < most and (steps is not None or found.step - found.best < PATIENCE):
        loss = _step_loss(method, module, learned, (seed, found.step))
        for group in optimizer.param_groups:
            group["lr"] = method.pace.rate * (1 - found.step / most)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimizer.step()
        found.step += 1
        if found.step % method.pace.every == 0 or found.step == most:
            validate()
            if keep is not None:
                _keep(keep, module, optimizer, found)
        done(found)
    return found


def adapted(method: Adaptable, found: Adaptation, source: str) -> Any:
    """The method with adapted weights, whose card says so."""
    network, card = method.model
    module = copy.deepcopy(network)
    module.load_state_dict(found.state)
    note = f"adapted to {source} in {found.best} steps by predicting left-out samples of it"
    return method.with_module(module, replace(card, sha256="", notes=(*card.notes, note)))


def _trainable(network: Model) -> Model:
    """A copy whose weights can be learned, except those that its kind never learns, such as random frequencies."""
    with torch.random.fork_rng(devices=[]):
        made = type(network)(**network.config)
    module = copy.deepcopy(network).float()
    for parameter, new in zip(module.parameters(), made.parameters(), strict=True):
        parameter.requires_grad_(new.requires_grad)
    return module


def _keep(keep: SliceStore, module: Model, optimizer: torch.optim.Adam, found: Adaptation) -> None:
    """Keep all that the next step depends on."""
    moments = {
        f"adam.{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    parts = {f"now.{name}": x for name, x in _copy(module).items()}
    parts |= {f"best.{name}": x for name, x in found.state.items()}
    keep.put("adaptation", {**parts, **moments}, [found.step, found.best, found.curve])


def _go_on(keep: SliceStore, module: Model, optimizer: torch.optim.Adam, found: Adaptation) -> bool:
    """Take up what was kept; whether there was anything."""
    kept = keep.get("adaptation")
    if kept is None:
        return False
    tensors, (found.step, found.best, curve) = kept
    found.curve = [(step, error) for step, error in curve]
    found.state = {n.removeprefix("best."): x for n, x in tensors.items() if n.startswith("best.")}
    now = {n.removeprefix("now."): x for n, x in tensors.items() if n.startswith("now.")}
    module.load_state_dict(now)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, moment = name.split(".")
            state.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return True


def _step_loss(
    method: Adaptable, module: Model, problems: Sequence[Problem], key: tuple[int, int]
) -> Tensor:
    """The loss of one step: which slice, and which of its samples are left out, follow from the key alone."""
    random = np.random.default_rng(key)
    problem = problems[key[1] % len(problems)]
    share = float(random.uniform(*SHARES))
    acquired = problem.near.scan.acquired
    chosen = choose_left_out(
        problem.mask, acquired, count=1, share=share, seed=int(random.integers(2**31))
    )[0]
    points = chosen.points.to(problem.mask.device)
    device = problem.kspace.device
    # What a step learns needs no more digits; predictions that are compared are float32.
    with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
        predicted = method.predicted(
            module, leave_out(problem, points), int(random.integers(2**31))
        )
    return prediction_loss(predicted[:, points], problem.kspace[:, points])


@torch.no_grad()
def validation_error(
    method: Adaptable, module: Model, trials: Sequence[Trial], problems: Sequence[Problem]
) -> float:
    """Error of the validation samples of all slices."""
    misfit = energy = 0.0
    for trial, problem in zip(trials, problems, strict=True):
        more = misfit_and_energy(trial, 0, method.predicted(module, problem))
        misfit, energy = misfit + more[0], energy + more[1]
    return math.sqrt(misfit / max(energy, 1e-300))


def _copy(module: Model) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in module.state_dict().items()}
