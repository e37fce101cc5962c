"""Shampoo: the parent's steps, and a state that a file can hold."""

import io

import pytest
import torch
from pytorch_optimizer import ScalableShampoo
from torch import nn

from kasoku.faults import ConfigError
from kasoku.optim.shampoo import Shampoo


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.Flatten(), nn.Linear(6, 4))


def step(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_steps_are_the_parents():
    ours, theirs = net(), net()
    mine = Shampoo(ours.parameters(), lr=0.01, graft="sgd", start=2, every=2, weight_decay=0.0)
    parents = ScalableShampoo(
        theirs.parameters(),
        lr=0.01,
        betas=(0.9, 0.99),
        moving_average_for_momentum=True,
        start_preconditioning_step=2,
        preconditioning_compute_steps=2,
        block_size=256,
        skip_preconditioning_rank_lt=2,
        graft_type=1,
    )
    for seed in range(5):
        step(ours, mine, seed)
        step(theirs, parents, seed)
    torch.testing.assert_close(weights(ours), weights(theirs))


@pytest.mark.parametrize("graft", ["rmsprop", "adagrad", "sgd", "none"])
@pytest.mark.parametrize("block_size", [4, 256])
def test_state_through_a_file(graft, block_size):
    straight, resumed = net(), net()
    settings = {"graft": graft, "start": 2, "every": 2, "block_size": block_size}
    before = Shampoo(straight.parameters(), **settings)
    for seed in range(3):
        step(straight, before, seed)
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(straight.state_dict())
    after = Shampoo(resumed.parameters(), **settings)
    after.load_state_dict(torch.load(file, weights_only=True))
    assert all(p.grad is None for p in resumed.parameters())
    for seed in range(3, 7):
        step(straight, before, seed)
        step(resumed, after, seed)
    assert torch.equal(weights(straight), weights(resumed))


def test_faults():
    with pytest.raises(ConfigError, match=r"optimizer\.graft=adam: must be one of none sgd adagrad rmsprop sqrtn"):
        Shampoo(net().parameters(), graft="adam")
