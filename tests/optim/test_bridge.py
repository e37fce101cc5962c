"""The crossing from schedules to torch: what advances it, what it drives, and what it puts back at a resume."""

import pytest
import torch
from torch import nn

from kasoku.optim.bridge import DrivenLR, momentum_of


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
