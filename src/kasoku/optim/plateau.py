"""Reduce the lr when a metric stops improving, with a warmup in front. The one schedule that needs more than the step.

factor(s) = warmup(s) * reduction,  reduction = factor ^ (number of reductions so far), not below min_factor
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval
from torch.optim import Optimizer

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
        """Go on from the state of a plateau, or from that of another schedule: then nothing is reduced yet."""
        self.reduction, self.best = state_dict.get("reduction", 1.0), state_dict.get("best")
        self.bad, self.resting = state_dict.get("bad", 0), state_dict.get("resting", 0)
        super().load_state_dict(state_dict)
