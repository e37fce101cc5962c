"""Which weights train, which are evaluated and saved, under Lightning."""

import copy

import pytest
import schedulefree
import torch
from torch import nn

from kasoku.recipe import is_schedule_free
from kasoku.training.batch_norm import refresh_batch_norm
from kasoku.training.optimizer_hooks import TRAIN_STATE
from tests.optim.loops import SaveAt, Toy, fit, toy_data, toy_net

OPTIMIZERS = {
    "adamw": lambda net: schedulefree.AdamWScheduleFree(net.parameters(), lr=0.01),
    "radam": lambda net: schedulefree.RAdamScheduleFree(net.parameters(), lr=0.01),
    "sgd": lambda net: schedulefree.SGDScheduleFree(net.parameters(), lr=0.1),
}


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def average(optimizer, parameters):
    """x from y and z: y = beta x + (1 - beta) z."""
    group = optimizer.param_groups[0]
    beta = group["betas"][0] if "betas" in group else group["momentum"]
    return [(p - (1 - beta) * optimizer.state[p]["z"]) / beta for p in parameters]


def test_which_optimizers_are_schedule_free():
    assert is_schedule_free(schedulefree.SGDScheduleFree)
    assert not is_schedule_free(torch.optim.SGD)


def test_statistics_are_the_mean_over_the_batches():
    net, batches = toy_net(), toy_data().tensors[0].split(32)
    net.eval()
    refresh_batch_norm(net, batches)
    hidden = [net[0](x) for x in batches]
    torch.testing.assert_close(net[1].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0))
    torch.testing.assert_close(net[1].running_var, torch.stack([h.var(0) for h in hidden]).mean(0))
    assert not net[1].training
    assert net[1].momentum == 0.1
    with pytest.raises(ValueError, match="no batch"):
        refresh_batch_norm(net, [])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_validation_and_the_end_see_the_average(name):
    module = Toy(OPTIMIZERS[name])
    trainer = fit(module, 18)
    optimizer = trainer.optimizers[0]
    assert not optimizer.param_groups[0]["train_mode"]
    assert equal(module.evaluated[-1], module.state_dict())
    optimizer.train()
    expected = average(optimizer, module.net.parameters())
    found = [module.evaluated[-1][name] for name, _ in module.named_parameters()]
    for x, mean in zip(found, expected, strict=True):
        torch.testing.assert_close(x, mean, atol=1e-6, rtol=1e-5)


def test_batch_norm_statistics_belong_to_the_average():
    module = Toy(OPTIMIZERS["sgd"])
    fit(module, 18)
    net = copy.deepcopy(module.net)
    refresh_batch_norm(net, [toy_data().tensors[0]])
    torch.testing.assert_close(module.net[1].running_mean, net[1].running_mean, atol=0.02, rtol=0)


def test_a_checkpoint_inside_an_epoch_holds_the_average_and_changes_nothing(tmp_path):
    plain, saving = Toy(OPTIMIZERS["adamw"]), Toy(OPTIMIZERS["adamw"])
    fit(plain)
    fit(saving, 18, None, SaveAt(8, tmp_path / "8.ckpt"))
    assert equal(plain.state_dict(), saving.state_dict())
    checkpoint = torch.load(tmp_path / "8.ckpt", weights_only=True)
    beta, state = 0.9, checkpoint["optimizer_states"][0]["state"]
    x, y = checkpoint["state_dict"]["net.0.weight"], checkpoint[TRAIN_STATE]["net.0.weight"]
    torch.testing.assert_close(y, beta * x + (1 - beta) * state[0]["z"])
    assert not torch.equal(x, y)


@pytest.mark.parametrize("step", [6, 12])
def test_resume_equals_the_straight_run(tmp_path, step):
    """At an epoch's end, where no data is skipped; without dropout, whose random numbers are not this room's matter."""

    def make():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))

    straight = Toy(OPTIMIZERS["adamw"], make())
    fit(straight, 18, None, SaveAt(step, tmp_path / "cut.ckpt"))
    resumed = Toy(OPTIMIZERS["adamw"], make())
    fit(resumed, 18, tmp_path / "cut.ckpt")
    assert resumed.losses == straight.losses[step:]
    assert equal(straight.state_dict(), resumed.state_dict())
