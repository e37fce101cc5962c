"""What a sweep says of its parameters at the end."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from kasoku.search.agenda import Drawn
from kasoku.search.objective import Objective
from kasoku.search.record import importance
from kasoku.search.samplers import make_sampler
from kasoku.search.space import parse
from kasoku.search.study import Book, End, Start, open_book, open_storage, open_study

SPACE = parse(["x=interval(0,1)", "y=interval(0,1)"], {}, {})[1]
Worth = Callable[[float, float], list[float | None]]


def searched(path: Path, n_trials: int, worth: Worth, *modes: str, state: str = "completed") -> Book:
    objectives = [Objective(f"val/{index}", mode) for index, mode in enumerate(modes or ("max",))]
    study, _ = open_study("s", open_storage(str(path / "journal")), objectives, ["a=1"])
    study.sampler = make_sampler("random", 0, SPACE)
    book = open_book(study, Drawn(n_trials, SPACE, []))
    while asked := book.ask():
        trial, point = asked
        values = dict(point.parameters)
        book.start(trial, Start([], values, "", book.me))
        book.end(trial, End(state, "", worth(values["x"], values["y"])))
    return book


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_parameter_that_decides_has_nearly_all_of_the_importance(tmp_path: Path, mode: str) -> None:
    """Mutants: `return {}`; the shares of other names; shares that are no shares."""
    found = importance(searched(tmp_path, 30, lambda x, y: [x + 0.01 * y], mode))
    assert list(found) == ["x", "y"]
    assert found["x"] > 0.9
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)


def test_four_trials_are_the_fewest_that_tell_something(tmp_path: Path) -> None:
    """Mutants: 3, 5, `<=`."""
    assert importance(searched(tmp_path / "3", 3, lambda x, y: [x])) == {}
    assert importance(searched(tmp_path / "4", 4, lambda x, y: [x])) != {}


def test_trials_that_are_all_alike_tell_nothing(tmp_path: Path) -> None:
    """Mutant: without the count of values; and one value that differs is enough."""
    assert importance(searched(tmp_path / "alike", 9, lambda x, y: [0.5])) == {}
    assert importance(searched(tmp_path / "two", 9, lambda x, y: [float(x > 0.5)])) != {}


def test_two_objectives_have_no_importance(tmp_path: Path) -> None:
    assert importance(searched(tmp_path, 9, lambda x, y: [x, y], "max", "min")) == {}


def test_a_target_that_was_never_reached_is_no_value(tmp_path: Path) -> None:
    """Mutant: without `isfinite`. Three reached it, of nine."""
    times = iter([1.0, 2.0, 3.0] + [float("inf")] * 6)
    assert importance(searched(tmp_path, 9, lambda x, y: [next(times)], "min")) == {}


def test_trials_that_failed_are_left_out(tmp_path: Path) -> None:
    assert importance(searched(tmp_path, 9, lambda x, y: [x], state="failed")) == {}


def test_it_is_ped_anova_whatever_optuna_takes_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, get = list[object](), optuna.importance.get_param_importances
    monkeypatch.setattr(optuna.importance, "get_param_importances", lambda *a, **k: asked.append(k) or get(*a, **k))
    assert importance(searched(tmp_path, 12, lambda x, y: [x])) != {}
    [given] = asked
    assert isinstance(given["evaluator"], optuna.importance.PedAnovaImportanceEvaluator)
