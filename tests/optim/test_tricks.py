"""The tricks against their closed forms, with every optimizer there is, and through a file."""

import copy
import io
from functools import partial

import pytest
import torch
from torch import nn

from kasoku import schedules
from kasoku.command.build import build_recipe
from kasoku.durations import Clock
from kasoku.faults import ConfigError
from kasoku.optim.groups import Groups
from kasoku.optim.tricks import Tricks, decays_apart
from kasoku.recipe import Recipe
from tests.conftest import composed, options, run_here

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
APART = {  # optimizers whose decay is w - lr weight_decay w
    *("adamw", "nadamw", "radam", "adafactor", "lion", "lamb", "ademamix", "adopt", "adopt_cautious"),
    *("mars", "muon", "soap", "sophia"),
    *("shampoo", "sgd", "asgd"),  # without a momentum an L2 penalty is the same
}
FREE = {name for name in options("optimizer") if name.startswith("schedulefree")}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


def optimizer_of(module, bound, total=10, groups=None, **tricks):
    made = Recipe(bound, groups=groups or Groups(), tricks=Tricks(**tricks)).configure(module, Clock(total=total))
    return made["optimizer"], made["lr_scheduler"]["scheduler"]


def gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def stepped(bound, steps=3, **tricks):
    """The weights before the last of some steps, those after it, and the gradients of that step."""
    module = net()
    optimizer, _ = optimizer_of(module, bound, **tricks)
    for seed in range(steps):
        before = [p.detach().clone() for p in module.parameters()]
        gradients(module, seed)
        optimizer.step()
    return before, [p.detach().clone() for p in module.parameters()], [p.grad for p in module.parameters()]


def test_a_cautious_first_step_of_sgd_is_its_own_step():
    """Where step and gradient agree in all entries nothing is masked and nothing scaled."""
    one, other = stepped(SGD, 1)[1], stepped(SGD, 1, cautious=True)[1]
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_a_cautious_step_is_the_masked_step_over_the_share_that_is_left():
    module, momentum = net(), []
    optimizer, _ = optimizer_of(module, SGD, cautious=True)
    for seed in range(3):
        before = [p.detach().clone() for p in module.parameters()]
        gradients(module, seed)
        grads = [p.grad.clone() for p in module.parameters()]
        momentum = [0.9 * m + g for m, g in zip(momentum, grads, strict=True)] if momentum else grads
        optimizer.step()
        for p, w, m, g in zip(module.parameters(), before, momentum, grads, strict=True):
            agrees = (m * g > 0).float()
            torch.testing.assert_close(p.detach(), w - 0.1 * m * agrees / agrees.mean().clamp(min=1e-3))
    assert any((m * g < 0).any() for m, g in zip(momentum, grads, strict=True))


def test_cautious_decay_is_where_weight_and_step_have_one_sign():
    before, plain, _ = stepped(partial(ADAMW, weight_decay=0.0), 1)
    _, after, _ = stepped(ADAMW, 1, cautious_decay=True)
    for w, bare, found in zip(before, plain, after, strict=True):
        decay = 0.01 * 0.5 * w * ((w - bare) * w >= 0) if w.ndim > 1 else 0.0
        torch.testing.assert_close(found, bare - decay)


@pytest.mark.parametrize("bound", [SGD, partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)])
def test_hyperball_turns_matrices_by_the_lr_and_keeps_their_norm(bound):
    before, after, _ = stepped(bound, 3, hyperball=True)
    start, lr = [p.detach().norm() for p in net().parameters()], bound.keywords["lr"]
    for i in (0, 2):  # the last matrix, 4, is the head
        assert float(after[i].norm()) == pytest.approx(float(start[i]), rel=1e-5)
        cosine = torch.dot(before[i].flatten(), after[i].flatten()) / start[i] ** 2
        assert cosine < 1 - lr**2 / 8  # it has moved, by an angle of lr at most
        assert cosine > 1 - lr**2
    assert float(after[4].norm()) != pytest.approx(float(start[4]), rel=1e-5)


def test_the_weight_decay_falls_to_zero():
    optimizer, scheduler = optimizer_of(net(), ADAMW, wd_schedule="linear")
    found = []
    for _ in range(10):
        found.append(max(group["weight_decay"] for group in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    assert found == pytest.approx([0.5 * (1 - s / 10) for s in range(10)])


def test_the_momentum_rises_to_its_value_and_multiplies_what_a_schedule_makes_of_it():
    shape = {"momentum": partial(schedules.onecycle_momentum, rise=5)}
    tricks = Tricks(momentum_warmup=4, momentum_start=0.5)
    plain = Recipe(SGD, tricks=tricks).curves(Clock(total=10))["momentum"]
    assert [plain(s) for s in range(6)] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1, 1])
    both = Recipe(SGD, drives=shape, tricks=tricks).curves(Clock(total=10))["momentum"]
    cycle = Recipe(SGD, drives=shape).curves(Clock(total=10))["momentum"]
    assert [both(s) for s in range(10)] == pytest.approx([plain(s) * cycle(s) for s in range(10)])


def test_a_momentum_warmup_longer_than_the_run_ends_on_the_way():
    factor = Recipe(SGD, tricks=Tricks(momentum_warmup=99, momentum_start=0.5)).curves(Clock(total=10))["momentum"]
    assert factor(9) == pytest.approx(0.5 + 0.5 * 10 / 100)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", options("optimizer"))
def test_which_weight_decay_is_apart(name):
    recipe = build_recipe(composed(f"optimizer={name}", "optimizer.weight_decay=0.1", "trainer=cpu", "warmup=none"))
    if name not in FREE:
        assert decays_apart(recipe.configure(net(), Clock(total=10))["optimizer"]) is (name in APART)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", options("optimizer"))
def test_each_optimizer_trains_with_all_tricks_or_refuses_them_with_the_reason(tmp_path, name):
    words = [f"optimizer.tricks.{key}" for key in ("cautious=true", "wd_schedule=linear", "hyperball=true")]
    words += ["optimizer.tricks.cautious_decay=true"] if name in APART else []
    settings = ("model=mlp", "trainer=cpu", "logger=none", "trainer.max_steps=4", "warmup=none")
    settings += (f"optimizer={name}", "optimizer.weight_decay=0.1")
    if name in FREE:
        with pytest.raises(ConfigError, match=r"optimizer.tricks.cautious=true: .* schedule-free"):
            run_here(tmp_path, *settings, *words)
    elif name in APART:
        assert run_here(tmp_path, *settings, *words) == 0
    else:
        with pytest.raises(ConfigError, match=r"optimizer.tricks.hyperball=true: needs a decoupled weight decay"):
            run_here(tmp_path, *settings, *words)


@pytest.mark.parametrize(
    ("bound", "tricks", "text"),
    [
        (SGD, {"wd_schedule": "linear"}, "wd_schedule=linear: has no effect: optimizer.weight_decay is 0"),
        (partial(torch.optim.SGD, lr=0.1), {"momentum_warmup": 9}, "momentum_warmup=9: has no effect: SGD has no mom"),
        (SGD, {"wd_schedule": "steps"}, "wd_schedule=steps: must be one of constant linear cosine"),
        (SGD, {"momentum_warmup": "9 apples"}, "momentum_warmup=9 apples: must be"),
        (SGD, {"momentum_start": 1.5}, "momentum_start=1.5: must be a finite number > 0 and < 1"),
    ],
)
def test_what_would_do_nothing_is_refused(bound, tricks, text):
    with pytest.raises(ConfigError, match=text):
        Recipe(bound, tricks=Tricks(**tricks))


def test_a_decay_inside_the_gradient_cannot_be_cautious():
    with pytest.raises(ConfigError, match="cautious_decay=true: needs a decoupled weight decay"):
        optimizer_of(net(), partial(SGD, weight_decay=0.1), cautious_decay=True)


@pytest.mark.parametrize("bound", [SGD, ADAMW])
@pytest.mark.parametrize("tricks", [{"hyperball": True}, {"cautious": True}, {"row": True}])
def test_goes_on_from_a_file_as_if_it_had_not_stopped(bound, tricks):
    if "row" in tricks:
        bound = build_recipe(composed("optimizer=muon", "optimizer.row_beta=0.9")).optimizer
        groups, tricks = build_recipe(composed("optimizer=muon")).groups, {}
    else:
        groups = Groups()
    straight = net()
    first, _ = optimizer_of(straight, bound, groups=groups, **tricks)
    for seed in range(6):
        if seed == 3:
            again, file = copy.deepcopy(straight), io.BytesIO()
            torch.save(first.state_dict(), file)
            second, _ = optimizer_of(again, bound, groups=groups, **tricks)
            file.seek(0)
            second.load_state_dict(torch.load(file, weights_only=True))
        gradients(straight, seed)
        first.step()
        if seed >= 3:
            gradients(again, seed)
            second.step()
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), again.parameters(), strict=True))
