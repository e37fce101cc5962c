"""The narration of a training: a bar on a terminal, a line for each evaluation in the log."""

import logging
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from kasoku.optim.bridge import DrivenLR
from kasoku.optim.table import Row, named_groups, table
from kasoku.training.clock import clock_of
from kasoku.training.observe import head_line
from kasoku.training.plain import plain
from kasoku.training.step_log import StepLog, logged_by_validation
from kasoku.training.takeover import is_driven

log = logging.getLogger("kasoku")

POINTS = 200  # of the picture of a schedule
LATE = 1.0  # seconds of a validation after which it is shown


class LateBar(Tqdm):
    """One that shows itself once it is LATE seconds old: of short validations nothing is seen but a flicker."""

    def __init__(self, **settings: Any):
        self._born = time.monotonic()
        super().__init__(**settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        return time.monotonic() - self._born > LATE and bool(super().display(msg, pos))


class Bar(TQDMProgressBar):
    """Lightning's bar with the lr and the loss, redrawn by time and not by batches: drawing costs more than a step."""

    def __init__(self, steps: StepLog, every_seconds: float = 0.1):
        super().__init__()
        self._steps, self._every, self._drawn = steps, every_seconds, 0.0
        self._began = (0, 0.0)  # optimizer steps and the clock, when this process began to train
        self._total: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give way to a bar that the module brings itself: Lightning knows one alone."""
        super().setup(trainer, pl_module, stage)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, ProgressBar) and not isinstance(callback, Bar) for callback in callbacks):
            trainer.callbacks = [c for c in callbacks if not isinstance(c, Bar)]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._began, self._total = (trainer.global_step, time.monotonic()), clock_of(trainer).total

    def init_validation_tqdm(self) -> Tqdm:
        if self.trainer.state.fn == "validate":
            return super().init_validation_tqdm()
        return LateBar(
            desc=self.validation_description,
            position=2 * self.process_position + 1,  # below the bar of the training
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
        )

    def _should_update(self, current: int, total: int | float | None) -> bool:
        now = time.monotonic()
        if now - self._drawn < self._every and current != total:  # no total: a loader that does not say its length
            return False
        self._drawn = now
        return self.is_enabled

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        shown = {"lr": "lr", "train/loss": "loss"}
        items |= {label: f"{self._steps.latest[key]:.3g}" for key, label in shown.items() if key in self._steps.latest}
        return items | self._of_the_run(trainer)

    def _of_the_run(self, trainer: pl.Trainer) -> dict[str, str]:
        """The step of all, and the time that is left for those to come: Lightning's bar knows the epoch's alone."""
        done, total = trainer.global_step, self._total
        if total is None:
            return {"step": str(done)}
        first, since = self._began
        left = time_left(done - first, total - done, time.monotonic() - since)
        return {"step": f"{done}/{total}"} | ({"left": left} if left else {})


def schedule_of(trainer: pl.Trainer) -> tuple[list[int], dict[str, list[float]]]:
    """Steps of the run and, at each, the lr of the first group and the factors of what else is driven.

    Both are empty where the steps to come are not known, or the lr depends on the training.
    """
    total = clock_of(trainer).total
    driven = next((c.scheduler for c in trainer.lr_scheduler_configs if isinstance(c.scheduler, DrivenLR)), None)
    if driven is None or not total:
        return [], {}
    steps = list(dict.fromkeys(round(part * (total - 1) / POINTS) for part in range(POINTS + 1)))
    curves = driven.factors(steps)
    base = float(driven.base_lrs[0])
    lr = [base * factor for factor in curves.pop("lr")]
    return steps, {"lr": lr} | {f"{name}, times its value": factors for name, factors in curves.items()}


class Narrator(Callback):
    """A line for each parameter group at the start, and for each evaluation: step, epoch, lr, losses, metrics."""

    def __init__(self, steps: StepLog):
        self._steps = steps

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            rows = group_rows(trainer)
            for logger in trainer.loggers:
                if hasattr(logger, "note_groups"):
                    logger.note_groups(rows)
                    logger.note_schedule(*schedule_of(trainer))
            for row in rows:
                size = f"{row.tensors} tensors  {row.parameters:,} parameters"
                log.info("group %s  %s  lr %g  weight decay %g", row.name, size, row.lr, row.weight_decay)
            for line in notes(trainer):
                log.info("%s", line)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.is_global_zero:
            self._narrate(trainer, logged_by_validation(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The line of a run that is never evaluated."""
        if not trainer.enable_validation and trainer.is_global_zero:
            self._narrate(trainer, {name: float(value) for name, value in trainer.callback_metrics.items()})

    def _narrate(self, trainer: pl.Trainer, logged: Mapping[str, float]) -> None:
        values: dict[str, float] = {k: self._steps.latest[k] for k in ("lr", "train/loss") if k in self._steps.latest}
        values |= logged
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info("epoch %d  step %d  %s", trainer.current_epoch + 1, trainer.global_step, text)


def group_rows(trainer: pl.Trainer) -> list[Row]:
    """The table of the parameter groups of all optimizers of the fit that `trainer` has set up."""
    module: Any = trainer.lightning_module
    groups = getattr(getattr(module, "recipe", None), "groups", None)
    return table(module, named_groups(module, trainer.optimizers), groups.unfreeze if groups else None)


def notes(trainer: pl.Trainer) -> list[str]:
    """Lines on what was decided about the module: its head, and the hyperparameters that no checkpoint can hold."""
    module: Any = trainer.lightning_module
    groups = getattr(getattr(module, "recipe", None), "groups", None)
    lines = [head_line(trainer, module)] if groups and groups.ask_for_the_head and is_driven(trainer) else []
    for owner in (module, trainer.datamodule):
        if owner is not None and (lost := plain(owner.hparams)[1]):
            what = "no plain types: left out of the checkpoints"
            lines.append(f"hyperparameters of {type(owner).__name__}: {' '.join(lost)} are {what}")
    return lines


def time_left(done: int, to_come: int, seconds: float) -> str:
    """The time that the steps `to_come` take at the pace of those `done` in `seconds`; nothing before the first.

    >>> time_left(100, 300, 21.2), time_left(0, 300, 5.0)
    ('0:01:04', '')
    """
    return str(timedelta(seconds=round(seconds / done * max(to_come, 0)))) if done > 0 else ""


def wants_bar() -> bool:
    """True where stdout is a terminal: the bars are drawn there, and a file is to have plain lines."""
    return sys.stdout.isatty()
