"""Timing on a machine that others use too: CPU seconds, the candidates in turn, medians and their spread."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Timing(NamedTuple):
    """Milliseconds of CPU time: the median, and the quartiles around it."""

    median: float
    low: float
    high: float


def alternate(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of each call, every candidate once a round, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, call in candidates.items():
            start = time.process_time()
            call()
            if number:
                times[name].append(1000 * (time.process_time() - start))
    return times


def summary(values: list[float]) -> Timing:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4)
    return Timing(median, low, high)


def ratio(values: list[float], base: list[float]) -> Timing:
    """How many times `base` each of `values` took, round by round."""
    return summary([value / one for value, one in zip(values, base, strict=True)])
