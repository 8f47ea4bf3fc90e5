"""One training run: put together from its configuration, trained, resumed, exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from pytorch_lightning import (
    Callback,
    LightningDataModule,
    LightningModule,
    Trainer,
    seed_everything,
)
from pytorch_lightning.callbacks import EarlyStopping

from mrirecon.io.files import existing_file, make_folder, replacing
from mrirecon.networks import GENERATORS, PRIORS, Model, model_of
from mrirecon.networks.dirac import Dirac
from mrirecon.networks.unrolled_prior import UnrolledPrior
from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.checkpoints import (
    LAST,
    Checkpoints,
    CheckpointSettings,
    best_checkpoints,
    read_checkpoint,
)
from mrirecon.training.core.export import About, export
from mrirecon.training.core.family import Config, Family
from mrirecon.training.core.introduction import Introduction
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.core.trainer import TrainerSettings, build_trainer
from mrirecon.training.end_to_end.family import END_TO_END
from mrirecon.training.generator.family import GENERATOR
from mrirecon.training.prior.family import PRIOR
from mrirecon.weights import load_weights

CONFIGURATION = "config.yaml"  # written when training begins
TRAINING_ONLY = ("drop_path_rate", "drop_prob", "dropout")  # options that no weight depends on


def _nobody(line: str) -> None:
    """Take a line that nobody reads."""


@dataclass(frozen=True)
class Run:
    """A folder, and everything that is trained, logged and kept in it.

    Attributes:
        output: the folder.
        config: what all of this was made from, as plain values.
        family: what is special about networks of this kind.
        module: network, loss and optimizer.
        data: training and validation slices, or images.
        checkpoints: when they are written.
        trainer: how long, where and at what precision.
    """

    output: Path
    config: Config
    family: Family
    module: TrainingModule
    data: LightningDataModule
    checkpoints: CheckpointSettings
    trainer: TrainerSettings

    @classmethod
    def of(cls, config: Config) -> Run:
        """Build a run; the seed decides the initial weights, the order of the slices and their masks.

        Raises:
            ValueError: if a setting is impossible.
        """
        seed_everything(config["seed"], workers=True, verbose=False)
        options = dict(config["network"])
        network = model_of(options.pop("name"))(**options)
        if config["weights"] is not None:
            _initialise(network, config["weights"])
        family = family_of(network.name)
        module, data = family.build(network, config, OptimizerSettings(**config["optimizer"]))
        return cls(
            Path(config["output"] or "."),  # a dry run has none
            config,
            family,
            module,
            data,
            family.checkpoints(**config["checkpoints"]),
            TrainerSettings(**config["trainer"]),
        )

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return self.output / "checkpoints"

    def start(self, ckpt_path: str | None) -> Path | None:
        """The checkpoint to go on from: `last` is this run's latest, or None when there is none yet.

        Raises:
            FileExistsError: if the run exists already and is not to be resumed.
            OSError: if the checkpoint is not there, or the latest one is gone and others are.
        """
        last, made = self.folder / LAST, list(self.folder.glob("[!.]*.ckpt"))
        if ckpt_path == "last":
            if made and not last.exists():
                newest = max(made, key=lambda path: path.stat().st_mtime)
                raise FileNotFoundError(
                    f"{self.folder} holds no {LAST}, its newest checkpoint is {newest.name}: go on with "
                    f"--ckpt_path {newest}, or choose another --output"
                )
            return last if made else None
        start = None if ckpt_path is None else existing_file(ckpt_path)
        own = start is not None and start.resolve().parent == self.folder.resolve()
        if made and not own:
            raise FileExistsError(
                f"{self.output} holds a training run already: go on with --ckpt_path last, or choose another --output"
            )
        return start

    def fit(
        self, start: Path | None, *reporters: Callback, tell: Callable[[str], None] = _nobody
    ) -> Trainer:
        """Train, from a checkpoint where one is given.

        Args:
            start: the checkpoint.
            reporters: callbacks that tell how it goes.
            tell: takes the lines of the summary before the first step.

        Raises:
            ValueError: if data, checkpoint and configuration do not go together, or training diverges.
            OSError: if a file cannot be read or written.
        """
        chosen = self.checkpoints
        pictures = self.config["images"]
        callbacks = [
            self.family.seen(),
            self.family.pictures(pictures),
            Introduction(tell, self.output, self.family.unit, self.family.facts(self.config)),
            _Configuration(self.output, self.config),
            *reporters,
            Checkpoints(self.folder, chosen, start),
        ]
        if chosen.patience:
            stop = EarlyStopping(chosen.monitor, patience=chosen.patience, mode=chosen.mode)
            callbacks.append(stop)
        trainer = build_trainer(self.trainer, self.output, callbacks)
        try:
            with made_if_used(self.output):
                make_folder(self.folder)
                trainer.fit(self.module, self.data, ckpt_path=start, weights_only=True)
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
        except ValueError as error:
            if "`val_check_interval`" not in str(error):
                raise
            raise ValueError(  # Lightning's advice is of options that are not ours
                f"trainer.val_check_interval is {self.trainer.val_check_interval}, but an epoch has fewer batches: "
                "give a share such as 0.5, or 1.0 with trainer.check_val_every_n_epoch"
            ) from error
        return trainer

    def export(self) -> Path | None:
        """Write the best checkpoint's weights beside the checkpoints' folder; the last one's without validation.

        Returns:
            The file; None if there is no checkpoint.
        """
        best = [found.path for found in best_checkpoints(self.folder, self.checkpoints)]
        paths = [path for path in (*best, self.folder / LAST) if path.exists()]
        if not paths:
            return None
        checkpoint = read_checkpoint(paths[0])
        target = self.output / "weights.safetensors"
        config = {**self.config, "about": vars(About(**self.config["about"]))}
        export(self.module, checkpoint, config, self.family, target)
        return target


class _Configuration(Callback):
    """Writes the configuration when training begins, so that a run without data leaves nothing."""

    def __init__(self, output: Path, config: Config) -> None:
        self.output, self.config = output, config

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            with replacing(self.output / CONFIGURATION) as (part,):
                part.write_text(yaml.safe_dump(dict(self.config), sort_keys=False))


@contextmanager
def made_if_used(output: Path) -> Iterator[None]:
    """Make the folder of a run, and what it lies in; those that are new go again if training does not begin.

    Raises:
        OSError: if that is not possible, in one sentence.
    """
    new = [one for one in (output, *output.parents) if not one.exists()]
    make_folder(output)
    try:
        yield
    except BaseException:
        if new and not (output / CONFIGURATION).exists():
            shutil.rmtree(output, ignore_errors=True)  # what loggers begin with
            with suppress(OSError):  # the first that something else has been put into
                for one in new[1:]:
                    one.rmdir()
        raise


def family_of(name: str) -> Family:
    """The family of a network, by the name that `mrirecon.networks.model_of` takes."""
    if name in GENERATORS:
        return GENERATOR
    return PRIOR if name in PRIORS else END_TO_END


def _initialise(network: Model, weights: str) -> None:
    """Begin with trained weights: of the same network, or of the denoiser inside an unrolled prior or dirac.

    Raises:
        ValueError: if they are of another network or configuration.
    """
    trained, _ = load_weights(weights)
    target: Model = network
    if isinstance(network, UnrolledPrior | Dirac) and trained.name == network.denoiser.name:
        target = network.denoiser
    if target.name != trained.name:
        raise ValueError(
            f"--weights {weights} are of {trained.name}, this run trains {network.name}: give weights of {network.name}"
        )
    ours, theirs = target.config, trained.config
    different = [
        f"{key} {theirs.get(key, 'left out')} there, {ours.get(key, 'left out')} here"
        for key in {**theirs, **ours}
        if key not in TRAINING_ONLY and theirs.get(key) != ours.get(key)
    ]
    if different:
        raise ValueError(
            f"--weights {weights} are of a {trained.name} with {'; '.join(different)}: "
            "make the options of --network those of the weights"
        )
    target.load_state_dict(trained.state_dict())
