"""Whole races on a trainer of known answer: how often equal strategies are called different, and a sooner one found."""

import math
import statistics

import pytest

from kasoku.report.verdict import Comparison, verdicts
from kasoku.search.race.outcome import standings

from .synthetic import Truth, race

EQUAL = Truth(400)
TWICE = Truth(200, best=0.01)  # twice as soon, at another lr
CONSTANT, CONSTANT_TWICE = Truth(400, decays=False), Truth(200, best=0.01, decays=False)
DRIFTING = Truth(400, best=0.004, bend=0.5, drift=0.25)  # short runs like a lower rate best


def judge(first: Truth, second: Truth, world: int, **rules: object) -> Comparison:
    now, _ = race({"a": first, "b": second}, world, **rules)
    found = standings(now)
    return verdicts(found["a"].times, {"b": found["b"].times}, cap=now.cap)["b"]


def share(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def differ(first: Truth, second: Truth, races: int, **rules: object) -> float:
    found = [judge(first, second, world, **rules).outcome for world in range(races)]
    return share([outcome in ("sooner", "later") for outcome in found])


def covers(first: Truth, second: Truth, races: int, factor: float = 2.0) -> float:
    found = [judge(first, second, world) for world in range(races)]
    return share([comparison.low <= factor <= comparison.high for comparison in found])


def test_a_sample_of_races_between_equals():
    """A twentieth of 40 is 2; 6 or more would come once in 70 times."""
    assert differ(EQUAL, EQUAL, 20) + differ(CONSTANT, CONSTANT, 20) <= 5 / 20


def test_a_sample_of_races_of_which_one_is_twice_as_soon():
    found = [judge(EQUAL, TWICE, world) for world in range(20)]
    assert share([comparison.low <= 2 <= comparison.high for comparison in found]) >= 0.8
    assert share([comparison.outcome == "sooner" for comparison in found]) >= 0.9


@pytest.mark.parametrize("decays", [True, False])
@pytest.mark.parametrize("steps", [60, 400])
def test_a_small_budget_and_a_default_far_off_do_not_make_equals_different(steps, decays):
    """The second one's best lr is 50 times its default: less is left of its budget for what follows."""
    near, far = Truth(steps, decays=decays), Truth(steps, best=0.1, decays=decays)
    found = [judge(near, far, world, tuning=2 + world % 3) for world in range(12)]
    assert share([comparison.outcome == "no difference" for comparison in found]) >= 0.8
    assert all(0.6 <= comparison.ratio <= 1.6 for comparison in found)


@pytest.mark.parametrize("steps", [60, 400])
def test_where_the_metric_levels_out_the_times_are_those_needed(steps):
    """The line over the log of the length is a tangent there, and seeds end beyond the target."""
    levelling = Truth(steps, bow=1.0, slope=0.1)
    races = [standings(race({"a": levelling, "b": levelling}, world)[0]) for world in range(10)]
    medians = [statistics.median(found[name].times) for found in races for name in "ab"]
    assert statistics.median(medians) == pytest.approx(steps, rel=0.08)
    assert all(0.75 * steps <= median <= 1.35 * steps for median in medians)


@pytest.mark.parametrize("tuner", ["random", "tpe", "asha"])
def test_every_tuner_leads_to_a_verdict(tuner):
    assert judge(EQUAL, TWICE, 0, tuner=tuner).outcome == "sooner"
    assert math.isfinite(judge(CONSTANT, CONSTANT_TWICE, 0, tuner=tuner).ratio)


@pytest.mark.proof
@pytest.mark.parametrize("truth", [EQUAL, CONSTANT, DRIFTING], ids=["decays", "constant", "drifting"])
def test_of_400_races_between_equals_hardly_any_calls_them_different(truth):
    assert differ(truth, truth, 400) <= 0.05


@pytest.mark.proof
@pytest.mark.parametrize(
    ("first", "second", "factor"),
    [
        (EQUAL, TWICE, 2.0),
        (EQUAL, Truth(320), 1.25),
        (CONSTANT, CONSTANT_TWICE, 2.0),
        (CONSTANT, Truth(320, decays=False), 1.25),
    ],
)
def test_of_400_races_the_interval_holds_the_factor_in_nearly_all(first, second, factor):
    assert covers(first, second, 400, factor) >= 0.93
