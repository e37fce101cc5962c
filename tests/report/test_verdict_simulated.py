"""How often the verdict errs, on crossing times whose truth is known: log-normal, some runs missing.

Runs miss by a cap that the given share of the slower side does not make in time, or at random whatever their time. A
handful of each kind runs always; `pytest -m proof` runs every cell at full size.
"""

import math
from collections.abc import Sequence
from itertools import cycle, islice, product
from statistics import NormalDist

import numpy as np
import pytest
from scipy import integrate

from kasoku.report import ranks
from kasoku.report.verdict import LEVEL, compare, verdicts

SEEDS = (4, 5, 10)
SPREADS = (0.02, 0.1, 0.3)  # the standard deviation of log times
APART = {"alike": (1, 1), "baseline 3x": (3, 1), "challenger 3x": (1, 3)}
MISSES = {
    "none": (0, 0),
    "capped 20%": (0.2, 0),
    "capped 40%": (0.4, 0),
    "random 20%": (0, 0.2),
    "random 40%": (0, 0.4),
}
RATIOS = (1, 1.5)


def race(rng, n: int, spreads: Sequence[float], ratios: Sequence[float], misses: str):
    """Times of a baseline, the first of the `spreads`, and of challengers so many times sooner; the common cap."""
    late, lost = MISSES[misses]
    centres = [0.0, *(-math.log(ratio) for ratio in ratios)]
    sides = [NormalDist(*side) for side in zip(centres, spreads, strict=True)]
    cap = math.exp(max(side.inv_cdf(1 - late) for side in sides)) if late else 1e9
    times = [np.exp(rng.normal(side.mean, side.stdev, n)) for side in sides]
    times = [np.where((side > cap) | (rng.random(n) < lost), math.inf, side) for side in times]
    return times[0], {str(number): side for number, side in enumerate(times[1:])}, cap


def coverage(rng, runs: int, n: int, apart: str, misses: str) -> float:
    """How often the interval holds the true ratio, over all spreads and ratios in turn."""
    hits = 0
    for spread, ratio in islice(cycle(product(SPREADS, RATIOS)), runs):
        spreads = [spread * times for times in APART[apart]]
        baseline, challengers, cap = race(rng, n, spreads, [ratio], misses)
        told = compare(baseline, challengers["0"], cap=cap)
        hits += told.low <= ratio <= told.high
    return hits / runs


def called(rng, runs: int, n: int, spreads: Sequence[float], misses: str = "none") -> float:
    """How often any of equals is called sooner or later. Of the races that the ranks rule out the first are judged.

    No p is less than that of the ranks, and Holm's least p must be below 5% over the number of challengers, so those
    races cannot be called different; judging them takes most of the time.
    """
    found, level = 0, LEVEL / (len(spreads) - 1)
    for number in range(runs):
        baseline, challengers, cap = race(rng, n, spreads, [1] * (len(spreads) - 1), misses)
        is_ruled_out = not any(ranks_differ(baseline, side, level) for side in challengers.values())
        if number < 100 or not is_ruled_out:
            told = verdicts(baseline, challengers, cap=cap)
            is_called = any(one.outcome in ("sooner", "later") for one in told.values())
            assert not (is_called and is_ruled_out)
            found += is_called
    return found / runs


def ranks_differ(one: np.ndarray, other: np.ndarray, level: float) -> bool:
    return 2 * min(ranks.p_longer(one, other), ranks.p_longer(other, one)) <= level


@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("n", SEEDS)
def test_the_interval_holds_the_true_ratio(n, apart):
    rng = np.random.default_rng(n)
    assert sum(coverage(rng, 100, n, apart, misses) for misses in MISSES) / len(MISSES) >= 0.93


@pytest.mark.proof
@pytest.mark.parametrize("misses", MISSES)
@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("n", SEEDS)
def test_the_interval_holds_the_true_ratio_in_every_cell(n, apart, misses):
    assert coverage(np.random.default_rng(n), 2000, n, apart, misses) >= 0.93


@pytest.mark.parametrize(("n", "challengers"), [(4, 1), (5, 6), (6, 9)])
def test_among_equals_hardly_any_is_called_different(n, challengers):
    assert called(np.random.default_rng(n), 200, n, [0.1] * (challengers + 1)) <= 0.05


@pytest.mark.proof
@pytest.mark.parametrize("misses", ["none", "random 40%"])
@pytest.mark.parametrize("scatter", ["alike", "baseline 3x", "baseline between 1x and 3x"])
@pytest.mark.parametrize(
    ("n", "challengers", "runs"),
    [(5, 1, 8000), (5, 6, 8000), (6, 9, 3000), (10, 9, 3000)],  # the first two are near 5%
)
def test_among_equals_hardly_any_is_called_different_in_any_cell(n, challengers, runs, scatter, misses):
    if scatter == "baseline between 1x and 3x":
        spreads = [0.1 * math.sqrt(3), *np.geomspace(0.1, 0.3, challengers)]
    else:
        spreads = [0.1 * APART[scatter][0]] + [0.1] * challengers
    assert called(np.random.default_rng(n), runs, n, spreads, misses) <= 0.05


@pytest.mark.parametrize("apart", [1, 3])
def test_four_runs_differ_where_all_of_one_side_come_first_and_equals_do_so_less_than_once_in_twenty(apart):
    assert compare([10, 20, 30, 40], [1, 2, 3, 4]).outcome == "sooner"
    assert compare([10, 20, 30, 40], [1, 2, 3, 11]).outcome == "no difference"
    narrow, wide = NormalDist(0, 1), NormalDist(0, apart)

    def last_of_the_narrow_before_the_wide(time: float) -> float:
        return 4 * narrow.pdf(time) * narrow.cdf(time) ** 3 * (1 - wide.cdf(time)) ** 4

    chance = 2 * integrate.quad(last_of_the_narrow_before_the_wide, -8, 8)[0]
    assert chance == pytest.approx({1: 2 / 70, 3: 0.0494}[apart], abs=1e-4)


def test_challengers_that_all_scatter_more_than_the_baseline_are_hardly_called_different():
    """400 races; the ranks alone would call 38 of them different, and 28 or more have a chance of 2% at 4.7%."""
    assert called(np.random.default_rng(0), 400, 5, [0.1] + [0.3] * 6) <= 28 / 400


@pytest.mark.proof
@pytest.mark.parametrize(("n", "challengers", "runs"), [(5, 6, 8000), (6, 9, 4000), (10, 9, 2000)])
def test_challengers_that_all_scatter_more_than_the_baseline_in_every_cell(n, challengers, runs):
    rng = np.random.default_rng(n)
    assert called(rng, runs, n, [0.1] + [0.3] * challengers) <= 0.05
    assert called(rng, runs // 4, n, [0.1] + [1.0] * challengers) <= 0.065
    assert called(rng, runs, n, [0.1] + [0.3] * challengers, "capped 20%") <= 0.05
    assert called(rng, runs // 2, n, [0.1] + [0.3] * challengers, "capped 40%") <= 0.05


@pytest.mark.parametrize(("n", "challengers"), [(4, 1), (5, 1), (5, 6), (6, 9), (10, 1)])
def test_half_as_soon_again_is_found_among_equals(n, challengers):
    rng, found = np.random.default_rng(n), 0
    for _ in range(100):
        ratios = [1.5] + [1] * (challengers - 1)
        baseline, others, cap = race(rng, n, [0.1] * (challengers + 1), ratios, "none")
        found += verdicts(baseline, others, cap=cap)["0"].outcome == "sooner"
    assert found >= 80
