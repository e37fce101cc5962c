"""Objectives: numbers out of a trial's result that say what it is worth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kasoku.faults import Fault
from kasoku.results import Result, better

COSTS = ("train_seconds", "total_seconds", "epochs", "steps", "samples", "parameters")
TIMES = {
    "time_to_target": "seconds",
    "time_to_target.seconds": "seconds",
    "time_to_target.steps": "steps",
    "time_to_target.samples": "samples",
}


@dataclass(frozen=True)
class Objective:
    """A `metric` of a run, which is to be as small (`mode` min) or as large (max) as can be."""

    metric: str
    mode: str

    @property
    def is_evaluated(self) -> bool:
        """True if it is a metric that evaluations during the training log."""
        return self.metric not in COSTS and self.metric not in TIMES and not self.metric.startswith("test/")

    def better(self, value: float, than: float) -> bool:
        return better(self.mode, value, than)

    def value(self, result: Result, seen: Mapping[str, float]) -> float | None:
        """Its value in a run's `result`, the best of the run where it was `seen` at evaluations.

        A target that was not reached took for ever: inf. None where the run does not have the metric, or has nan.
        """
        if self.metric in TIMES:
            reached = result.time_to_target
            return float(getattr(reached, TIMES[self.metric])) if reached else math.inf
        if self.metric in COSTS:
            return float(getattr(result, self.metric))
        if result.best and result.best.metric == self.metric:
            return result.best.value
        value = seen.get(self.metric, result.metrics.get(self.metric))
        return None if value is None or math.isnan(value) else value


def objective(metric: str, mode: str | None, target: Mapping[str, Any]) -> Objective | Fault:
    """The objective called `metric`, or what is wrong with it.

    A `mode` of None is the target's for the target's metric, and min for times and counts.
    """
    if metric in TIMES and target.get("value") is None:
        return Fault("sweeper.metric", metric, "needs a target to reach", "give target.value")
    if metric.startswith("time_to_target") and metric not in TIMES:
        return Fault("sweeper.metric", metric, f"must be one of {' '.join(TIMES)}")
    if mode is None:
        mode = _mode_of(metric, target)
    if mode is None:
        return Fault("sweeper.mode", None, f"must be min or max: {metric} is not the target's metric")
    return Objective(metric, mode)


def _mode_of(metric: str, target: Mapping[str, Any]) -> str | None:
    if metric in TIMES or metric in COSTS:
        return "min"
    return target.get("mode") if metric == target.get("metric") else None
