"""The LR range test: `mode=find_lr`, and `optimizer.lr=auto` before a training.

A copy of the module is trained with the run's own optimizer, parameter groups, data, precision and devices while the lr
of every group grows by the same ratio at each step. Then the copy is thrown away and the random number generators get
their states back: what training does afterwards it would have done without the test, bit for bit.
"""

import copy
import csv
import logging
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.optim import Optimizer

from kasoku import schedules
from kasoku.faults import ConfigError, Fault
from kasoku.optim.bridge import DrivenLR
from kasoku.optim.callbacks import callbacks as optimizer_callbacks
from kasoku.recipe import Recipe, learning_rates
from kasoku.training import checkpoints
from kasoku.training.interrupts import Interrupts
from kasoku.training.rng import get_rng_state, set_rng_state
from kasoku.training.suggestions import DIVERGED, Curve, RangeTest, Rule, Smoothing, suggest

if TYPE_CHECKING:
    from kasoku.training.run import Run

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


def find_lrs(run: "Run") -> dict[Rule, float]:
    """What a range test of `run` suggests, rule by rule; lr_finder.csv and lr_finder.png are left in its directory.

    Raises:
        ConfigError: the loss is not finite at the first step, or diverges before there is a curve to judge by.
        Interrupted: a signal ended the test.
    """
    curve = range_test(run)
    if rank_zero_only.rank == 0:
        _write(run.directory / "lr_finder.csv", curve)
    try:
        lrs = suggest(curve, run.range_test.steps)
    except ValueError as error:
        raise ConfigError(Fault(f"{KEY}.start", run.range_test.start, str(error), "start lower")) from None
    if rank_zero_only.rank == 0:
        draw(run.directory / "lr_finder.png", curve, lrs)
    return lrs


def find_lr(run: "Run") -> float:
    """The lr that the rule of the run's configuration suggests."""
    lrs = find_lrs(run)
    lr = lrs[run.range_test.suggestion]
    log.info("lr range test: %s; taking optimizer.lr=%g", "  ".join(f"{rule} {lr:g}" for rule, lr in lrs.items()), lr)
    return lr


def show_lrs(run: "Run") -> None:
    """Run the test and print what it suggests, with the command that trains with it."""
    lrs = find_lrs(run)
    if rank_zero_only.rank == 0:
        table = Table("rule", "lr", title="lr range test", title_justify="left")
        for rule, lr in lrs.items():
            table.add_row(rule, f"{lr:g}", style="bold" if rule == run.range_test.suggestion else None)
        Console(highlight=False).print(table)
        print(_command(run, lrs[run.range_test.suggestion]))
        print(f"lr_finder.csv and lr_finder.png lie in {run.directory}")


def range_test(run: "Run") -> Curve:
    """The losses of `run` over a growing lr, up to where they diverge. The run is left as it was."""
    before = get_rng_state()
    module = copy.deepcopy(run.module)
    module.recipe = sweeping(_recipe(run), run.range_test)  # type: ignore[assignment]
    sweep, interrupts = _Sweep(run.range_test), Interrupts(None)
    own = [copy.deepcopy(callback) for callback in run.callbacks if _sees_gradients(callback)]
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
    return replace(recipe.with_lr(test.end), schedule=constant, warmup=ramp, drives={}, scale_lr="none")


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
            raise ConfigError(_no_recipe(module))

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
        """Whether `loss` is that of divergence; on record if not, or if it is the first such one."""
        if not math.isfinite(loss):
            if not self._curve:
                must = f"the loss is {loss} at the first step, before any update"
                raise ConfigError(Fault("model", "its loss", must, "look at the data and the loss"))
            return True
        self._curve.append((self._lr, loss, self._smoothing(loss)))
        smoothed = [point[2] for point in self._curve]
        return smoothed[-1] > DIVERGED * min(smoothed) > 0


def _recipe(run: "Run") -> Recipe:
    recipe = getattr(run.module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise ConfigError(_no_recipe(run.module))
    return recipe


def _no_recipe(module: pl.LightningModule) -> Fault:
    must = "configures its optimizer itself, so no lr of the configuration reaches it"
    fix = "write into its body: configure_optimizers = kasoku.configure_optimizers"
    return Fault("model", type(module).__qualname__, must, fix)


def _sees_gradients(callback: Callback) -> bool:
    """Whether a callback of the run may change the gradients, as adaptive clipping does, and so belongs to the test."""
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in GRADIENT_HOOKS)


def _command(run: "Run", lr: float) -> str:
    recipe = _recipe(run)
    rates = learning_rates(recipe.with_lr(lr).optimizer)
    given = {f"optimizer.{name}": f"{value:.12g}" for name, value in rates.items() if name in recipe.optimizer.keywords}
    if recipe.scale_lr != "none":
        given["optimizer.scale_lr"] = "none"  # the lr was found at this very batch
    left_out = ("mode", "optimizer.lr", *given)
    rest = [override for override in run.overrides if override.lstrip("+").split("=")[0] not in left_out]
    return shlex.join(["python", "train.py", *rest, *(f"{key}={value}" for key, value in given.items())])


def _write(path: Path, curve: Curve) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["lr", "loss", "smoothed"])
        writer.writerows(zip(curve.lrs, curve.losses, curve.smoothed, strict=True))


def draw(path: Path, curve: Curve, lrs: Mapping[Rule, float]) -> None:
    """The losses over the lr, with the suggestions marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="tight")
    panel = figure.subplots()
    panel.plot(curve.lrs, curve.losses, linewidth=0.8, color="#93c5fd", label="loss")
    panel.plot(curve.lrs, curve.smoothed, linewidth=1.8, color="#2563eb", label="smoothed")
    for (rule, lr), color in zip(lrs.items(), ("#dc2626", "#d97706", "#059669", "#7c3aed"), strict=True):
        panel.plot(lr, _at(curve, lr), "o", color=color, label=f"{rule} {lr:g}")
    panel.set(xscale="log", xlabel="lr", ylabel="training loss", ylim=_limits(curve.smoothed))
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _at(curve: Curve, lr: float) -> float:
    """The smoothed loss at `lr`."""
    return float(np.interp(math.log(lr), np.log(curve.lrs), curve.smoothed))


def _limits(smoothed: Sequence[float]) -> tuple[float, float]:
    """The loss before it diverges fills the panel."""
    least, first = min(smoothed), smoothed[0]
    margin = 0.5 * (first - least) or 1.0
    return least - 0.3 * margin, first + margin
