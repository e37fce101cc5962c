"""Reduce the lr when a metric stops improving, with a warmup in front. The one schedule that needs more than the step.

factor(s) = warmup(s) * reduction,  reduction = factor ^ (number of reductions so far), not below min_factor
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
from annotated_types import Ge, Interval
from torch.optim import Optimizer

from kasoku.faults import ConfigError, Fault, unknown
from kasoku.optim.bridge import DrivenLR

Count = Annotated[int, Ge(0)]


class Plateau(DrivenLR):
    """Multiplies the lr by `factor` once `metric` has not improved for more than `patience` validations.

    Like torch's ReduceLROnPlateau with its relative threshold, but for the warmup, and that the reductions are kept as
    a factor of the base lr, so that a resumed run takes its base lr from the present configuration.

    Args:
        optimizer: its groups hold the base lr.
        warmup: the warmup's factor at step s, 1 from its end on. While it is below 1 nothing is reduced.
        metric: the name that validation logs.
        mode: whether the metric is to become small or large.
        factor: what the lr is multiplied by.
        patience: validations without an improvement that are let pass.
        threshold: an improvement is a change of more than this share of the best value.
        cooldown: validations after a reduction that are not counted.
        min_factor: the reductions end at this share of the base lr.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: Callable[[int], float],
        *,
        metric: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
        patience: Count = 3,
        threshold: Annotated[float, Ge(0)] = 1e-4,
        cooldown: Count = 0,
        min_factor: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ):
        self.metric, self.mode = metric, mode
        self.factor, self.patience, self.threshold = factor, patience, threshold
        self.cooldown, self.min_factor = cooldown, min_factor
        self.reduction, self.best, self.bad, self.resting = 1.0, None, 0, 0
        self._warmup = warmup
        super().__init__(optimizer, lambda step: warmup(step) * self.reduction)

    reduction: float  # what the base lr is multiplied by, apart from the warmup
    best: float | None  # the best value of the metric, None before the first
    bad: int  # validations since it improved
    resting: int  # validations of the cooldown that are left

    def observe(self, value: float) -> None:
        """Take in the metric's value after a validation, and reduce the lr at once where it is time to."""
        value = float(value)
        if self._improves(value):
            self.best, self.bad = value, 0
        elif self._warmup(self.last_epoch) >= 1 and not self.resting:
            self.bad += 1
        self.resting = max(self.resting - 1, 0)
        if self.bad > self.patience:
            self.reduction = max(self.reduction * self.factor, self.min_factor)
            self.bad, self.resting = 0, self.cooldown
            self.move_to(self.last_epoch)

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.threshold * abs(self.best)

    def state_dict(self) -> dict[str, Any]:
        counts = {
            "reduction": self.reduction,
            "best": self.best,
            "bad": self.bad,
            "resting": self.resting,
        }
        return super().state_dict() | counts

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reduction, self.best = state_dict["reduction"], state_dict["best"]
        self.bad, self.resting = state_dict["bad"], state_dict["resting"]
        self.move_to(state_dict["step"])


class ObservePlateau(pl.Callback):
    """Shows each validation's metric to the run's Plateau scheduler, if it has one.

    Lightning's own `reduce_on_plateau` looks at the end of an epoch only: it would miss validations inside the epoch
    and count one value twice where not every epoch is validated.

    Raises:
        ConfigError: before the first step, if the run does not validate or validation logs no such metric.
    """

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for scheduler in _plateaus(trainer):
            _value(trainer, scheduler.metric)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
        late = every is not None and epochs is not None and 0 < epochs < every
        if _plateaus(trainer) and (late or not trainer.enable_validation):
            must = "needs validation, and this run has none"
            raise ConfigError(Fault("scheduler", "plateau", must, "validate, or choose another scheduler"))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for scheduler in _plateaus(trainer):
            if not trainer.sanity_checking:
                scheduler.observe(_value(trainer, scheduler.metric))


def _plateaus(trainer: pl.Trainer) -> list[Plateau]:
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [scheduler for scheduler in schedulers if isinstance(scheduler, Plateau)]


def _value(trainer: pl.Trainer, metric: str) -> float:
    if metric not in trainer.callback_metrics:
        what = "validation logs no such metric, but these"
        raise ConfigError(unknown("scheduler.metric", metric, metric, trainer.callback_metrics, what))
    return trainer.callback_metrics[metric].item()
