"""The target of a run: its best value so far, and when it was reached."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from kasoku.faults import ConfigError, Fault, nearest
from kasoku.results import Best, TimeToTarget
from kasoku.training.step_log import StepLog
from kasoku.training.stopwatch import Stopwatch


@dataclass(frozen=True)
class Target:
    """What a run is after: `metric` at least `value` (at most, with mode min). With `stop` it ends there."""

    metric: str
    value: float | None = None
    mode: Literal["min", "max"] = "max"
    stop: bool = False

    def better(self, value: float, than: float) -> bool:
        return value > than if self.mode == "max" else value < than

    def reached(self, value: float) -> bool:
        return self.value is not None and not self.better(self.value, value)


class TargetWatch(Callback):
    """Keeps the best value of the target's metric and the steps, samples and seconds until the target was reached.

    Raises:
        ConfigError: the metric is none of those which the first validation batch logged.
    """

    def __init__(self, target: Target, stopwatch: Stopwatch, log: StepLog):
        self.target, self._stopwatch, self._log = target, stopwatch, log
        self.best: Best | None = None
        self.time_to_target: TimeToTarget | None = None

    def on_sanity_check_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        metrics = sorted(trainer.callback_metrics)
        if metrics and self.target.metric not in metrics:
            must = f"no such metric, those of the model are: {' '.join(metrics)}"
            raise ConfigError(Fault("target.metric", self.target.metric, must, nearest(self.target.metric, metrics)))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.target.metric)
        if trainer.sanity_checking or value is None:
            return
        self._note(float(value), trainer)
        if self.target.stop and self.time_to_target:
            trainer.should_stop = True

    def _note(self, value: float, trainer: pl.Trainer) -> None:
        if self.best is None or self.target.better(value, self.best.value):
            self.best = Best(self.target.metric, value, trainer.global_step)
        if self.time_to_target is None and self.target.reached(value):
            seconds = round(self._stopwatch.seconds, 4)
            self.time_to_target = TimeToTarget(
                self.target.metric, self.target.value or 0.0, trainer.global_step, self._log.samples, seconds
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": asdict(self.best) if self.best else None,
            "time_to_target": asdict(self.time_to_target) if self.time_to_target else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best, reached = state_dict["best"], state_dict["time_to_target"]
        self.best = Best(**best) if best and best["metric"] == self.target.metric else None
        self.time_to_target = TimeToTarget(**reached) if reached and reached["value"] == self.target.value else None
