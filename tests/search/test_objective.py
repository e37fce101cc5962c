"""What a trial is worth."""

import math
from typing import Any

import pytest

from kasoku.faults import Fault
from kasoku.search.objective import Objective, objective

TARGET = {"metric": "val/acc", "mode": "max", "value": 0.9}
RESULT: dict[str, Any] = {
    "best": {"metric": "val/acc", "value": 0.95, "step": 40},
    "metrics": {"val/acc": 0.9, "val/loss": 0.3, "test/acc": 0.8},
    "time_to_target": {"metric": "val/acc", "value": 0.9, "steps": 30, "samples": 960, "seconds": 1.5},
    "train_seconds": 2.0,
    "steps": 60,
}
WORTH = [
    ("val/acc", 0.95),
    ("val/loss", 0.2),
    ("test/acc", 0.8),
    ("time_to_target", 1.5),
    ("time_to_target.steps", 30),
    ("time_to_target.samples", 960),
    ("train_seconds", 2.0),
    ("steps", 60),
    ("val/none", None),
]


@pytest.mark.parametrize(("metric", "value"), WORTH)
def test_value(metric: str, value: float | None) -> None:
    assert Objective(metric, "min").value(RESULT, {"val/loss": 0.2}) == value


def test_a_target_that_was_not_reached_takes_for_ever() -> None:
    assert Objective("time_to_target", "min").value(RESULT | {"time_to_target": None}, {}) == math.inf


def test_the_mode_follows_from_the_target_or_the_kind_of_metric() -> None:
    assert objective("val/acc", None, TARGET) == Objective("val/acc", "max")
    assert objective("time_to_target.steps", None, TARGET) == Objective("time_to_target.steps", "min")
    assert objective("val/loss", "min", TARGET) == Objective("val/loss", "min")


@pytest.mark.parametrize("metric", ["val/loss", "time_to_target.epochs"])
def test_what_cannot_be_known_is_asked_for(metric: str) -> None:
    assert isinstance(objective(metric, None, TARGET), Fault)


def test_a_time_needs_a_target() -> None:
    assert isinstance(objective("time_to_target", None, TARGET | {"value": None}), Fault)
