"""`mrirecon train`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mrirecon.cli.config import Settings, UsageError, take
from mrirecon.cli.parser import Parser
from mrirecon.cli.run import Command
from mrirecon.cli.signals import Ended
from mrirecon.nearest import suggest
from mrirecon.networks import MODELS, PRESETS, model_of
from mrirecon.outside import is_place
from mrirecon.training.core.checkpoints import LAST
from mrirecon.training.core.export import About
from mrirecon.training.core.introduction import WIDTH, data_lines, network_lines
from mrirecon.training.core.memory import step_memory
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.core.progress import Progress
from mrirecon.training.core.trainer import TrainerSettings, build_trainer, quiet
from mrirecon.training.run import Run, family_of

DEFAULT = "varnet"
# groups of options of every network -> (class, title in the help)
GROUPS = {
    "optimizer": (OptimizerSettings, "optimizer and learning rate"),
    "trainer": (TrainerSettings, "trainer: how long, where, at what precision"),
    "about": (About, "about: for the card of the weights"),
}
PREPARED = ("network", "data", "loss", "optimizer", "checkpoints", "trainer", "about")


def train(
    *,
    output: str | None = None,
    weights: str | None = None,
    ckpt_path: str | None = None,
    seed: int = 0,
    images: int = 4,
    compile: bool = False,
    dry_run: bool = False,
    **groups: dict[str, Any],
) -> None:
    """Train a network on files in the fastMRI layout, or a prior on images.

    OUTPUT gets the checkpoints, the logs (CSV, and TensorBoard where it is installed), the resolved configuration, and
    at the end weights.safetensors with weights.json, ready for `mrirecon recon --weights`.

    Args:
        output: folder of this run; a dry run needs none.
        weights: trained weights to begin with, a shipped name or a file; of unrolled_prior also those of its denoiser.
        ckpt_path: checkpoint to go on from, of this run or of another; last is this run's latest, and starts from the
            beginning if there is none.
        seed: seed of the initial weights, the order of the slices and their masks.
        images: number of validation volumes whose middle slice TensorBoard shows, or of samples of a prior.
        compile: fuse the networks' real-valued parts with torch.compile: minutes at the start, then faster;
            trainings of less than 4000 steps are not compiled. On a CPU it needs a C++ compiler.
        dry_run: print the resolved configuration and the memory that a step takes, and exit.
        groups: the options in each of `PREPARED`.
    """
    if seed < 0:
        raise ValueError(f"--seed is {seed}: give 0 or a positive number")
    if not (output or dry_run):
        raise UsageError("give --output, a folder for this run, such as runs/mine")
    config = {
        "output": output or "",
        "seed": seed,
        **{name: groups[name] for name in PREPARED},
        "images": images,
        "weights": weights,
        "compile": compile,
    }
    with quiet():
        run = Run.of(config)
        if dry_run:
            _dry_run(run)
            return
        start = run.start(ckpt_path)
        if ckpt_path == "last" and start is None:
            print(f"note: {run.folder} holds no last checkpoint yet: training starts anew")
        if start is not None:
            _tell(f"goes on from {start}")
        with Display() as display, _saying_how_to_go_on(run):
            progress = Progress(display.show, _tell, 0.5 if display.live else 60.0)
            process = run.fit(start, progress, tell=_tell)
        if process.is_global_zero and (final := run.export()) is not None:
            print(f"{final}: the weights, with {final.with_suffix('.json').name}")


def _tell(line: str) -> None:
    print(line, flush=True)  # at once, in a log file too


@contextmanager
def _saying_how_to_go_on(run: Run) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Ended):
        if (run.folder / LAST).exists():
            hint = "the same line with --ckpt_path last goes on from its last checkpoint"
        else:
            hint = "no checkpoint had been written yet; --checkpoints.every_minutes says how often one is"
        print(f"note: {run.output}: {hint}", file=sys.stderr, flush=True)
        raise


def _dry_run(run: Run) -> None:
    """Refuses what the run itself would, as far as one step can tell."""
    trainer = build_trainer(run.trainer, run.output, [])
    device = trainer.strategy.root_device.type
    _tell(yaml.safe_dump(run.config, sort_keys=False).rstrip())
    run.data.prepare_data()
    for note in getattr(run.data, "notes", ()):
        _tell(f"note: {note}")
    training = run.data.train_dataloader()
    validation = run.data.val_dataloader() if run.trainer.limit_val_batches else None
    facts = run.family.facts(run.config)
    for name, text in (
        *network_lines(trainer, run.module),
        *data_lines(training, validation, run.family.unit, facts),
    ):
        _tell(f"{name:<{WIDTH}}{text}")
    batch = run.module.synthetic(next(iter(training)))
    shape = " x ".join(map(str, batch[0].shape))
    axes = (
        "batch x row x column"
        if "image" in batch._fields
        else "batch x adjacent x coil x readout x phase"
    )
    memory = step_memory(run.module, batch, device, run.trainer.precision)
    print(f"memory of a training step on {device}, in MB:")
    for part, size in memory.items():
        print(f"  {part:<22}{size / 1e6:10.1f}")
    print(
        f"measured: one step on noise of the size of the first batch, {shape} "
        f"({axes}); 'pass' is what forward and backward pass add to it at their highest; the program itself, its "
        "libraries and the workers of the data come on top"
    )


class Display:
    """The progress line: one that changes in a terminal, and now and then a new line elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self.live = self._console.is_terminal
        self._line = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Display:
        if self.live:
            self._line.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.stop()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self.live:
            self._line.update(Text(text), refresh=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _prepare(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    """Add the options of the network that `--network NAME` or, in YAML, `network: {name: NAME}` names."""
    args, names = take(args, "--network", "--network.name")
    args, given = take(args, "--network.preset")
    name, preset = names[-1] if names else None, given[-1] if given else None
    configured = settings.get("network", {})
    if not isinstance(configured, dict):
        configured = {"name": configured}
    known = configured.get("name", DEFAULT)
    if preset is not None or name not in (None, known):
        configured = {}  # what is typed stands for all of it
    name = name or known
    configured = {key: value for key, value in configured.items() if key != "name"}
    preset = preset or configured.pop("preset", None)
    if not isinstance(name, str) or (name not in MODELS and not is_place(name)):
        raise UsageError(f"unknown network {name!r}: {suggest(str(name), MODELS)}")
    kind = model_of(name)
    presets = PRESETS.get(name, {})
    if preset is not None and preset not in list(presets):
        hint = suggest(str(preset), presets)
        raise UsageError(f"network {name} has no preset {preset!r}: {hint}")
    parser.add_argument("--network.name", default=name)
    about = (kind.__doc__ or "").partition("\n")[0].removesuffix(".")
    parser.add_options(kind, "network", f"network {name}: {about}", (), instantiate=False)
    text = (
        f"{', '.join(MODELS)}, or where a class of your own lies, as in mine.py:Net (default: {DEFAULT}); "
        "`--network NAME --help` lists the options of NAME"
    )
    if presets:
        sizes = ", ".join(presets)
        text += f"; --network.preset {sizes} sets them together, in place of those of the YAML"
    parser.explain("--network", text, "NAME")
    family = family_of(name)
    parser.add_options(family.data, "data", family.about_data, family.hidden, instantiate=False)
    for masks, text in family.masks.items():
        (parser.groups or {})["data"].add_argument(
            f"--data.{masks}",
            type=list[dict[str, Any]],
            default=None,
            metavar="[MASK,...]",
            help=text,
        )
        parser.know({f"data.{masks}": list[dict[str, Any]] | None})
    parser.add_options(family.loss, "loss", family.about_loss, (), instantiate=False)
    checkpoints = "checkpoints and early stopping"
    parser.add_options(family.checkpoints, "checkpoints", checkpoints, (), instantiate=False)
    for group, (kind, title) in GROUPS.items():
        parser.add_options(kind, group, title, (), instantiate=False)
    options = {**(presets[preset] if preset else {}), **configured}
    return args, {**settings, "network": {**options, "name": name}}


COMMAND = Command(
    "train",
    train,
    "--config FILE.yaml",
    examples=(
        "--config configs/tiny_varnet.yaml --data.root data --output runs/tiny",
        "--config configs/tiny_varnet.yaml --data.root data --output runs/tiny --ckpt_path last",
        "--config configs/fastmri_knee_varnet.yaml --data.root data --dry_run",
        "--config configs/prior_tiny.yaml --data.sources images --data.cache cache --output runs/prior",
    ),
    prepare=_prepare,
    prepared=(*PREPARED, "groups"),
)
