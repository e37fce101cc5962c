"""A run: all that it needs, as objects, and the way it ended."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from kasoku.results import Result, Status, Target
from kasoku.training.suggestions import RangeTest

OnDivergence = Literal["stop", "skip", "rewind"]


class Pruned(RuntimeError):
    """A sweep's callback ends its trial with this: worse than the others at the same point."""


@dataclass
class Run:
    """All that a run needs, as objects.

    Args:
        directory: holds whatever the run leaves.
        module: with its recipe set.
        data: see `kasoku.data`.
        trainer: pl.Trainer with its settings bound; logger, callbacks and plugins are added here.
        target: the metric that the run is after.
        loggers: besides metrics.csv, which is always written.
        callbacks: besides those that every run has.
        names: the keys of the configuration that callbacks come from, for what is wrong with them.
        resume: the checkpoint to go on from, in `directory`.
        seed, overrides: written into the result.
        started: time.time() at the command's start.
        bar: whether a progress bar is drawn; None: where stderr is a terminal.
        range_test: how an lr is looked for.
        auto_lr: train with the lr that the range test suggests, and not with the recipe's.
        on_divergence: skip leaves out the steps whose gradient is not finite; else the run ends there.
    """

    directory: Path
    module: pl.LightningModule
    data: pl.LightningDataModule
    trainer: Callable[..., pl.Trainer]
    target: Target
    loggers: Sequence[Logger] = ()
    callbacks: Sequence[Callback] = ()
    names: Mapping[Callback, str] = field(default_factory=dict)
    resume: Path | None = None
    seed: int = 0
    overrides: Sequence[str] = ()
    started: float = field(default_factory=time.time)
    bar: bool | None = None
    range_test: RangeTest = field(default_factory=RangeTest)
    auto_lr: bool = False
    on_divergence: OnDivergence = "stop"

    @property
    def last(self) -> Path:
        """The place where an interrupted run leaves its state."""
        return self.directory / "checkpoints" / "last.ckpt"


EXIT_CODES: dict[Status, int] = {"completed": 0, "reached_target": 0, "pruned": 0, "diverged": 3, "failed": 1}


@dataclass(frozen=True)
class Ended:
    """The end of a run, and the exit code that says so: 0, 3 diverged, 128 + signal, 1 anything else."""

    result: Result
    exit_code: int
