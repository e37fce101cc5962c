"""The target of a run: its best value so far, and when it was reached."""

import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from kasoku.faults import ConfigError, Fault, nearest
from kasoku.results import Best, Target, TimeToTarget
from kasoku.training.step_log import StepLog
from kasoku.training.stopwatch import Stopwatch

log = logging.getLogger("kasoku")


@dataclass(frozen=True)
class Evaluation:
    """The target's metric after so many optimizer steps, samples and seconds of training."""

    value: float
    steps: int
    samples: int
    seconds: float


def crossing(target: Target, before: Evaluation | None, now: Evaluation) -> TimeToTarget:
    """The moment at which the target was reached, which it is `now` and was not `before`.

    It is where the straight line between the two values meets the target; that of `now` without a finite one before.
    """
    goal = target.value or 0.0
    if before is None or not math.isfinite(before.value) or not math.isfinite(now.value):
        return TimeToTarget(target.metric, goal, float(now.steps), now.samples, round(now.seconds, 4))
    share = (goal - before.value) / (now.value - before.value)
    return TimeToTarget(
        target.metric,
        goal,
        round(before.steps + share * (now.steps - before.steps), 4),
        round(before.samples + share * (now.samples - before.samples)),
        round(before.seconds + share * (now.seconds - before.seconds), 4),
    )


class TargetWatch(Callback):
    """Keeps the best value of the target's metric and the steps, samples and seconds until the target was reached.

    A crossing stands once the next evaluation has found the target reached too, and is forgotten if that has not. One
    at the last evaluation of a run stands unconfirmed. An evaluation before the first step counts where it is whole.

    Raises:
        ConfigError: the metric is none of those which the first validation batch logged.
    """

    def __init__(self, target: Target, stopwatch: Stopwatch, log: StepLog):
        self.target, self._stopwatch, self._log = target, stopwatch, log
        self.best: Best | None = None
        self.time_to_target: TimeToTarget | None = None
        self._last: Evaluation | None = None

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A run that was cut between the evaluation that reached its target and its end trains no more."""
        if self.target.stop and self.time_to_target and self.time_to_target.confirmed:
            trainer.should_stop = True

    def on_sanity_check_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        metrics = sorted(trainer.callback_metrics)
        if metrics and self.target.metric not in metrics:
            must = f"no such metric, those of the model are: {' '.join(metrics)}"
            raise ConfigError(Fault("target.metric", self.target.metric, must, nearest(self.target.metric, metrics)))
        if metrics and trainer.global_step == 0 and trainer.num_sanity_val_batches == trainer.num_val_batches:
            self.look(Evaluation(float(trainer.callback_metrics[self.target.metric]), 0, 0, 0.0))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.target.metric)
        if trainer.sanity_checking or value is None:
            return
        if self.best is None or self.target.better(float(value), self.best.value):
            self.best = Best(self.target.metric, float(value), trainer.global_step)
        now = Evaluation(float(value), trainer.global_step, self._log.samples, self._stopwatch.seconds)
        if self.look(now) and trainer.is_global_zero:
            log.info("%s", in_words(self.target, self.time_to_target, now))
        if self.target.stop and self.time_to_target and self.time_to_target.confirmed:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.time_to_target and not self.time_to_target.confirmed and trainer.is_global_zero:
            log.info("the training ended before another evaluation could confirm that the target was reached")

    def look(self, now: Evaluation) -> bool:
        """Take in an evaluation; True if it changes what is known of the moment the target was reached."""
        if self._last is not None and now.steps == self._last.steps:
            return False
        before, self._last = self._last, now
        reached, known = self.target.reached(now.value), self.time_to_target
        if known is None and reached:
            self.time_to_target = crossing(self.target, before, now)
        elif known is not None and not known.confirmed:
            known.confirmed = reached
            self.time_to_target = known if reached else None
        else:
            return False
        return True

    def state_dict(self) -> dict[str, Any]:
        return {
            "mode": self.target.mode,
            "best": asdict(self.best) if self.best else None,
            "time_to_target": asdict(self.time_to_target) if self.time_to_target else None,
            "last": asdict(self._last) | {"metric": self.target.metric} if self._last else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what still holds: the best of the same metric and mode, and the time to the same value of it."""
        self.best, self.time_to_target, self._last = None, None, None
        best, reached, target = state_dict["best"], state_dict["time_to_target"], self.target
        same = best and (best["metric"], state_dict["mode"]) == (target.metric, target.mode)
        if not same:
            return
        self.best = Best(**best)
        last = state_dict["last"] and Evaluation(**{k: v for k, v in state_dict["last"].items() if k != "metric"})
        if reached and reached["value"] == target.value:
            self.time_to_target, self._last = TimeToTarget(**reached), last
        elif last:
            self.look(last)  # at the target already, it is the earliest moment known; no line from it leads to one


def in_words(target: Target, reached: TimeToTarget | None, now: Evaluation) -> str:
    """The news of an evaluation that found the target reached, confirmed it, or took it back."""
    goal = f"the target {target.metric} {target.value:g}"
    if reached is None:
        return f"{goal} is not confirmed: {now.value:.5g} at step {now.steps}"
    moment = f"{reached.steps:g} steps, {reached.samples} samples, {reached.seconds:.2f} s of training"
    return f"{goal} was reached after {moment}" + (
        ", confirmed" if reached.confirmed else "; the next evaluation is to confirm it"
    )
