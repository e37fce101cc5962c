"""Faults: what the annotations demand, in words, and the report that a user reads."""

import functools
import math
import pickle
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, MinLen, Predicate, Unit
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from kasoku.faults import MISSING, ConfigError, Fault, nearest, report, show
from kasoku.signatures import check_call, has_lengths, is_length, violated

Steps = Annotated[int, Unit("steps"), Ge(1)]


def is_even(value: int) -> bool:
    """an even number"""
    return value % 2 == 0


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, 1),
        (float, 0.5),
        (int, 10**400),
        (bool, True),
        (str, ""),
        (None, None),
        (Any, object()),
        (Literal["a", 1], 1),
        (float | None, None),
        (Annotated[float, Gt(0)], 1e-30),
        (Annotated[float, Interval(ge=0, lt=1)], 0),
        (Annotated[float, Le(0)], -0.8),
        (Steps, "10%"),
        (Steps | None, None),
        (list[Steps], ["10%", 3]),
        (Sequence[int], (1, 2)),
        (tuple[float, float], [0.9, 0.999]),
        (tuple[int, ...], []),
        (Annotated[list[int], MinLen(1)], [1]),
        (Annotated[int, Predicate(is_even)], 4),
    ],
)
def test_what_satisfies(hint, value):
    assert violated(hint, value) == ""


@pytest.mark.parametrize(
    ("hint", "value", "must"),
    [
        (float, math.nan, "must be a finite number"),
        (float, math.inf, "must be a finite number"),
        (float, "0.1", "must be a finite number"),
        (float, True, "must be a finite number"),
        (int, 1.0, "must be a whole number"),
        (int, False, "must be a whole number"),
        (bool, 1, "must be true or false"),
        (str, 5, "must be a text"),
        (type(None), 0, "must be null"),
        (Literal["min", "max"], "mx", "must be one of min max, did you mean max?"),
        (Literal["min", "max"], 3, "must be one of min max"),
        (Literal[1, 2], True, "must be one of 1 2"),
        (Annotated[float, Gt(0)], -1, "must be a positive finite number"),
        (Annotated[float, Gt(0)], "abc", "must be a positive finite number"),
        (Annotated[float, Gt(0)], None, "must be a positive finite number"),
        (Annotated[int, Ge(1)], 0, "must be a whole number >= 1"),
        (Annotated[int, Ge(1)], 3.5, "must be a whole number >= 1"),
        (Annotated[float, Interval(gt=0, le=1)], 1.2, "must be a finite number > 0 and <= 1"),
        (Annotated[int, Ge(1)] | None, 0, "must be a whole number >= 1 or null"),
        (Steps | None, 0, "must be a length of 1 step or more"),
        (list[int], "1,2", "must be a list, such as [1,2]"),
        (list[int], [1, "a"], "must be a list in which each is a whole number, a is not"),
        (Annotated[list[int], MinLen(1)] | None, [1, "a"], "must be a list in which each is a whole number, a is not"),
        (Annotated[list[int], MinLen(1)] | None, [], "must be a list at least 1 long"),
        (list[Steps], [10, "5 ep"], "must be a list in which each is a length"),
        (tuple[float, float], [0.9], "must be a list of 2 values"),
        (tuple[float, float], 0.9, "must be a list of 2 values"),
        (Annotated[list[int], MinLen(2)], [1], "must be a list at least 2 long"),
        (Annotated[int, Predicate(is_even)], 3, "must be an even number"),
        (Annotated[int, Predicate(is_even)], "x", "must be an even number"),
    ],
)
def test_what_does_not(hint, value, must):
    assert violated(hint, value).startswith(must)


@given(st.floats(), st.floats(-5, 5), st.floats(-5, 5))
def test_a_range_is_the_comparison(value, low, high):
    within = math.isfinite(value) and low < value <= high
    assert (violated(Annotated[float, Interval(gt=low, le=high)], value) == "") == within


def decay(step: int, total: int | None, *, every: Steps, gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1) -> float:
    return gamma ** (step // every)


class Net:
    def __init__(self, *, width: Annotated[int, Ge(1)] = 8, learning_rate: float = 0.1):
        pass


def test_a_call_is_checked_with_all_its_faults_together():
    faults = check_call(decay, {"every": 0, "gamma": 1.2, "gama": 0.5}, "scheduler.")
    assert [fault.key for fault in faults] == ["scheduler.every", "scheduler.gamma", "scheduler.gama"]
    assert "did you mean gamma?" in str(faults[2])
    assert check_call(decay, {"every": "10%", "gamma": 1}) == []


def test_what_a_partial_has_bound_is_no_key_any_more():
    fault = check_call(functools.partial(decay, 0, 0), {"total": 5})[0]
    assert str(fault) == "total=5: no such key, the keys are: every gamma"


def test_the_arguments_of_a_class_are_those_of_its_constructor():
    faults = check_call(Net, {"width": 0, "lr": 0.1, "self": 1})
    assert [fault.fix for fault in faults] == ["", "did you mean learning_rate?", ""]


def test_further_keywords_are_welcome_where_the_callable_takes_them():
    def swallow(a: int, **others: object) -> None: ...

    assert check_call(swallow, {"a": 1, "b": 2}) == []
    assert len(check_call(swallow, {"a": "x"})) == 1


def test_lengths_are_found_inside_other_annotations():
    assert is_length(Steps)
    assert not is_length(Steps | None)
    assert has_lengths(Steps | None)
    assert has_lengths(Annotated[Sequence[Steps], MinLen(1)])
    assert not has_lengths(Annotated[int, Ge(1)])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (0.1, "0.1"),
        ("3ep", "3ep"),
        ("0.1", "'0.1'"),
        ("", "''"),
        ("null", "'null'"),
        ([1, None, "a"], "[1,null,a]"),
        ({"a": [False]}, "{a:[false]}"),
        ("x" * 100, "x" * 80 + "..."),
    ],
)
def test_values_are_shown_as_they_are_typed(value, shown):
    assert show(value) == shown


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(-1e9, 1e9)
    | st.from_regex("[a-z]{1,9}", fullmatch=True)
)


@given(st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_what_is_shown_reads_as_the_same_value(value):
    assert OverridesParser.create().parse_override(f"key={show(value)}").value() == value


@pytest.mark.parametrize(
    ("word", "options", "meant"),
    [
        ("nestrov", ["nesterov", "adam"], "nesterov"),
        ("lrr", ["lr", "eps"], "lr"),
        ("learning_rate", ["eps", "lr", "decay"], "lr"),
        ("wd", ["d", "momentum", "weight_decay"], "weight_decay"),
        ("epochs", ["seed", "max_epochs"], "max_epochs"),
        ("xyz", ["lr", "d"], None),
        ("anything", [], None),
    ],
)
def test_the_nearest_option(word, options, meant):
    assert nearest(word, options) == (f"did you mean {meant}?" if meant else "")


def test_a_report_is_short_however_much_is_wrong():
    faults = [Fault(f"key{i}", f"a\nb{i}", "must\nfit", "do\nthis") for i in range(30)]
    lines = report(faults).splitlines()
    assert len(lines) <= 12
    assert lines[0] == "wrong configuration, 30 faults:"
    assert lines[1] == "  key0=a b0: must fit; do this"
    assert lines[-1] == "  ... and 21 more"


def test_a_fault_without_a_value_shows_its_key_alone():
    assert str(Fault("optimizer.lr", MISSING, "must be given")) == "optimizer.lr: must be given"


def test_an_error_goes_from_process_to_process():
    error = ConfigError(Fault("seed", -1, "must be >= 0"), Fault("mode", MISSING, "must be given"))
    twin = pickle.loads(pickle.dumps(error))
    assert str(twin) == str(error)
    assert twin.faults == error.faults
    assert twin.faults[1].value is MISSING
