"""The crossing from schedules to torch: what advances it, what it drives, and what it puts back at a resume."""

import pytest
import torch
from torch import nn

from kasoku.optim.bridge import DrivenLR, momentum_of
from kasoku.optim.plan import Plan, Setting


def falling(step):
    return 1 - step / 10


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_step_that_the_scaler_skips_does_not_advance_the_schedule(optimizer, fused):
    """A fused optimizer is called with a flag, `found_inf`. Mutants: the flag not looked at, or turned round."""
    net = nn.Linear(2, 1)
    made = optimizer(net.parameters(), lr=0.1, fused=fused)
    scheduler, scaler = DrivenLR(made, falling), torch.amp.GradScaler("cpu", init_scale=2.0)
    for poison, expected in ((False, 1), (True, 1), (True, 1), (False, 2)):
        made.zero_grad()
        scaler.scale(net(torch.full((1, 2), float("inf") if poison else 1.0)).sum()).backward()
        scaler.step(made)
        scaler.update()
        scheduler.step()
        assert (scheduler.last_epoch, made.param_groups[0]["lr"]) == (expected, pytest.approx(0.1 * falling(expected)))


def optimizer(kind=torch.optim.SGD, **settings):
    return kind([nn.Parameter(torch.zeros(1))], **{"lr": 0.1} | settings)


def advance(scheduler, steps=1):
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
    return scheduler.optimizer.param_groups[0]


DRIVEN = [
    (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.2}, {"momentum": 0.9 * 0.7, "weight_decay": 0.2 * 0.4}),
    (torch.optim.SGD, {"weight_decay": 0.2}, {"momentum": 0, "weight_decay": 0.2 * 0.4}),
    (torch.optim.Adam, {"betas": (0.9, 0.98)}, {"betas": (0.9 * 0.7, 0.98), "weight_decay": 0}),
    (torch.optim.RMSprop, {"momentum": 0.9}, {"momentum": 0.9 * 0.7}),
    (torch.optim.Rprop, {}, {"etas": (0.5, 1.2)}),
]


@pytest.mark.parametrize("move", [lambda scheduler: advance(scheduler, 6), lambda scheduler: scheduler.move_to(6)])
@pytest.mark.parametrize(("kind", "settings", "expected"), DRIVEN)
def test_what_is_driven_is_its_base_times_its_factor(kind, settings, expected, move):
    """Six steps one by one, or at once as at a resume. Mutants: nothing driven by a step; another product."""
    drives = {"momentum": lambda step: 1 - step / 20, "weight_decay": falling}
    scheduler = DrivenLR(optimizer(kind, **settings), falling, drives)
    assert scheduler.drives == ("momentum", "weight_decay")
    move(scheduler)
    group = scheduler.optimizer.param_groups[0]
    assert {key: group[key] for key in expected} == {key: pytest.approx(value) for key, value in expected.items()}
    assert scheduler.get_last_lr() == [group["lr"]] == [pytest.approx(0.1 * 0.4)]


def test_a_resume_puts_back_what_is_configured_and_nothing_else():
    """Lightning restores the optimizer's state first, which holds the old settings. Mutants: a key left out of them."""
    old = optimizer(momentum=0.9, weight_decay=0.2, dampening=0.3)
    old.param_groups[0] |= {"nesterov": True, "initial_lr": 0.1, "d": 7.0}
    new = optimizer(lr=0.2, momentum=0.8, weight_decay=0.1, dampening=0.4)
    configured = {"nesterov": False, "momentum": 0.8, "weight_decay": 0.1, "dampening": 0.4}
    new.param_groups[0] |= {**configured, "d": 1.0}
    scheduler = DrivenLR(new, falling)
    new.load_state_dict(old.state_dict())
    scheduler.load_state_dict({"step": 5})
    group = new.param_groups[0]
    assert {key: group[key] for key in configured} == configured
    assert (group["lr"], group["initial_lr"], group["d"]) == (pytest.approx(0.1), 0.2, 7.0)
    assert advance(scheduler)["lr"] == pytest.approx(0.2 * 0.4)
    assert scheduler.state_dict() == {"step": 6}


def test_a_group_that_comes_later_is_refused():
    """It has no base value. Mutant: strict=False, with which it would keep its lr and nobody would hear of it."""
    scheduler = DrivenLR(optimizer(), falling)
    scheduler.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    with pytest.raises(ValueError, match=r"zip\(\)"):
        scheduler.move_to(1)


@pytest.mark.parametrize(
    ("group", "momentum"),
    [
        ({"momentum": 0.9}, 0.9),
        ({"momentum": 0.9, "betas": (0.8, 0.99)}, 0.9),
        ({"momentum": 0, "betas": (0.8, 0.99)}, 0.8),
        ({"betas": (0.8, 0.99)}, 0.8),
        ({"momentum": 0}, None),
        ({}, None),
    ],
)
def test_the_momentum_of_a_group(group, momentum):
    assert momentum_of(group) == momentum


def test_an_lr_that_is_a_tensor_stays_that_tensor():
    """Compiled optimizers hold on to it. Mutant: a number in its place."""
    lr = torch.tensor(0.1)
    scheduler = DrivenLR(optimizer(lr=lr), falling)
    scheduler.move_to(5)
    assert scheduler.optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.05)
    assert advance(scheduler)["lr"].item() == pytest.approx(0.04)


def rising(step):
    return min(1.0, (step + 1) / 4)


def admitting(one_lr=False, **settings):
    """An optimizer of one parameter, at lr 0.1, that admits `late`, which has a fifth of the lr and no weight decay."""
    net = nn.ParameterDict({name: nn.Parameter(torch.zeros(1)) for name in ("early", "late")})
    plan = Plan(0.1, {id(net["early"]): Setting(0, "", 1, 0.2), id(net["late"]): Setting(0, "", 0.2, 0)}, one_lr=one_lr)
    taken = {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.8}
    scheduler = DrivenLR(torch.optim.SGD([net["early"]], **taken), falling, {"momentum": falling})
    scheduler.admit(plan, rising, net.values())
    return scheduler, net["late"]


def test_a_group_that_is_admitted_has_its_warmup_and_its_settings_from_the_next_step():
    """Its lr is that of the present step. Mutants: no warmup; not moved; the lr taken as a base lr; nothing driven."""
    scheduler, late = admitting()
    assert not scheduler.has_added
    assert scheduler.foreseen == {id(p) for p in (scheduler.optimizer.param_groups[0]["params"][0], late)}
    advance(scheduler, 2)
    scheduler.optimizer.add_param_group({"params": [late], "lr": 0.04})  # half of the first group's 0.08
    assert scheduler.has_added
    early, group = scheduler.optimizer.param_groups
    for step in range(2, 8):
        base = 0.1 * 0.5 * 0.2
        assert group["lr"] == pytest.approx(base * falling(step) * rising(step - 2))
        assert group["weight_decay"] == 0
        assert (early["lr"], early["weight_decay"]) == (pytest.approx(0.1 * falling(step)), 0.2)
        assert early["momentum"] == pytest.approx(0.8 * falling(step))
        advance(scheduler)
    assert group["name"] == "from2"


def test_a_group_without_an_lr_has_that_of_the_first():
    scheduler, late = admitting()
    advance(scheduler, 4)
    scheduler.optimizer.add_param_group({"params": late})
    assert scheduler.optimizer.param_groups[1]["initial_lr"] == pytest.approx(0.1 * 0.2)


def test_an_optimizer_with_one_lr_gives_a_new_group_no_warmup():
    scheduler, late = admitting(one_lr=True)
    scheduler.optimizer.add_param_group({"params": [late], "lr": 0.05})
    assert scheduler.optimizer.param_groups[1]["lr"] == pytest.approx(0.1 * 0.2)


def test_a_group_at_the_schedules_zero_keeps_the_lr_that_it_is_given():
    scheduler, late = admitting()
    scheduler.move_to(10)
    scheduler.optimizer.add_param_group({"params": [late], "lr": 0.05})
    assert scheduler.optimizer.param_groups[1]["initial_lr"] == pytest.approx(0.05 * 0.2)


def test_a_resume_knows_the_groups_that_were_added():
    """Whoever added them has put them back. Mutants: not restored; those there are twice; without their start."""
    scheduler, late = admitting()
    advance(scheduler, 2)
    scheduler.optimizer.add_param_group({"params": [late], "lr": 0.04})
    advance(scheduler, 2)
    state = scheduler.state_dict()
    assert state["step"] == 4
    assert [(start, ratio) for start, ratio, _ in state["added"]] == [(2, pytest.approx(0.1))]
    again, other = admitting()
    again.optimizer.add_param_group({"params": [other], "lr": 0.07})
    again.load_state_dict(state)
    assert again.state_dict() == state
    for one, two in ((scheduler, again), (scheduler, again)):
        groups = [[(g["lr"], g["weight_decay"]) for g in s.optimizer.param_groups] for s in (one, two)]
        assert groups[0] == [pytest.approx(pair) for pair in groups[1]]
        advance(one), advance(two)
    assert again.get_last_lr() == pytest.approx(scheduler.get_last_lr())


def test_the_factors_of_steps_are_asked_without_a_step():
    scheduler, _ = admitting()
    assert scheduler.factors([0, 5]) == {"lr": [1, 0.5], "momentum": [1, 0.5]}
    assert scheduler.last_epoch == 0


def test_a_scheduler_that_is_led_does_not_step_by_itself():
    scheduler = DrivenLR(optimizer(), falling)
    scheduler.is_led = True
    assert advance(scheduler, 3)["lr"] == 0.1
