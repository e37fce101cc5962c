import doctest
import inspect
import math
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedulers

from kasoku import schedules


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(schedules).failed == 0


TABLE = [
    ("constant", {}, 0, None, 1.0),
    ("constant", {}, 10**9, 5, 1.0),
    ("step", {"every": 10, "gamma": 0.1}, 9, None, 1.0),
    ("step", {"every": 10, "gamma": 0.1}, 10, 100, 0.1),
    ("step", {"every": 10, "gamma": 0.5}, 99, 100, 0.5**9),
    ("step", {"every": 1, "gamma": 1.0}, 99, 100, 1.0),
    ("multistep", {"milestones": [3], "gamma": 0.1}, 2, None, 1.0),
    ("multistep", {"milestones": [3], "gamma": 0.1}, 3, None, 0.1),
    ("multistep", {"milestones": [3, 7, 9], "gamma": 0.5}, 8, 10, 0.25),
    ("multistep", {"milestones": [3, 7, 9], "gamma": 0.5}, 9, 10, 0.125),
    ("exponential", {"every": 10, "gamma": 0.1}, 0, None, 1.0),
    ("exponential", {"every": 10, "gamma": 0.1}, 5, None, 10**-0.5),
    ("exponential", {"every": 10, "gamma": 0.1}, 20, 100, 0.01),
    ("time_based", {"every": 1, "rate": 0.01}, 300, None, 0.25),
    ("time_based", {"every": 10, "rate": 3.0}, 10, 100, 0.25),
    ("inverse_sqrt", {"timescale": 100}, 0, None, 1.0),
    ("inverse_sqrt", {"timescale": 100}, 800, None, 1 / 3),
    ("linear", {}, 0, 100, 1.0),
    ("linear", {}, 99, 100, 0.01),
    ("linear", {"final_factor": 0.1}, 50, 100, 0.55),
    ("linear", {"final_factor": 0.1}, 100, 100, 0.1),
    ("polynomial", {"power": 0.5}, 75, 100, 0.5),
    ("polynomial", {"power": 3, "final_factor": 0.2}, 50, 100, 0.3),
    ("cosine", {}, 25, 100, (1 + math.cos(math.pi / 4)) / 2),
    ("cosine", {"final_factor": 0.1}, 50, 100, 0.55),
    ("cosine", {"final_factor": 0.1}, 100, 100, 0.1),
    ("cosine_restarts", {"period": 10}, 9, None, (1 + math.cos(0.9 * math.pi)) / 2),
    ("cosine_restarts", {"period": 10}, 10, None, 1.0),
    ("cosine_restarts", {"period": 10, "multiplier": 3, "final_factor": 0.5}, 25, 40, 0.75),
    ("cosine_restarts", {"period": 1}, 10**15, None, 1.0),
    ("cosine_restarts", {"period": 10, "multiplier": 3}, 40, 200, 1.0),
    ("wsd", {"decay": 20}, 80, 100, 1.0),
    ("wsd", {"decay": 20}, 85, 100, 0.5),
    ("wsd", {"decay": 20, "anneal": "linear"}, 85, 100, 0.75),
    ("wsd", {"decay": 20, "anneal": "linear", "final_factor": 0.2}, 90, 100, 0.6),
    ("wsd", {"decay": 20, "anneal": "cosine"}, 85, 100, (1 + math.cos(math.pi / 4)) / 2),
    ("wsd", {"decay": 100, "anneal": "linear"}, 50, 100, 0.5),
    ("wsd", {"decay": 20, "anneal": "linear", "horizon": 200}, 99, 100, 1.0),
    ("wsd", {"decay": 20, "anneal": "linear", "horizon": 50}, 40, 100, 0.5),
    ("wsd", {"decay": 20, "anneal": "linear", "horizon": 50}, 60, 100, 0.0),
    ("onecycle", {"rise": 30}, 0, 100, 0.04),
    ("onecycle", {"rise": 30}, 30, 100, 1.0),
    ("onecycle", {"rise": 30}, 100, 100, 0.04 / 1e4),
    ("onecycle", {"rise": 30, "start_factor": 0.1, "anneal": "linear"}, 15, 100, 0.55),
    ("onecycle", {"rise": 30, "final_factor": 0.5, "anneal": "linear"}, 65, 100, 0.75),
    ("onecycle_momentum", {"rise": 30, "low_factor": 0.8}, 0, 100, 1.0),
    ("onecycle_momentum", {"rise": 30, "low_factor": 0.8}, 30, 100, 0.8),
    ("onecycle_momentum", {"rise": 30, "low_factor": 0.8, "anneal": "linear"}, 65, 100, 0.9),
    ("cyclic", {"rise": 10, "fall": 30}, 0, None, 0.1),
    ("cyclic", {"rise": 10, "fall": 30}, 10, None, 1.0),
    ("cyclic", {"rise": 10, "fall": 30}, 25, None, 0.55),
    ("cyclic", {"rise": 10, "fall": 30}, 40, None, 0.1),
    ("cyclic", {"rise": 10, "fall": 10, "mode": "triangular2"}, 30, None, 0.55),
    ("cyclic", {"rise": 10, "fall": 10, "mode": "exp_range", "gamma": 0.25}, 10, None, 0.55),
    ("cyclic_momentum", {"rise": 10, "fall": 30, "low_factor": 0.8}, 10, None, 0.8),
    ("cyclic_momentum", {"rise": 10, "fall": 30, "low_factor": 0.8}, 40, None, 1.0),
]


@pytest.mark.parametrize(("name", "shape", "step", "total", "factor"), TABLE)
def test_factors_in_closed_form(name, shape, step, total, factor):
    assert getattr(schedules, name)(step, total, **shape) == pytest.approx(factor, rel=1e-12, abs=1e-15)


def test_the_table_covers_every_schedule():
    public = {
        name for name, f in inspect.getmembers(schedules, inspect.isfunction) if f.__module__ == schedules.__name__
    }
    assert {row[0] for row in TABLE} == {name for name in public if name[0] != "_"} - {"check_shape"}


def test_inverse_sqrt_after_a_linear_warmup_is_the_schedule_of_the_transformer():
    warmup = 400
    peak = 512**-0.5 * warmup**-0.5
    for s in (401, 1000, 20_000):
        published = 512**-0.5 * min(s**-0.5, s * warmup**-1.5)
        assert peak * schedules.inverse_sqrt(s - warmup, None, timescale=warmup) == pytest.approx(published, rel=1e-12)


TORCH = {
    "step": (partial(torch_schedulers.StepLR, step_size=7, gamma=0.3), partial(schedules.step, every=7, gamma=0.3)),
    "multistep": (
        partial(torch_schedulers.MultiStepLR, milestones=[30, 80, 90], gamma=0.1),
        partial(schedules.multistep, milestones=[30, 80, 90]),
    ),
    "exponential": (
        partial(torch_schedulers.ExponentialLR, gamma=0.97),
        partial(schedules.exponential, every=1, gamma=0.97),
    ),
    "linear": (
        partial(torch_schedulers.LinearLR, start_factor=1.0, end_factor=0.1, total_iters=100),
        partial(schedules.linear, final_factor=0.1),
    ),
    "polynomial": (
        partial(torch_schedulers.PolynomialLR, total_iters=100, power=0.9),
        partial(schedules.polynomial, power=0.9),
    ),
    "cosine": (
        partial(torch_schedulers.CosineAnnealingLR, T_max=100, eta_min=0.02),
        partial(schedules.cosine, final_factor=0.02),
    ),
    "cosine_restarts": (
        partial(torch_schedulers.CosineAnnealingWarmRestarts, T_0=9, T_mult=2, eta_min=0.02),
        partial(schedules.cosine_restarts, period=9, multiplier=2, final_factor=0.02),
    ),
    "cosine_restarts, equal periods": (
        partial(torch_schedulers.CosineAnnealingWarmRestarts, T_0=9),
        partial(schedules.cosine_restarts, period=9),
    ),
    "onecycle": (
        partial(torch_schedulers.OneCycleLR, max_lr=1.0, total_steps=101, pct_start=31 / 101),
        partial(schedules.onecycle, rise=30),
    ),
    "onecycle, linear": (
        partial(torch_schedulers.OneCycleLR, max_lr=1.0, total_steps=101, pct_start=31 / 101, anneal_strategy="linear"),
        partial(schedules.onecycle, rise=30, anneal="linear"),
    ),
    "triangular": (
        partial(torch_schedulers.CyclicLR, base_lr=0.1, max_lr=1.0, step_size_up=8, step_size_down=5),
        partial(schedules.cyclic, rise=8, fall=5),
    ),
    "triangular2": (
        partial(
            torch_schedulers.CyclicLR, base_lr=0.1, max_lr=1.0, step_size_up=8, step_size_down=5, mode="triangular2"
        ),
        partial(schedules.cyclic, rise=8, fall=5, mode="triangular2"),
    ),
    "exp_range": (
        partial(torch_schedulers.CyclicLR, base_lr=0.1, max_lr=1.0, step_size_up=8, mode="exp_range", gamma=0.99),
        partial(schedules.cyclic, rise=8, fall=8, mode="exp_range", gamma=0.99**16),
    ),
}
MOMENTUM = {
    "onecycle": partial(schedules.onecycle_momentum, rise=30),
    "onecycle, linear": partial(schedules.onecycle_momentum, rise=30, anneal="linear"),
    "triangular": partial(schedules.cyclic_momentum, rise=8, fall=5),
    "triangular2": partial(schedules.cyclic_momentum, rise=8, fall=5, mode="triangular2"),
    "exp_range": partial(schedules.cyclic_momentum, rise=8, fall=8, mode="exp_range", gamma=0.99**16),
}


def torch_curves(scheduler, steps):
    """The lr and the momentum at each of `steps` steps, as torch sets them on an SGD of lr 1 and momentum 0.9."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    stepped = scheduler(optimizer)
    rows = []
    for _ in range(steps):
        rows.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        stepped.step()
    return zip(*rows, strict=True)


@pytest.mark.parametrize("name", TORCH)
def test_the_lr_is_that_of_torch(name):
    theirs, ours = TORCH[name]
    lrs, _ = torch_curves(theirs, 100)
    assert [ours(s, 100) for s in range(100)] == pytest.approx(list(lrs), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", MOMENTUM)
def test_the_momentum_is_that_of_torch(name):
    _, momenta = torch_curves(TORCH[name][0], 100)
    base = 0.95 if "onecycle" in name else 0.9
    assert [base * MOMENTUM[name](s, 100) for s in range(100)] == pytest.approx(list(momenta), rel=1e-12)
