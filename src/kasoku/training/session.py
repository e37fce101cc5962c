"""The session of a run: fit a module by its recipe, test its best checkpoint, leave `result.json` whatever happens."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, ProgressBar, RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import CheckpointIO

from kasoku import home
from kasoku.faults import MISSING, ConfigError, Fault
from kasoku.results import Result, Status
from kasoku.signals import Stopped
from kasoku.training import checkpoints, loops
from kasoku.training.callback_checks import Monitors, faults_of
from kasoku.training.divergence import Diverged, Divergence
from kasoku.training.freezing import Freezing
from kasoku.training.guests import guard
from kasoku.training.interrupts import Interrupted, Interrupts
from kasoku.training.last_validation import ValidateLast
from kasoku.training.lean import make_lean
from kasoku.training.lr_finder import FoundLR, find_lr, stored_lr
from kasoku.training.metric_pictures import MetricPictures
from kasoku.training.metrics_file import KeepRows, MetricsFile
from kasoku.training.narrator import Bar, Narrator, wants_bar
from kasoku.training.optimizer_hooks import callbacks as optimizer_callbacks
from kasoku.training.position import Position, position_in
from kasoku.training.precision import TruePrecision
from kasoku.training.refusals import refusals
from kasoku.training.run import EXIT_CODES, Ended, Pruned, Run
from kasoku.training.saves import Moved
from kasoku.training.spent import Left, Spent
from kasoku.training.step_log import StepLog
from kasoku.training.stopwatch import Stopwatch
from kasoku.training.takeover import Lead, check_heard
from kasoku.training.target import TargetWatch
from kasoku.training.versions import versions

log = logging.getLogger("kasoku")

DRAWING = (RichProgressBar, TQDMProgressBar)


def fit(run: Run) -> Ended:
    """Train, test the best checkpoint, write `result.json`, close the loggers.

    The status is completed, reached_target, interrupted, diverged or pruned.

    Raises:
        ConfigError: the configuration does not fit the data or the model; where that shows before the first step, as
            nearly always, nothing is trained and no result written.
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
        with refusals(run):
            session.metrics = evaluate(session.trainer, run.module, run.data)
        session.status = "completed"
    return session.ended()


NO_BATCH = Fault("data", MISSING, "gives no batch to train on", "give it more samples, or a smaller batch_size")


class _Session:
    """The trainer of a run and the callbacks that know how it went."""

    def __init__(self, run: Run):
        self.run = run
        self.bar = wants_bar() if run.bar is None else run.bar
        self.stopwatch, self.log = Stopwatch(), StepLog(run.on_divergence == "skip")
        self.spent = Spent(run.started)
        self.watch = TargetWatch(run.target, self.stopwatch, self.log)
        self.interrupts = Interrupts(run.last)
        self.found = FoundLR()
        self.status: Status = "failed"
        self.signum = 0
        self.metrics: dict[str, float] = {}
        self.metrics_file = MetricsFile(run.directory)
        if faults := faults_of(run):
            raise ConfigError(*faults)
        with refusals(run):
            self.trainer = self._trainer(self._bars())
        guard(self.trainer, self.metrics_file)
        for logger in self.trainer.loggers:
            if hasattr(logger, "progress"):
                logger.progress = self._progress
        make_lean(self.trainer, run.module)
        loops.install(self.trainer, self.interrupts, _start(run))

    def _progress(self) -> dict[str, float]:
        """The values that a chart may have for its axis besides the step."""
        return {"samples": self.log.samples, "train_seconds": round(self.stopwatch.seconds, 4)}

    def _trainer(self, bars: Sequence[ProgressBar]) -> pl.Trainer:
        given = getattr(self.run.trainer, "keywords", {})
        return self.run.trainer(
            logger=[*self.run.loggers, self.metrics_file],  # the first is the module's self.logger
            callbacks=self._callbacks(bars),
            plugins=_with_whole_files(given.get("plugins"), self.run.last),
            default_root_dir=self.run.directory,
            enable_progress_bar=bool(bars),
            enable_model_summary=given.get("enable_model_summary", False),
        )

    def _bars(self) -> list[ProgressBar]:
        """The user's progress bars, or ours where there are none; those that draw need a terminal."""
        given = [callback for callback in self.run.callbacks if isinstance(callback, ProgressBar)]
        if self.bar:
            return given or [Bar(self.log)]
        drawing = [bar for bar in given if isinstance(bar, DRAWING)]
        for bar in drawing:
            log.info("%s: left out, stderr is no terminal", self.run.names.get(bar, type(bar).__name__))
        return [bar for bar in given if bar not in drawing]

    def _callbacks(self, bars: Sequence[ProgressBar]) -> list[Callback]:
        own = [TruePrecision(), Moved(), Divergence(self.run.on_divergence == "skip"), self.stopwatch, ValidateLast()]
        own += [self.spent, KeepRows(self.metrics_file), self.watch]
        own += [*optimizer_callbacks(), self.log, self.found, Narrator(self.log), MetricPictures(self.run.directory)]
        for callback in self.run.callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run.directory / "checkpoints")
        others = [callback for callback in self.run.callbacks if not isinstance(callback, ProgressBar)]
        others.sort(key=self._writes_last)
        by_hand = [] if self.run.module.automatic_optimization else [Lead()]
        last = [_Heard(self.run.overrides), Monitors(self.run.names), Left(self.spent), self.interrupts]
        return [*own, *bars, *others, Freezing(), *by_hand, *last]

    def _writes_last(self, callback: Callback) -> bool:
        """True if a resume goes on from what `callback` saves: it then has what all other callbacks did before."""
        return isinstance(callback, ModelCheckpoint) and callback.filename == self.run.last.stem

    def train(self) -> Status:
        run = self.run
        try:
            if run.auto_lr:
                self._find_lr()
            with self.interrupts.listening(), refusals(run):
                self.trainer.fit(run.module, datamodule=run.data, ckpt_path=run.resume)
            if run.resume is None and not self.trainer.fit_loop.epoch_loop.batch_progress.total.ready:
                raise ConfigError(NO_BATCH)
        except Diverged as error:
            log.error("diverged: %s", error)
            if run.last.exists():
                again = home.typed(f"resume={run.directory}", f"optimizer.lr={error.lr / 2:g}")
                log.info("%s is from before that; go on from it with: %s", home.shown(run.last), again)
            return "diverged"
        except Pruned as error:
            log.info("pruned: %s", error)
            return "pruned"
        except Interrupted as error:
            self.signum = error.signum
            hint = f"; go on with: {home.typed(f'resume={run.directory}')}" if run.last.exists() else ""
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
        """Test with the best weights, or the last where none are tracked."""
        run = self.run
        if best := checkpoints.best_of(self.trainer.checkpoint_callbacks, run.target.metric):
            checkpoints.load_weights(run.module, checkpoints.read(best, "checkpoint")["state_dict"])
        with refusals(run):
            self.metrics |= evaluate(self.trainer, run.module, run.data)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Whatever happens inside, `result.json` is written and the loggers closed; not where no step is accepted."""
        try:
            yield
        except Stopped as stopped:
            if not self.stopwatch.has_begun:
                raise
            self.status, self.signum = "interrupted", stopped.signum
            log.warning("%s", stopped)
        except BaseException as error:
            is_accepted = self.stopwatch.has_begun and self.trainer.global_step > 0
            if is_accepted or not isinstance(error, ConfigError):
                self._write_result()
            raise
        self._write_result()

    def _write_result(self) -> None:
        result = self.result()
        has_one = self.run.resume is not None and not self.trainer.fit_loop.begun  # of the run as it was before
        if self.trainer.is_global_zero and not has_one:
            result.write(self.run.directory)
        _close(self.trainer.loggers, result)

    def ended(self) -> Ended:
        code = 128 + self.signum if self.status == "interrupted" else EXIT_CODES[self.status]
        return Ended(self.result(), code)

    def result(self) -> Result:
        run, trainer = self.run, self.trainer
        return Result(
            status=self.status,
            target=run.target,
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
            spent=self.spent.parts(self.stopwatch.seconds),
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


def _start(run: Run) -> Position:
    if run.resume is None:
        return Position()
    return position_in(checkpoints.read(run.resume, "resume"), run.resume, run.data)


class _Heard(Callback):
    """Refuses, before the first step, a recipe that the module does not listen to, and windows longer than an epoch."""

    def __init__(self, overrides: Sequence[str]):
        self._overrides = overrides

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        check_heard(trainer, self._overrides)
        gathered, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
        if not batches:
            raise ConfigError(NO_BATCH)
        if gathered > batches:
            must = f"is more than the {batches} batches of an epoch, whose end takes the step anyway"
            raise ConfigError(Fault("trainer.accumulate_grad_batches", gathered, must, f"give {batches} at most"))


def _epochs(trainer: pl.Trainer) -> float:
    """Epochs of training, counting the begun one by its batches."""
    epochs, progress = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop.batch_progress
    batches, done = trainer.num_training_batches, progress.current.processed
    if not done or batches == float("inf"):
        return float(epochs.processed)
    return round(epochs.started - 1 + done / batches, 4)


def _with_whole_files(plugins: Any, last: Path) -> list[Any]:
    """The user's plugins, and the one that writes checkpoints whole where none of them does it."""
    given = plugins if isinstance(plugins, list) else [plugins] if plugins else []
    return (
        given if any(isinstance(plugin, CheckpointIO) for plugin in given) else [*given, checkpoints.WholeFiles(last)]
    )


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _close(loggers: Sequence[Logger], result: Result) -> None:
    summary: dict[str, Any] = {"status": result.status, **result.metrics, "train_seconds": result.train_seconds}
    if result.best:
        summary[f"best/{result.best.metric}"] = result.best.value
    if reached := result.time_to_target:
        units = {"steps": reached.steps, "samples": reached.samples, "seconds": reached.seconds}
        summary |= {f"time_to_target/{unit}": count for unit, count in units.items()}
        summary["time_to_target/confirmed"] = reached.confirmed
    exit_code = EXIT_CODES.get(result.status, 1)
    for logger in loggers:
        if hasattr(logger, "finish"):
            logger.finish(exit_code, summary)
