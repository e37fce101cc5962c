import doctest
import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ConstantLR, LinearLR

from kasoku import warmups
from kasoku.signatures import check_call

RAMPS = {
    name: ramp for name, ramp in inspect.getmembers(warmups, inspect.isfunction) if ramp.__module__ == warmups.__name__
}
LENGTHS = st.integers(1, 10**9) | st.integers(1, 5)


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(warmups).failed == 0


@pytest.mark.parametrize(
    ("name", "shape", "step", "length", "factor"),
    [
        ("none", {}, 0, 0, 1.0),
        ("constant", {}, 0, 5, 0.1),
        ("constant", {"factor": 0.3}, 4, 5, 0.3),
        ("linear", {}, 0, 1, 1 / 2),
        ("linear", {}, 0, 9, 1 / 10),
        ("linear", {}, 8, 9, 9 / 10),
        ("linear", {"start_factor": 0.5}, 0, 9, 0.55),
        ("exponential", {"start_factor": 0.01}, 0, 1, 0.1),
        ("exponential", {"start_factor": 0.0001}, 1, 3, 0.01),
        ("cosine", {}, 0, 1, 0.5),
        ("cosine", {}, 0, 2, (1 - math.cos(math.pi / 3)) / 2),
        ("cosine", {"start_factor": 0.2}, 1, 3, 0.6),
    ],
)
def test_factors_in_closed_form(name, shape, step, length, factor):
    assert RAMPS[name](step, length, **shape) == pytest.approx(factor, rel=1e-12)


def _lrs(scheduler, optimizer, steps):
    for _ in range(steps):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def test_constant_and_linear_are_those_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = LinearLR(optimizer, start_factor=1 / 51, total_iters=50)
    assert [warmups.linear(s, 50) for s in range(50)] == pytest.approx(list(_lrs(linear, optimizer, 50)), rel=1e-12)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    constant = ConstantLR(optimizer, factor=0.2, total_iters=5)
    assert [warmups.constant(s, 5, factor=0.2) for s in range(5)] == pytest.approx(list(_lrs(constant, optimizer, 5)))


@pytest.mark.parametrize("name", RAMPS)
@given(length=LENGTHS, data=st.data())
def test_a_ramp_never_stands_at_zero_never_falls_and_never_passes_the_base(name, length, data):
    length = 0 if name == "none" else length
    step = data.draw(st.integers(0, max(length - 1, 0)))
    here, after = RAMPS[name](step, length), RAMPS[name](min(step + 1, length), length)
    assert 0 < here <= 1
    assert after >= here - 1e-15
    assert here == RAMPS[name](step, length)


@pytest.mark.parametrize("name", ["linear", "exponential", "cosine"])
@given(length=LENGTHS)
def test_the_step_after_a_ramp_would_be_exactly_at_the_base(name, length):
    assert RAMPS[name](length, length) == 1.0


@pytest.mark.parametrize("name", ["linear", "cosine"])
@given(length=LENGTHS, start=st.floats(0, 1, exclude_max=True), data=st.data())
def test_a_ramp_starts_above_its_start_factor(name, length, start, data):
    step = data.draw(st.integers(0, length - 1))
    assert start <= RAMPS[name](step, length, start_factor=start) <= 1


@pytest.mark.parametrize(
    ("name", "settings", "refused"),
    [
        ("none", {"length": 0}, []),
        ("none", {"length": "5%"}, ["length"]),
        ("none", {"length": 1}, ["length"]),
        ("linear", {"length": 0, "start_factor": 0}, []),
        ("linear", {"length": "200%", "start_factor": 0.99}, ["length"]),
        ("linear", {"length": "5 ep", "start_factor": 1}, ["length", "start_factor"]),
        ("linear", {"length": -5, "start_factor": -0.1}, ["length", "start_factor"]),
        ("linear", {"length": "3epochs", "step": 3}, ["length", "step"]),
        ("constant", {"length": "3ep", "factor": 1}, []),
        ("constant", {"length": "3ep", "factor": 1.1}, ["factor"]),
        ("constant", {"length": "3ep", "factor": 0}, ["factor"]),
        ("exponential", {"length": 5, "start_factor": 0.99}, []),
        ("exponential", {"length": 5, "start_factor": 0}, ["start_factor"]),
        ("exponential", {"length": 5, "start_factor": 1}, ["start_factor"]),
        ("cosine", {"length": 5, "start_factor": math.nan}, ["start_factor"]),
    ],
)
def test_settings_out_of_range_are_faults_of_their_keys(name, settings, refused):
    faults = check_call(RAMPS[name], settings, "warmup.")
    assert [fault.key for fault in faults] == [f"warmup.{key}" for key in refused]
