"""One run: fit a module by its recipe, test its best checkpoint, and leave `result.json` whatever happens."""

import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from kasoku.faults import ConfigError
from kasoku.optim.callbacks import callbacks as optimizer_callbacks
from kasoku.results import Result, Status
from kasoku.training import checkpoints
from kasoku.training.interrupts import Interrupted, Interrupts
from kasoku.training.lean import make_lean
from kasoku.training.lr_finder import FoundLR, find_lr, stored_lr
from kasoku.training.metrics_file import MetricsFile
from kasoku.training.narrator import Bar, Narrator, wants_bar
from kasoku.training.rng import RngState
from kasoku.training.step_log import Diverged, StepLog
from kasoku.training.stopwatch import Stopwatch
from kasoku.training.suggestions import RangeTest
from kasoku.training.target import Target, TargetWatch

log = logging.getLogger("kasoku")


class Pruned(RuntimeError):
    """A sweep's callback ends its trial with this: worse than the others at the same point."""


@dataclass
class Run:
    """All that a run needs, as objects.

    Args:
        directory: where everything lies that the run leaves.
        module: with its recipe set.
        data: see `kasoku.data`.
        trainer: pl.Trainer with its settings bound; logger, callbacks and plugins are added here.
        target: the metric that the run is after.
        loggers: besides metrics.csv, which is always written.
        callbacks: besides those that every run has.
        resume: the checkpoint to go on from, in `directory`.
        seed, overrides: written into the result.
        started: time.time() at the command's start.
        bar: whether a progress bar is drawn; None: where stderr is a terminal.
        range_test: how an lr is looked for.
        auto_lr: train with the lr that the range test suggests, and not with the recipe's.
    """

    directory: Path
    module: pl.LightningModule
    data: pl.LightningDataModule
    trainer: Callable[..., pl.Trainer]
    target: Target
    loggers: Sequence[Logger] = ()
    callbacks: Sequence[Callback] = ()
    resume: Path | None = None
    seed: int = 0
    overrides: Sequence[str] = ()
    started: float = field(default_factory=time.time)
    bar: bool | None = None
    range_test: RangeTest = field(default_factory=RangeTest)
    auto_lr: bool = False

    @property
    def last(self) -> Path:
        return self.directory / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.directory / "checkpoints" / "best.ckpt"


EXIT_CODES: dict[Status, int] = {"completed": 0, "reached_target": 0, "pruned": 0, "diverged": 3, "failed": 1}


@dataclass(frozen=True)
class Ended:
    """How a run ended, and the exit code that says so: 0, 3 diverged, 128 + signal, 1 anything else."""

    result: Result
    exit_code: int


def fit(run: Run) -> Ended:
    """Train, test the best checkpoint, write `result.json`, close the loggers.

    The status is completed, reached_target, interrupted, diverged or pruned.

    Raises:
        ConfigError: the configuration does not fit the data or the model; nothing is trained and no result written.
        Exception: whatever else went wrong, after `result.json` was written with status failed.
    """
    session = _Session(run)
    with session.ending():
        session.status = session.train()
        if session.status in ("completed", "reached_target"):
            session.test()
    return session.ended()


def test(run: Run) -> Ended:
    """Test the module as it is, write `result.json`, close the loggers."""
    session = _Session(run)
    with session.ending():
        session.metrics = evaluate(session.trainer, run.module, run.data)
        session.status = "completed"
    return session.ended()


class _Session:
    """The trainer of a run and the callbacks that know how it went."""

    def __init__(self, run: Run):
        self.run = run
        self.bar = wants_bar() if run.bar is None else run.bar
        self.stopwatch, self.log = Stopwatch(), StepLog()
        self.watch = TargetWatch(run.target, self.stopwatch, self.log)
        self.interrupts = Interrupts(run.last)
        self.found = FoundLR()
        self.status: Status = "failed"
        self.signum = 0
        self.metrics: dict[str, float] = {}
        resumed = checkpoints.read(run.resume, "resume") if run.resume else None
        self.metrics_file = MetricsFile(run.directory, resumed["global_step"] if resumed else None)
        self.trainer = run.trainer(
            logger=[self.metrics_file, *run.loggers],
            callbacks=self._callbacks(),
            plugins=[checkpoints.WholeFiles()],
            default_root_dir=run.directory,
            enable_progress_bar=self.bar,
            enable_model_summary=False,
        )
        make_lean(self.trainer, run.module)

    def _callbacks(self) -> list[Callback]:
        own = [self.stopwatch, *optimizer_callbacks(), self.log, self.watch, self.found, RngState(), Narrator(self.log)]
        bar = [Bar(self.log)] if self.bar else []
        for callback in self.run.callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run.directory / "checkpoints")
        return [*own, *bar, *self.run.callbacks, self.interrupts]

    def train(self) -> Status:
        run = self.run
        try:
            if run.auto_lr:
                self._find_lr()
            with self.interrupts.listening():
                self.trainer.fit(run.module, datamodule=run.data, ckpt_path=run.resume)
        except Diverged as error:
            log.error("diverged: %s", error)
            return "diverged"
        except Pruned as error:
            log.info("pruned: %s", error)
            return "pruned"
        except Interrupted as error:
            self.signum = error.signum
            hint = f"; go on with: python train.py resume={run.directory}" if run.last.exists() else ""
            log.warning("%s%s", error, hint)
            return "interrupted"
        finally:
            self.metrics |= _floats(self.trainer.callback_metrics)
        return "reached_target" if run.target.stop and self.watch.time_to_target else "completed"

    def _find_lr(self) -> None:
        """Put the lr that is found now, or was found when the run began, into the recipe."""
        run = self.run
        lr = stored_lr(run.resume) if run.resume else find_lr(run)
        run.module.recipe = run.module.recipe.with_lr(lr)  # type: ignore[operator, union-attr]
        self.found.lr = self.metrics["found_lr"] = lr

    def test(self) -> None:
        """Test with the best weights, or the last where nothing was evaluated."""
        run = self.run
        if run.best.exists():
            checkpoints.load_weights(run.module, checkpoints.read(run.best, "checkpoint")["state_dict"])
        self.metrics |= evaluate(self.trainer, run.module, run.data)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever happens inside: `result.json` is written and the loggers are closed."""
        try:
            yield
        except ConfigError:
            raise
        except BaseException:
            self._write_result()
            raise
        self._write_result()

    def _write_result(self) -> None:
        result = self.result()
        if self.trainer.is_global_zero:
            result.write(self.run.directory)
        _close(self.run.loggers, result)

    def ended(self) -> Ended:
        code = 128 + self.signum if self.status == "interrupted" else EXIT_CODES[self.status]
        return Ended(self.result(), code)

    def result(self) -> Result:
        run, trainer = self.run, self.trainer
        return Result(
            status=self.status,
            metrics=self.metrics,
            best=self.watch.best,
            steps=trainer.global_step,
            epochs=_epochs(trainer),
            samples=self.log.samples,
            train_seconds=round(self.stopwatch.seconds, 4),
            total_seconds=round(time.time() - run.started, 4),
            time_to_target=self.watch.time_to_target,
            seed=run.seed,
            overrides=list(run.overrides),
            versions=versions(),
            parameters=sum(p.numel() for p in run.module.parameters() if p.requires_grad),
        )


def evaluate(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule) -> dict[str, float]:
    """The test metrics of `module` as it is; empty where the data has no test set."""
    if not _has_test(module, data):
        return {}
    found = trainer.test(module, datamodule=data, verbose=False)
    return dict(found[0]) if found else {}


def _has_test(module: pl.LightningModule, data: pl.LightningDataModule) -> bool:
    overridden = type(data).test_dataloader is not pl.LightningDataModule.test_dataloader
    return overridden and type(module).test_step is not pl.LightningModule.test_step


def _epochs(trainer: pl.Trainer) -> float:
    """Epochs of training, counting the begun one by its batches."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    batches = trainer.num_training_batches
    if not batches or batches == float("inf"):
        return float(trainer.current_epoch)
    return round(progress.total.processed / batches, 4)


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _close(loggers: Sequence[Logger], result: Result) -> None:
    summary: dict[str, Any] = {"status": result.status, **result.metrics, "train_seconds": result.train_seconds}
    if result.best:
        summary[f"best/{result.best.metric}"] = result.best.value
    exit_code = EXIT_CODES.get(result.status, 1)
    for logger in loggers:
        if hasattr(logger, "finish"):
            logger.finish(exit_code, summary)


def versions() -> dict[str, str]:
    """What the figures of a run depend on."""
    packages = ("kasoku", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "optuna", "wandb")
    found = {package: version(package) for package in packages}
    device = (
        {"cuda": torch.version.cuda or "", "gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}
    )
    return {"python": platform.python_version(), **found, **device}
