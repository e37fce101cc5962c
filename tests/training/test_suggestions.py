"""The rules of an LR range test on curves whose answer is known in closed form."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasoku.training.suggestions import (
    RULES,
    Curve,
    RangeTest,
    Smoothing,
    minimum,
    slide,
    steepest,
    suggest,
    valley,
)

TEST = RangeTest()
LRS = [TEST.lr(step) for step in range(100)]


def point(rule: Callable[..., float], losses: Sequence[float]) -> int:
    """The number of the point that `rule` chooses."""
    return LRS.index(rule(LRS[: len(losses)], losses))


def test_the_lr_grows_by_the_same_ratio_from_start_to_just_below_end():
    assert LRS[0] == 1e-7
    assert np.diff(np.log(LRS)) == pytest.approx(math.log(1e8) / 100)
    assert LRS[-1] * 10 ** (8 / 100) == pytest.approx(10)


@pytest.mark.parametrize(("first", "last"), [(10, 70), (30, 60), (5, 8), (40, 84)])
def test_valley_is_the_middle_of_the_longest_descent(first, last):
    """The descent has L points; fastai counts its start one point too early, and so do we."""
    losses = [1.0 - min(max(i - first, 0), last - first) / 100 for i in range(85)]
    length = last - first + 1
    assert point(valley, losses) == last - length + length // 3 + length // 6


def test_valley_takes_the_longest_descent_and_not_the_deepest():
    long, deep = [4.0 - i / 50 for i in range(30)], [9.0, 2.0, 1.0, 0.5]
    assert point(valley, [5.0, *long, *deep, *([7.0] * 20)]) < 30


def test_valley_reads_over_the_noise_in_a_descent():
    """It is the longest falling subsequence, not the longest run."""
    losses = [2.0 - i / 50 + (0.5 if i % 7 == 3 else 0.0) for i in range(60)]
    assert 25 < point(valley, losses) < 35


def test_steepest_is_where_the_loss_falls_fastest():
    assert point(steepest, [-math.tanh((i - 42.5) / 5) for i in range(85)]) == 42


def test_minimum_is_a_tenth_of_the_lr_of_the_least_loss():
    losses = [(i - 60) ** 2 for i in range(85)]
    assert minimum(LRS[:85], losses) == LRS[60] / 10


def test_slide_rests_before_the_slopes_at_its_ends_agree():
    """Here a plain, a descent, and the divergence at the end, which it has to slide past."""
    losses = [1.0] * 40 + [1.0 - 0.02 * i for i in range(30)] + [0.4 + 0.3 * i**2 for i in range(6)]
    slopes = np.gradient(losses)
    agree = next(left for left in range(len(losses) - 16, -1, -1) if abs(slopes[left + 15] - slopes[left]) <= 0.005)
    assert agree == 54  # both ends on the descent
    assert point(slide, losses) == 55


def test_a_flat_curve_has_the_answers_that_fastai_gives():
    flat = [1.0] * 85
    assert (point(slide, flat), point(valley, flat), point(steepest, flat)) == (85 - 16, 0, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-100, 100), min_size=16, max_size=80))
def test_suggestions_are_points_of_the_curve_and_ignore_where_the_loss_lies(losses):
    lrs = LRS[: len(losses)]
    assert minimum(lrs, losses) * 10 == pytest.approx(lrs[losses.index(min(losses))])
    for rule in (valley, slide, steepest):
        assert rule(lrs, losses) == rule(lrs, [loss + 1000 for loss in losses])
        assert rule(lrs, losses) in lrs


def test_the_first_tenth_and_the_last_five_points_are_left_out():
    losses = [-100.0] * 10 + [(i - 50) ** 2 / 1000 for i in range(10, 95)] + [-100.0] * 5
    found = suggest(Curve(LRS, losses, losses), 100)
    assert found["minimum"] == float(f"{LRS[50] / 10:.3g}")
    assert list(found) == list(RULES) == ["valley", "slide", "steepest", "minimum"]


def test_a_curve_that_is_too_short_is_refused():
    suggest(Curve(LRS[:31], [1.0] * 31, [1.0] * 31), 100)
    with pytest.raises(ValueError, match="only 30 of 100 steps came before the loss diverged"):
        suggest(Curve(LRS[:30], [1.0] * 30, [1.0] * 30), 100)


def test_the_average_is_the_weighted_mean_of_what_was_seen():
    values, memory = [3.0, 1.0, 4.0, 1.0, 5.0], 0.98
    smooth = Smoothing(memory)
    averages = [smooth(value) for value in values]
    weights = [(1 - memory) * memory ** (4 - i) for i in range(5)]
    assert averages[0] == pytest.approx(3.0)
    assert averages[-1] == pytest.approx(np.dot(weights, values) / (1 - memory**5))
