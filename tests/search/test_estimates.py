"""What a Gaussian process and CMA-ES are told of pruned and diverged trials, and that they learn from it."""

import itertools
import math
import statistics
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kasoku.search.estimates import clipped, heading_for, with_estimates
from kasoku.search.samplers import make_pruner, make_sampler
from kasoku.search.space import parse

MIN, MAX = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
NUMBERS = st.dictionaries(st.integers(), st.floats(-1e6, 1e6), min_size=1, max_size=20)


def trial(number: int, state: TrialState, values: list[float], end: str = "") -> FrozenTrial:
    made = optuna.create_trial(
        state=state,
        value=values[-1] if state is TrialState.COMPLETE else None,
        intermediate_values=dict(enumerate(values, 1)),
        user_attrs={"end": {"state": end}} if end else {},
    )
    made.number = number
    return made


TRIALS = [
    trial(0, TrialState.COMPLETE, [5.0, 3.0, 1.0]),
    trial(1, TrialState.COMPLETE, [7.0, 4.0, 2.0]),
    trial(2, TrialState.PRUNED, [9.0, 8.0]),  # heading for 2 + 8 - 4
    trial(3, TrialState.PRUNED, [6.5]),  # heading for 1.75, as it is between 5 and 7
    trial(4, TrialState.PRUNED, [2.0, 1.0], "diverged"),
    trial(5, TrialState.FAIL, [], "diverged"),
    trial(6, TrialState.FAIL, [], "failed"),
    trial(7, TrialState.RUNNING, [4.0]),
]


def order(trials: list[FrozenTrial]) -> list[int]:
    return [t.number for t in sorted(trials, key=lambda t: t.value)]


def test_a_pruned_trial_has_the_value_that_it_was_heading_for_and_a_diverged_one_the_worst() -> None:
    seen = with_estimates(TRIALS, MIN)
    complete = [t for t in seen if t.state is TrialState.COMPLETE]
    values = {t.number: t.value for t in complete}
    assert order(complete)[:4] == [0, 3, 1, 2]
    assert values == {0: 1, 1: 2, 3: 1.75, 2: 6, 4: 6, 5: 6}
    assert [t.state for t in seen[6:]] == [TrialState.FAIL, TrialState.RUNNING]
    assert TRIALS[2].state is TrialState.PRUNED  # the study's own are left alone


def test_the_best_is_the_greatest_where_more_is_better() -> None:
    turned = [
        trial(
            t.number,
            t.state,
            [-v for v in t.intermediate_values.values()],
            t.user_attrs.get("end", {}).get("state", ""),
        )
        for t in TRIALS
    ]
    found = {t.number: t.value for t in with_estimates(turned, MAX) if t.state is TrialState.COMPLETE}
    assert found == {t.number: -t.value for t in with_estimates(TRIALS, MIN) if t.state is TrialState.COMPLETE}


def test_no_pruned_trial_is_better_than_the_best_complete_one() -> None:
    """Though it was better where it ended."""
    trials = [trial(0, TrialState.COMPLETE, [4.8, 2.8]), trial(1, TrialState.PRUNED, [3.9])]
    assert [t.value for t in with_estimates(trials, MIN)] == [2.8, 2.8]


def test_a_pruned_trial_is_no_better_than_any_that_was_better_there() -> None:
    complete = [trial(n, TrialState.COMPLETE, [there, end]) for n, (there, end) in enumerate([(1, 5), (2, 3), (4, 9)])]
    heading = [heading_for(trial(9, TrialState.PRUNED, [there]), complete) for there in (0.5, 1.5, 2, 3, 4, 6)]
    assert heading == [5, 5, 5, 7, 9, 11]


def test_a_trial_that_went_further_than_all_complete_ones_is_as_the_worst_of_them() -> None:
    """As with time_to_target, whose values are no metric: those that reached the target ended before."""
    complete = [trial(0, TrialState.COMPLETE, [-0.8, 30.0]), trial(1, TrialState.COMPLETE, [-0.9, 20.0])]
    slow = trial(2, TrialState.PRUNED, [-0.1, -0.2, -0.7])
    assert heading_for(slow, complete) == 30
    assert [t.value for t in with_estimates([*complete, slow], MIN)] == [30, 20, 30]


def test_a_target_never_reached_is_bad_and_not_without_end() -> None:
    complete = [trial(n, TrialState.COMPLETE, [value]) for n, value in enumerate([10.0, 12.0, math.inf])]
    assert [t.value for t in with_estimates(complete, MIN)] == [10, 12, 14]


def test_nothing_is_estimated_before_a_trial_is_complete() -> None:
    assert with_estimates(TRIALS[2:], MIN) == TRIALS[2:]


@given(NUMBERS)
def test_clipping_keeps_the_order_and_the_better_half(values: dict[int, float]) -> None:
    median, least, told = statistics.median(values.values()), min(values.values()), clipped(values)
    ranks = sorted(values, key=lambda n: values[n])
    assert all(told[a] <= told[b] for a, b in itertools.pairwise(ranks))
    assert all(told[n] == value for n, value in values.items() if value < median)
    assert max(told.values()) - median <= median - least + 1e-9 * abs(median - least)


def run(method: str, n: int, direction: str = "minimize", prune: bool = True) -> optuna.Study:
    """A search for x = 0.3, y = 0.7 on curves that come down to their end value in eight reports."""
    _, space = parse(["x=interval(0,1)", "y=interval(0,1)"], {}, {})
    study = optuna.create_study(direction=direction)
    study.sampler, study.pruner = make_sampler(method, 0, space), make_pruner("asha" if prune else "none")
    sign = 1 if direction == "minimize" else -1

    def objective(t: optuna.Trial) -> float:
        end = (t.suggest_float("x", 0, 1) - 0.3) ** 2 + (t.suggest_float("y", 0, 1) - 0.7) ** 2
        for step in range(1, 9):
            t.report(sign * (end + 1 / step), step)
            if t.should_prune():
                raise optuna.TrialPruned
        return sign * (end + 1 / 8)

    study.optimize(objective, n)
    return study


@pytest.mark.sample(2)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_gaussian_process_finds_the_optimum_of_a_pruned_sweep(direction: str) -> None:
    study = run("gp", 30, direction)
    assert sum(t.state is TrialState.PRUNED for t in study.trials) > 10
    assert abs(study.best_params["x"] - 0.3) < 0.03
    assert abs(study.best_params["y"] - 0.7) < 0.03


def test_cmaes_takes_pruned_trials_into_its_generations() -> None:
    study = run("cmaes", 60)
    generations: Any = {value for t in study.trials for key, value in t.system_attrs.items() if key.startswith("cma:g")}
    assert len(generations) > 5
    assert study.best_value < 1 / 8 + 0.01
