"""The join of warmup and decay, the crossing to torch, and what is refused."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kasoku import schedules, warmups
from kasoku.durations import Clock
from kasoku.faults import ConfigError
from kasoku.recipe import Recipe

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAMW = partial(torch.optim.AdamW, lr=0.01, betas=(0.9, 0.98))
SMOOTH = [
    partial(schedules.constant),
    partial(schedules.linear),
    partial(schedules.polynomial),
    partial(schedules.cosine),
    partial(schedules.exponential, every="10%"),
    partial(schedules.time_based, every="10%"),
    partial(schedules.inverse_sqrt, timescale="10%"),
    partial(schedules.onecycle, rise="30%"),
    partial(schedules.cyclic, rise="20%", fall="20%"),
]
RAMPS = [warmups.linear, warmups.exponential, warmups.cosine]


def lrs(
    recipe: Recipe, clock: Clock, start: int = 0, state: dict | None = None, steps: int | None = None
) -> list[float]:
    """The lr of each step of a run, through the real optimizer and scheduler."""
    configured = recipe.configure(nn.Linear(2, 2), clock)
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    if state:
        scheduler.load_state_dict(state)
    found = []
    for _ in range(start, steps or clock.total or 0):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_linear_warmup_then_step_decay_is_its_closed_form():
    recipe = Recipe(SGD, partial(schedules.step, every="10%", gamma=0.5), partial(warmups.linear, length="5%"))
    expected = [0.1 * ((s + 1) / 11 if s < 10 else 0.5 ** ((s - 10) // 20)) for s in range(200)]
    assert lrs(recipe, Clock(total=200)) == pytest.approx(expected, abs=1e-12)


@given(st.sampled_from(SMOOTH), st.sampled_from(RAMPS), st.integers(60, 400), st.integers(1, 15))
def test_the_joint_is_continuous(schedule, ramp, total, length):
    """The largest jump at the joint is that of the ramp's own last step."""
    curve = Recipe(SGD, schedule, partial(ramp, length=length)).curves(Clock(total=total))["lr"]
    ramp_only = Recipe(SGD, partial(schedules.constant), partial(ramp, length=length)).curves(Clock(total=total))["lr"]
    first = curve(length)
    assert curve(length - 1) == pytest.approx(first * ramp_only(length - 1), rel=1e-9)
    assert curve(length - 1) <= first + 1e-12


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(SMOOTH), st.integers(0, 8), st.integers(24, 60), st.data())
def test_a_run_cut_into_resumes_equals_the_straight_run(schedule, length, total, data):
    recipe = Recipe(SGD, schedule, partial(warmups.linear, length=length))
    straight = lrs(recipe, Clock(total=total))
    cut = data.draw(st.integers(0, total - 1))
    assert lrs(recipe, Clock(total=total), start=cut, state={"step": cut}) == pytest.approx(straight[cut:], abs=1e-15)


def test_the_state_is_one_integer():
    scheduler = Recipe(SGD, partial(schedules.cosine)).configure(nn.Linear(2, 2), Clock(total=9))["lr_scheduler"][
        "scheduler"
    ]
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.state_dict() == {"step": 1}


def test_a_changed_horizon_and_base_lr_hold_from_the_first_resumed_step():
    """The optimizer's state brings the old lr and momentum back; the scheduler's state must win."""
    old = Recipe(SGD, partial(schedules.cosine)).configure(nn.Linear(2, 2), Clock(total=100))
    new_recipe = Recipe(partial(torch.optim.SGD, lr=0.02, momentum=0.5), partial(schedules.cosine))
    new = new_recipe.configure(nn.Linear(2, 2), Clock(total=300))
    new["optimizer"].load_state_dict(old["optimizer"].state_dict())
    new["lr_scheduler"]["scheduler"].load_state_dict({"step": 60})
    group = new["optimizer"].param_groups[0]
    assert group["lr"] == pytest.approx(0.02 * schedules.cosine(60, 300))
    assert group["momentum"] == 0.5


def test_a_step_that_the_scaler_skips_does_not_advance_the_schedule():
    net = nn.Linear(2, 1)
    configured = Recipe(SGD, partial(schedules.linear)).configure(net, Clock(total=10))
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for poison, expected in ((False, 1), (True, 1), (False, 2)):
        optimizer.zero_grad()
        scaler.scale(net(torch.full((1, 2), float("inf") if poison else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        assert scheduler.last_epoch == expected


def test_every_group_keeps_its_own_base_lr():
    recipe = Recipe(SGD, partial(schedules.linear), drives={})
    object.__setattr__(recipe, "groups", type(recipe.groups)(rules=[{"match": "1.*", "lr": 0.1}]))
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    configured = recipe.configure(net, Clock(total=4))
    configured["lr_scheduler"]["scheduler"].move_to(2)
    assert sorted({round(g["lr"], 9) for g in configured["optimizer"].param_groups}) == [0.005, 0.05]


def test_momentum_is_driven_where_the_optimizer_has_one():
    drives = {"momentum": partial(schedules.linear, final_factor=0.5), "weight_decay": partial(schedules.linear)}
    for optimizer, key in ((SGD, "momentum"), (ADAMW, "betas")):
        configured = Recipe(optimizer, drives=drives).configure(nn.Linear(2, 2), Clock(total=10))
        configured["lr_scheduler"]["scheduler"].move_to(5)
        value = configured["optimizer"].param_groups[0][key]
        assert value == (pytest.approx(0.675) if key == "momentum" else pytest.approx((0.675, 0.98)))
    plain = Recipe(partial(torch.optim.SGD, lr=0.1), drives=drives).configure(nn.Linear(2, 2), Clock(total=10))
    plain["lr_scheduler"]["scheduler"].move_to(5)
    assert plain["optimizer"].param_groups[0]["momentum"] == 0


def test_untuned_warmup_takes_the_optimizers_own_beta2():
    untuned = partial(warmups.linear, length="untuned")
    assert Recipe(ADAMW, warmup=untuned).warmup_length(Clock(total=1000)) == 100
    default = partial(torch.optim.AdamW, lr=0.01)
    assert Recipe(default, warmup=untuned).warmup_length(Clock(total=5000)) == 2000
    with pytest.raises(ConfigError, match="beta2"):
        Recipe(SGD, warmup=untuned).warmup_length(Clock(total=1000))


@pytest.mark.parametrize(
    ("schedule", "warmup", "clock", "words"),
    [
        (partial(schedules.cosine), partial(warmups.none), Clock(total=None), ["scheduler=cosine", "max_steps"]),
        (
            partial(schedules.linear),
            partial(warmups.linear, length=50),
            Clock(total=40),
            ["warmup.length=50", "50", "40"],
        ),
        (partial(schedules.linear), partial(warmups.linear, length="3ep"), Clock(total=40), ["warmup.length=3ep"]),
        (
            partial(schedules.multistep, milestones=[5, 400]),
            partial(warmups.none),
            Clock(total=40),
            ["milestones", "400"],
        ),
        (partial(schedules.multistep, milestones=[9, 5]), partial(warmups.none), Clock(total=40), ["milestones"]),
    ],
)
def test_what_does_not_fit_the_run_is_refused_by_name(schedule, warmup, clock, words):
    with pytest.raises(ConfigError) as caught:
        Recipe(SGD, schedule, warmup).configure(nn.Linear(2, 2), clock)
    assert all(word in str(caught.value) for word in words)


def test_all_faults_of_a_recipe_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        Recipe(partial(torch.optim.SGD, lr=0.1, nesterv=True), partial(schedules.step, every=0, gamma=2.0))
    assert [fault.key for fault in caught.value.faults] == ["optimizer.nesterv", "scheduler.every", "scheduler.gamma"]
    with pytest.raises(ConfigError, match=r"scheduler\.rise: must be given"):
        Recipe(SGD, partial(schedules.onecycle))


def test_a_schedule_without_a_horizon_runs_without_one():
    recipe = Recipe(SGD, partial(schedules.step, every=10, gamma=0.1), partial(warmups.linear, length=4))
    assert lrs(recipe, Clock(total=None), steps=30)[-1] == pytest.approx(0.1 * 0.1**2)
