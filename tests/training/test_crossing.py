"""The moment a run reached its target: between two evaluations, confirmed by the next one, whole after a resume."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasoku import results
from kasoku.config.directory import overrides_of
from kasoku.results import Target, TimeToTarget
from kasoku.training.step_log import StepLog
from kasoku.training.stopwatch import Stopwatch
from kasoku.training.target import Evaluation, TargetWatch, crossing
from tests.conftest import SMALL, run_here
from tests.training.test_resume import SignalAt

TARGET = Target("val/acc", 0.9)


def seen(*values: float, target: Target = TARGET) -> TimeToTarget | None:
    """The moment after evaluations every 10 steps, the first after step 10."""
    watch = TargetWatch(target, Stopwatch(), StepLog())
    for index, value in enumerate(values, 1):
        watch.look(Evaluation(value, 10 * index, 640 * index, 0.5 * index))
    return watch.time_to_target


@pytest.mark.parametrize(
    ("values", "steps", "confirmed"),
    [
        ([0.8, 0.85, 0.95, 0.97], 25, True),  # half of the way from 0.85 to 0.95
        ([0.8, 0.85, 0.95], 25, False),
        ([0.8, 0.95, 0.85, 0.8, 1.0, 0.9], 45, True),  # the one after step 10 was luck
        ([0.95, 0.9], 10, True),
        ([math.nan, 1.0, 1.0], 20, True),
        ([0.5, 0.9, 0.9, 0.1], 20, True),
    ],
)
def test_the_crossing_lies_on_the_line_and_stands_once_confirmed(values, steps, confirmed):
    reached = seen(*values)
    assert (reached.steps, reached.confirmed) == (pytest.approx(steps), confirmed)
    assert (reached.samples, reached.seconds) == (round(64 * steps), pytest.approx(0.05 * steps))


@pytest.mark.parametrize("values", [[0.5, 0.95, 0.5], [0.1, math.nan, math.nan]])
def test_a_crossing_that_the_next_evaluation_does_not_confirm_is_none(values):
    assert seen(*values) is None


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(0.01, 5), st.sampled_from(["max", "min"]))
def test_the_target_is_reached_where_the_line_is_at_it(goal, below, above, mode):
    sign = 1 if mode == "max" else -1
    first, second = Evaluation(goal - sign * below, 100, 6400, 1.0), Evaluation(goal + sign * above, 200, 12800, 3.0)
    found = crossing(Target("m", goal, mode), first, second)
    share = (found.steps - 100) / 100
    assert first.value + share * (second.value - first.value) == pytest.approx(goal, abs=1e-4)
    assert found.seconds == pytest.approx(1 + 2 * share, abs=1e-3)


def evaluations(directory: Path) -> list[tuple[int, float]]:
    with (directory / "metrics.csv").open() as file:
        return [(int(row["step"]) + 1, float(row["val/acc"])) for row in csv.DictReader(file) if row["val/acc"]]


def test_a_run_ends_at_the_evaluation_that_confirms(run):
    directory = run("trainer.max_epochs=30", "target.value=0.8", "target.stop=true", "optimizer.lr=0.0005")
    result, found = results.read(directory), evaluations(directory)
    first = next(index for index, (_, value) in enumerate(found) if value >= 0.8)
    (before, low), (after, high) = found[first - 1 : first + 1]
    assert result.status == "reached_target"
    assert result.time_to_target.confirmed
    assert result.time_to_target.steps == pytest.approx(before + (after - before) * (0.8 - low) / (high - low))
    assert result.steps == found[-1][0] == found[first + 1][0]


def test_a_run_whose_last_evaluation_is_the_crossing_counts_as_it_stands(run):
    directory = run("trainer.max_epochs=1", "target.value=0.3", "target.stop=true")
    result, [(step, value)] = results.read(directory), evaluations(directory)
    reached = result.time_to_target
    assert (result.status, reached.confirmed, value >= 0.3, reached.steps <= step) == (
        "reached_target",
        False,
        True,
        True,
    )


def test_a_crossing_survives_a_resume(tmp_path):
    """The cut lies between the evaluation that crosses and the one that confirms, and before the crossing."""
    overrides = (*SMALL, "trainer.max_epochs=8", "target.value=0.8", "optimizer.lr=0.0005")
    assert run_here(tmp_path / "straight", *overrides) == 0
    expected = results.read(tmp_path / "straight").time_to_target
    after = math.ceil(expected.steps / 19) * 19 + 4
    for cut in (after, after - 19):
        directory = tmp_path / str(cut)
        assert run_here(directory, *overrides, callbacks=[SignalAt(cut)]) == 143
        assert run_here(directory, *overrides_of(directory), f"resume={directory}") == 0
        found = results.read(directory).time_to_target
        assert (found.steps, found.samples, found.confirmed) == (expected.steps, expected.samples, True)


def test_a_whole_evaluation_before_the_first_step_counts(run):
    directory = run("trainer.max_epochs=2", "target.value=0.01", "trainer.num_sanity_val_steps=-1")
    assert results.read(directory).time_to_target.steps == 0
