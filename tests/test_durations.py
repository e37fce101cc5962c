import doctest
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasoku import durations
from kasoku.durations import Clock, parse, to_steps, violated

CLOCK = Clock(total=1000, epoch=40, samples=128, tokens=4096)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(durations).failed == 0


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        (0, 0),
        (1, 1),
        (500, 500),
        (1000.0, 1000),
        ("500", 500),
        ("1e3", 1000),
        ("2.5e1", 25),
        ("3ep", 120),
        ("0.5ep", 20),
        ("1e1ep", 400),
        ("0ep", 0),
        ("10%", 100),
        ("12.5%", 125),
        ("100%", 1000),
        ("0%", 0),
        ("0.0%", 0),
        ("128samples", 1),
        ("1280samples", 10),
        ("50000samples", 391),
        ("1e6tokens", 244),
        ("0tokens", 0),
    ],
)
def test_every_unit_converts(length, steps):
    assert to_steps(length, CLOCK) == steps


@pytest.mark.parametrize(
    ("length", "total", "steps"),
    [("10%", 4, 1), ("0.001%", 1000, 1), ("50%", 1, 1), ("50%", 5, 2), ("50%", 7, 4), ("33%", 10, 3), ("35%", 10, 4)],
)
def test_percent_are_rounded_half_to_even_and_at_least_one_step(length, total, steps):
    assert to_steps(length, Clock(total)) == steps


def test_rounding_does_not_depend_on_the_noise_of_floats():
    """A float would not do: 0.57 * 50 < 28.5."""
    assert to_steps("57%", Clock(50)) == round(Fraction(57, 2)) == 28
    assert to_steps("29%", Clock(150)) == round(Fraction(87, 2)) == 44


def test_any_length_that_is_not_zero_is_at_least_one_step():
    assert [to_steps(x, CLOCK) for x in ("0.001ep", "1samples", "1tokens", "1e-9%")] == [1, 1, 1, 1]


@given(percent=st.integers(0, 100), total=st.integers(1, 10**12))
def test_percent_stay_within_the_run(percent, total):
    steps = to_steps(f"{percent}%", Clock(total))
    assert (percent > 0) <= steps <= total
    assert abs(steps - percent * total / 100) <= 1 + 1e-9 * total


@given(st.integers(0, 10**18 - 1))
def test_a_number_of_steps_is_itself_as_number_and_as_text(steps):
    assert to_steps(steps, Clock(None)) == to_steps(str(steps), Clock(None)) == steps


@pytest.mark.parametrize(
    ("length", "missing"),
    [
        ("10%", "the run's total steps"),
        ("3ep", "epoch"),
        ("5samples", "samples of a step"),
        ("5tokens", "tokens of a step"),
    ],
)
def test_what_is_missing_for_the_conversion_is_named(length, missing):
    with pytest.raises(ValueError, match=missing):
        to_steps(length, Clock(total=None))
    assert to_steps(7, Clock(total=None)) == 7


BAD_TEXTS = "5ep_ _5ep 3epochs 3e ep % -5 -5% +5 1e400samples 1e999999999ep nan inf .5ep 5.ep 0.5 2.5 1_000 0x10 10%% "
BAD_TEXTS += "3EP \u0663ep 10steps 1,5ep"
BAD = [*BAD_TEXTS.split(), "", "5 ep", "5ep\n", " 5", "9" * 5000, True, False, None, 2.5, -5, -1, 10**30]
BAD += [math.nan, math.inf, -math.inf, [5], {"length": 5}, b"5", 5 + 0j]


@pytest.mark.parametrize("length", BAD, ids=lambda length: repr(length)[:20])
def test_what_is_no_length_is_answered_by_the_grammar(length):
    for example in ("500", "3ep", "10%", "50000samples", "1e6tokens"):
        assert example in violated(length)
    with pytest.raises(ValueError, match="must be a length"):
        to_steps(length, CLOCK)


@pytest.mark.parametrize("length", ["100.1%", "200%", "1e3%"])
def test_more_than_the_run_is_refused(length):
    assert violated(length) == "must be at most 100% of the run"
    with pytest.raises(ValueError, match="at most 100%"):
        to_steps(length, CLOCK)


@pytest.mark.parametrize("length", [0, "0", "0%", "0ep", "0.0samples", "0e5tokens"])
def test_zero_is_refused_where_a_step_is_needed(length):
    assert violated(length) == "" == violated(length, least=0)
    assert violated(length, least=1).startswith("must be a length of 1 step or more")


def test_least_counts_steps_and_not_epochs():
    assert violated(4, least=5).startswith("must be a length of 5 steps or more")
    assert violated("1ep", least=5) == "" == violated(5, least=5)


@given(st.text("0123456789.e+-%psamlotkn ", max_size=9) | st.integers() | st.floats() | st.none() | st.booleans())
def test_a_length_either_converts_or_is_said_to_be_wrong(length):
    if violated(length):
        with pytest.raises(ValueError, match="must be"):
            to_steps(length, CLOCK)
    else:
        assert to_steps(length, CLOCK) >= 0


def test_parse_gives_number_and_unit():
    assert parse("12.5%") == (Fraction(25, 2), "%")
    assert parse("1e6tokens") == (10**6, "tokens")
    assert parse(3) == (3, "")
