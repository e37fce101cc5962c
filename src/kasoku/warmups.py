"""Warmups: pure functions `factor(step, length, *, shape...)` for the first `length` steps, 0 <= step < length.

They multiply the value at which the schedule starts. The step after the last is at 1, and none is at zero: after s of
W steps a ramp has come (s + 1) / (W + 1) of its way.
"""

import math
from typing import Annotated, Literal

from annotated_types import Ge, Interval, Unit

Length = Annotated[int, Unit("steps"), Ge(0)]
Start = Annotated[float, Interval(ge=0, lt=1)]


def none(step: int, /, length: Literal[0]) -> float:
    """No warmup: 1 from the first step on.

    >>> none(0, 0)
    1.0
    """
    return 1.0


def constant(step: int, /, length: Length, *, factor: Annotated[float, Interval(gt=0, le=1)] = 0.1) -> float:
    """The same low factor throughout, then a jump to 1. ResNet's warmup on CIFAR-10, arXiv 1512.03385.

    >>> constant(3, 10)
    0.1
    """
    return factor


def linear(step: int, /, length: Length, *, start_factor: Start = 0.0) -> float:
    """A straight line to 1: a + (1 - a) (step + 1) / (length + 1), a being `start_factor`.

    "Accurate, Large Minibatch SGD", arXiv 1706.02677.

    >>> [linear(s, 4) for s in range(4)]
    [0.2, 0.4, 0.6, 0.8]
    """
    return start_factor + (1 - start_factor) * (step + 1) / (length + 1)


def exponential(step: int, /, length: Length, *, start_factor: Annotated[float, Interval(gt=0, lt=1)] = 0.01) -> float:
    """The same ratio at each step, from `start_factor` a to 1: a^(1 - (step + 1) / (length + 1)).

    >>> [round(exponential(s, 3, start_factor=0.0001), 6) for s in range(3)]
    [0.001, 0.01, 0.1]
    """
    return math.pow(start_factor, (length - step) / (length + 1))


def cosine(step: int, /, length: Length, *, start_factor: Start = 0.0) -> float:
    """Half a cosine to 1: a + (1 - a) (1 - cos(pi (step + 1) / (length + 1))) / 2, a being `start_factor`.

    >>> [round(cosine(s, 3), 6) for s in range(3)]
    [0.146447, 0.5, 0.853553]
    """
    return start_factor + (1 - start_factor) * math.sin(math.pi / 2 * (step + 1) / (length + 1)) ** 2
