"""What a trial is worth."""

import csv
import math
from dataclasses import replace
from typing import Any

import pytest

from kasoku.faults import Fault
from kasoku.results import Best, Result, TimeToTarget
from kasoku.search.objective import Objective, objective

from .conftest import Sweep
from .test_grid import NET

TARGET = {"metric": "val/acc", "mode": "max", "value": 0.9}
RESULT = Result(
    best=Best("val/acc", 0.95, 40),
    metrics={"val/acc": 0.9, "val/loss": 0.3, "test/acc": 0.8},
    time_to_target=TimeToTarget("val/acc", 0.9, 30, 960, 1.5),
    train_seconds=2.0,
    total_seconds=2.5,
    steps=60,
    epochs=3.5,
    samples=1920,
    parameters=4810,
)
WORTH = [
    ("val/acc", 0.95),
    ("val/loss", 0.2),
    ("test/acc", 0.8),
    ("time_to_target", 1.5),
    ("time_to_target.seconds", 1.5),
    ("time_to_target.steps", 30),
    ("time_to_target.samples", 960),
    ("train_seconds", 2.0),
    ("total_seconds", 2.5),
    ("steps", 60),
    ("epochs", 3.5),
    ("samples", 1920),
    ("parameters", 4810),
    ("val/none", None),
]


@pytest.mark.parametrize(("metric", "value"), WORTH)
def test_value(metric: str, value: float | None) -> None:
    assert Objective(metric, "min").value(RESULT, {"val/loss": 0.2}) == value


def test_a_target_that_was_not_reached_takes_for_ever() -> None:
    assert Objective("time_to_target", "min").value(replace(RESULT, time_to_target=None), {}) == math.inf


def test_the_mode_follows_from_the_target_or_the_kind_of_metric() -> None:
    assert objective("val/acc", None, TARGET) == Objective("val/acc", "max")
    assert objective("time_to_target.steps", None, TARGET) == Objective("time_to_target.steps", "min")
    assert objective("val/loss", "min", TARGET) == Objective("val/loss", "min")


@pytest.mark.parametrize("metric", ["val/loss", "time_to_target.epochs"])
def test_what_cannot_be_known_is_asked_for(metric: str) -> None:
    assert isinstance(objective(metric, None, TARGET), Fault)


def test_a_time_needs_a_target() -> None:
    assert isinstance(objective("time_to_target", None, TARGET | {"value": None}), Fault)


def test_a_metric_that_is_nan_is_worth_nothing(sweep: Sweep) -> None:
    """Mutant: nan itself, which Optuna does not take: the sweep would end with it. No pruner is in its way."""
    assert Objective("val/loss", "min").value(RESULT, {"val/loss": math.nan}) is None
    epochs = ["trainer.max_steps=-1", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    net = ["model.net._target_=tests.search.nets.Wavering", *NET[1:], "+model.net.favours=choice([0,1e39],[0,2])"]
    swept = sweep(*net, *epochs, "sweeper.metric=val/loss", "sweeper.mode=min")
    assert (swept.code, swept.states) == (0, ["diverged", "completed"])
    assert swept.json["trials"][0]["reason"].startswith("the metric val/loss became nan")


@pytest.mark.parametrize("metric", [metric for metric, _ in WORTH])
def test_evaluated_is_what_the_training_logs_of_its_validation(metric: str) -> None:
    assert Objective(metric, "min").is_evaluated == metric.startswith("val/")


def test_a_run_without_evaluations_has_its_last_metrics_alone() -> None:
    assert Objective("val/acc", "max").value(replace(RESULT, best=None), {}) == 0.9


@pytest.mark.parametrize("metric", [metric for metric, _ in WORTH if not metric.startswith(("val/", "test/"))])
def test_times_and_costs_are_to_be_small(metric: str) -> None:
    assert objective(metric, None, TARGET) == Objective(metric, "min")


@pytest.mark.parametrize(
    ("metric", "mode", "target", "text"),
    [
        ("time_to_target", "min", {}, "sweeper.metric=time_to_target: needs a target to reach; give target.value"),
        (
            "time_to_target.epochs",
            "min",
            TARGET,
            "sweeper.metric=time_to_target.epochs: must be one of time_to_target time_to_target.seconds "
            "time_to_target.steps time_to_target.samples",
        ),
        ("val/x", None, TARGET, "sweeper.mode=null: must be min or max: val/x is not the target's metric"),
    ],
)
def test_each_fault_in_a_line(metric: str, mode: str | None, target: dict[str, Any], text: str) -> None:
    assert str(objective(metric, mode, target)) == text


def test_a_mode_that_is_given_needs_no_target() -> None:
    assert objective("val/x", "max", {}) == Objective("val/x", "max")


@pytest.mark.parametrize(("mode", "better"), [("max", [False, False, True]), ("min", [True, False, False])])
def test_better_is_strictly_greater_with_max_and_strictly_less_with_min(mode: str, better: list[bool]) -> None:
    """Mutants: the two turned round, `>=` for `>`, `<=` for `<`."""
    assert [Objective("val/loss", mode).better(value, 0.5) for value in (0.4, 0.5, 0.6)] == better


@pytest.mark.parametrize("mode", ["min", "max"])
def test_any_number_is_better_than_nan(mode: str) -> None:
    """Mutant: the comparison alone, with which a first nan would stay the best for ever."""
    better = Objective("val/loss", mode).better
    assert better(0.5, math.nan)
    assert not any([better(math.nan, 0.5), better(math.nan, math.nan)])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_beside_the_targets_is_worth_its_best_evaluation(sweep: Sweep, mode: str) -> None:
    """Mutant: `Objective.better` turned round. The loss of the last of four evaluations is neither best nor worst."""
    epochs = ["trainer.max_steps=-1", "trainer.max_epochs=4", "trainer.limit_train_batches=1"]
    net = ["model.net._target_=tests.search.nets.Wavering", *NET[1:]]
    swept = sweep(*net, *epochs, "sweeper.metric=val/loss", f"sweeper.mode={mode}")
    with (swept.directory / "0" / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert min(losses) < losses[-1] < max(losses)
    [trial] = swept.json["trials"]
    assert trial["value"] == pytest.approx({"min": min, "max": max}[mode](losses))
