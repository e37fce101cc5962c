"""The LR range test: `mode=find_lr`, and `optimizer.lr=auto` before a training.

A copy of the module is trained with the run's own optimizer, parameter groups, data, precision and devices while the lr
of every group grows by the same ratio at each step. Then the copy is thrown away and the random number generators get
their states back: what training does afterwards it would have done without the test, bit for bit.
"""

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer

from kasoku import schedules
from kasoku.faults import ConfigError, Fault
from kasoku.optim.bridge import DrivenLR
from kasoku.recipe import Recipe
from kasoku.training import checkpoints
from kasoku.training.clock import recipe_of
from kasoku.training.copies import copied
from kasoku.training.interrupts import Interrupts
from kasoku.training.optimizer_hooks import callbacks as optimizer_callbacks
from kasoku.training.pictures import draw_range_test, write_columns
from kasoku.training.refusals import refusals
from kasoku.training.rng import get_rng_state, set_rng_state
from kasoku.training.run import Run
from kasoku.training.suggestions import DIVERGED, Curve, RangeTest, Rule, Smoothing, suggest

log = logging.getLogger("kasoku")

KEY = "optimizer.find_lr"
GRADIENT_HOOKS = ("on_after_backward", "on_before_optimizer_step")
NOTHING_BUT_STEPS: dict[str, Any] = {
    "logger": False,
    "profiler": None,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "detect_anomaly": False,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 0,
    "check_val_every_n_epoch": 1,
    "val_check_interval": None,
    "max_epochs": -1,  # as often through the data as the steps need
    "max_time": None,
    "min_epochs": None,
    "min_steps": None,
}


def find_lrs(run: Run) -> dict[Rule, float]:
    """The suggestions of a range test of `run`, by rule; lr_finder.csv and lr_finder.png are left in its directory.

    Raises:
        ConfigError: the loss is not finite at the first step, or diverges before there is a curve to judge by.
        Interrupted: a signal ended the test.
    """
    curve = range_test(run)
    if rank_zero_only.rank == 0:
        columns = {"lr": curve.lrs, "loss": curve.losses, "smoothed": curve.smoothed}
        write_columns(run.directory / "lr_finder.csv", columns)
    try:
        lrs = suggest(curve, run.range_test.steps)
    except ValueError as error:
        raise ConfigError(Fault(f"{KEY}.start", run.range_test.start, str(error), "start lower")) from None
    if rank_zero_only.rank == 0:
        draw_range_test(run.directory / "lr_finder.png", curve, lrs)
    return lrs


def find_lr(run: Run) -> float:
    """The lr that the rule of the run's configuration suggests."""
    lrs = find_lrs(run)
    lr = lrs[run.range_test.suggestion]
    log.info("lr range test: %s; taking optimizer.lr=%g", "  ".join(f"{rule} {lr:g}" for rule, lr in lrs.items()), lr)
    return lr


def range_test(run: Run) -> Curve:
    """The losses of `run` over a growing lr, up to where they diverge. The run is left as it was."""
    before = get_rng_state()
    if not run.module.automatic_optimization:
        must = "optimizes by hand: a range test follows the one loss of one optimizer"
        raise ConfigError(Fault("model", type(run.module).__name__, must, "give optimizer.lr as a number"))
    recipe = recipe_of(run.module)
    module = copied(run.module, KEY)
    module.recipe = sweeping(recipe, run.range_test)  # type: ignore[assignment]
    sweep, interrupts = _Sweep(run.range_test), Interrupts(None)
    own = [copy.deepcopy(callback) for callback in run.callbacks if _sees_gradients(callback)]
    with refusals(run):
        trainer = copy.deepcopy(run.trainer)(
            callbacks=[*optimizer_callbacks(), *own, sweep, interrupts],
            default_root_dir=run.directory,
            **NOTHING_BUT_STEPS | {"max_steps": run.range_test.steps},
        )
        with interrupts.listening():
            trainer.fit(module, datamodule=run.data)
    set_rng_state(before)
    return sweep.curve


def sweeping(recipe: Recipe, test: RangeTest) -> Recipe:
    """`recipe` with the test's growing lr in the place of its schedule, scaled by nothing else."""
    ramp = partial(grow, length=test.steps, start_factor=test.start / test.end)
    constant = partial(schedules.constant)
    tricks = replace(recipe.tricks, wd_schedule="constant", momentum_warmup=None)
    unscaled = replace(recipe.with_lr(test.end), scale_lr="none", scale_steps="none")
    return replace(unscaled, schedule=constant, warmup=ramp, drives={}, tricks=tricks)


def grow(step: int, /, length: int, *, start_factor: float) -> float:
    """The same ratio at each step, from `start_factor` itself to just below 1: a ^ (1 - step / length).

    >>> [round(grow(s, 4, start_factor=0.0001), 6) for s in range(4)]
    [0.0001, 0.001, 0.01, 0.1]
    """
    return start_factor ** (1 - step / length)


def stored_lr(checkpoint: Path) -> float:
    """The lr that the run found which wrote `checkpoint`.

    Raises:
        ConfigError: that run was given its lr.
    """
    state = checkpoints.read(checkpoint, "resume")["callbacks"].get(FoundLR.__qualname__)
    if not state:
        must = "is looked for when a run begins, and this one has begun with an lr that was given"
        raise ConfigError(Fault("optimizer.lr", "auto", must, "give a number"))
    return state["lr"]


class FoundLR(Callback):
    """Keeps the lr that `optimizer.lr=auto` found in the checkpoints, for a resumed run to go on with."""

    def __init__(self) -> None:
        self.lr: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {} if self.lr is None else {"lr": self.lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lr = state_dict["lr"]


class _Sweep(Callback):
    """Records lr and loss of each step and ends the test where the loss has diverged."""

    def __init__(self, test: RangeTest):
        self._test = test
        self._curve: list[tuple[float, float, float]] = []
        self._smoothing = Smoothing()
        self._losses: list[Tensor] = []
        self._lr, self._steps = test.start, 0

    @property
    def curve(self) -> Curve:
        return Curve(*map(list, zip(*self._curve, strict=True))) if self._curve else Curve([], [], [])

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not any(isinstance(config.scheduler, DrivenLR) for config in trainer.lr_scheduler_configs):
            raise ConfigError(_not_driven(module))

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer) -> None:
        # The schedule's own count: a step that the loss scaler skips does not advance it.
        self._lr = self._test.lr(trainer.lr_scheduler_configs[0].scheduler.last_epoch)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"] if isinstance(outputs, Mapping) else outputs)
        if trainer.global_step > self._steps:  # the last of the batches that this step accumulates
            self._steps = trainer.global_step
            trainer.should_stop = self._note(self._loss(trainer))

    def _loss(self, trainer: pl.Trainer) -> float:
        """The mean over the step's batches and all devices; Lightning has divided each by the number of batches."""
        mean = torch.stack(self._losses).mean() * trainer.accumulate_grad_batches
        self._losses.clear()
        return float(trainer.strategy.reduce(mean, reduce_op="mean"))

    def _note(self, loss: float) -> bool:
        """True if `loss` is that of divergence; on record if not, or if it is the first such one."""
        if not math.isfinite(loss):
            if not self._curve:
                must = f"the loss is {loss} at the first step, before any update"
                raise ConfigError(Fault("model", "its loss", must, "look at the data and the loss"))
            return True
        self._curve.append((self._lr, loss, self._smoothing(loss)))
        smoothed = [point[2] for point in self._curve]
        return smoothed[-1] > DIVERGED * min(smoothed) > 0


def _not_driven(module: pl.LightningModule) -> Fault:
    must = "configures its optimizer itself, so no lr of the configuration reaches it"
    return Fault("model", type(module).__qualname__, must, "give model.recipe=override")


def _sees_gradients(callback: Callback) -> bool:
    """True if a callback of the run may change the gradients, as adaptive clipping does, and so belongs to the test."""
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in GRADIENT_HOOKS)
