"""Suggestions from the curve of an LR range test: valley, slide, steepest, minimum, by the rules of fastai's lr_find.

The range test itself is in `lr_finder`: the lr grows by the same ratio at each step while the loss is recorded.
L. N. Smith 2015, arXiv 1506.01186.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt

Positive = Annotated[float, Gt(0)]
Rule = Literal["valley", "slide", "steepest", "minimum"]

MEMORY = 0.98  # of the moving average of the loss
DIVERGED = 4.0  # times the least loss: there the test ends
LAST = 5  # points at the end that show the divergence and are not looked at
SPAN = 15  # steps that `slide` looks back
LEAST = SPAN + 1  # points that the rules need


@dataclass(frozen=True)
class RangeTest:
    """An LR range test: `steps` optimizer steps from lr `start` to `end`, and the rule that chooses from the curve."""

    steps: Annotated[int, Ge(25)] = 100
    start: Positive = 1e-7
    end: Positive = 10.0
    suggestion: Rule = "valley"

    def lr(self, step: int) -> float:
        """start (end / start) ^ (step / steps), for 0 <= step < steps.

        >>> RangeTest(steps=40, start=0.01, end=1.0).lr(20)
        0.1
        """
        return self.start * (self.end / self.start) ** (step / self.steps)


@dataclass(frozen=True)
class Curve:
    """The losses of a range test, and their moving average, over the lr: one value for each optimizer step."""

    lrs: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]


def suggest(curve: Curve, steps: int) -> dict[Rule, float]:
    """The lr that each rule suggests, rounded to three digits, by the smoothed losses of a test of `steps` steps.

    The first tenth of the test and the last five points are left out.

    Raises:
        ValueError: the loss diverged so early that too few points are left.
    """
    lrs, losses = curve.lrs[steps // 10 : -LAST], curve.smoothed[steps // 10 : -LAST]
    if len(lrs) < LEAST:
        raise ValueError(f"only {len(curve.lrs)} of {steps} steps came before the loss diverged")
    return {name: float(f"{rule(lrs, losses):.3g}") for name, rule in RULES.items()}


class Smoothing:
    """The exponential moving average of the values so far, freed of its start at 0.

    a_t = (1 - b) sum_i b^(t - i) x_i / (1 - b^t), for i = 1 .. t.
    """

    def __init__(self, memory: float = MEMORY):
        self.memory = memory
        self._sum, self._weight = 0.0, 0.0

    def __call__(self, value: float) -> float:
        """The average with `value` taken in."""
        self._sum = self.memory * self._sum + (1 - self.memory) * value
        self._weight = self.memory * self._weight + 1 - self.memory
        return self._sum / self._weight


def valley(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The middle of the longest descent: the longest falling subsequence of the losses, a half of it behind its third.

    With its length L and its end e: the point e - L + floor(L / 3) + floor(L / 6).
    """
    lengths: list[int] = []
    for i, loss in enumerate(losses):
        lengths.append(1 + max((lengths[j] for j in range(i) if losses[j] > loss), default=0))
    longest = max(lengths)
    start = lengths.index(longest) - longest
    return lrs[max(0, start + longest // 3 + longest // 6)]


def slide(lrs: Sequence[float], losses: Sequence[float], threshold: float = 0.005) -> float:
    """Slides a 15-step window back from the end while the slopes at its ends differ by more than `threshold`.

    The slopes are the central differences of the losses. Returns the left lr of the last window whose slopes differ so.
    """
    slopes = np.gradient(losses)
    left = last = len(lrs) - LEAST
    while left >= 0 and abs(slopes[left + SPAN] - slopes[left]) > threshold:
        last, left = left, left - 1
    return lrs[last]


def steepest(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The lr at which the loss falls fastest over log(lr)."""
    return lrs[int(np.argmin(np.diff(losses) / np.diff(np.log(lrs))))]


def minimum(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the lr with the least loss, which is close to divergence."""
    return lrs[int(np.argmin(losses))] / 10


RULES: dict[Rule, Callable[[Sequence[float], Sequence[float]], float]] = {
    "valley": valley,
    "slide": slide,
    "steepest": steepest,
    "minimum": minimum,
}
