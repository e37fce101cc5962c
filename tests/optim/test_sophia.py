"""Sophia's curvature and steps against closed forms, and under Lightning's automatic optimization."""

import pytest
import torch
from torch import nn

from kasoku.faults import ConfigError
from kasoku.optim.sophia import Sophia
from tests.optim.loops import Toy, fit
from tests.optim.nets import Block

CURVATURE = torch.tensor([1.0, 4.0, 0.5])


def quadratic(w):
    return 0.5 * (CURVATURE * w**2).sum()


def test_one_step_on_a_quadratic():
    """z (H z) with H diagonal is z^2 h: known once z is."""
    w = nn.Parameter(torch.tensor([1.0, -2.0, 1e-3]))
    optimizer = Sophia([w], lr=0.1, betas=(0.9, 0.0), weight_decay=0.2, clip=0.5)
    torch.manual_seed(0)
    z = torch.randn(3)
    torch.manual_seed(0)
    start = w.detach().clone()
    loss = quadratic(w)
    optimizer.estimate(loss)
    loss.backward()
    optimizer.step()
    step = (0.1 * CURVATURE * start / (z**2 * CURVATURE)).clamp(-0.5, 0.5)
    torch.testing.assert_close(w.detach(), start * (1 - 0.1 * 0.2) - 0.1 * step)


def test_estimates_add_up_and_are_asked_for_when_due():
    w = nn.Parameter(torch.ones(3))
    optimizer = Sophia([w], every=2, betas=(0.9, 0.0))
    due = []
    for _ in range(4):
        due.append(optimizer.due)
        for _ in range(2):
            loss = quadratic(w) / 2
            if optimizer.due:
                optimizer.estimate(loss)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert due == [True, False, True, False]
    quadratic(w).backward()
    with pytest.raises(RuntimeError, match="EstimateCurvature"):
        optimizer.step()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(6, 4), Block(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.block(self.stem(x)[:, None])[:, 0])


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.1}])
@pytest.mark.parametrize("net", [None, Attention], ids=["norms", "attention"])
def test_under_lightning_with_fused_attention_accumulation_and_clipping(net, options):
    module = Toy(lambda net: Sophia(net.parameters(), lr=0.5, every=3), net() if net else None)
    trainer = fit(module, 12, None, **options)
    assert trainer.global_step == 12
    assert sum(module.losses[-6:]) < sum(module.losses[:6])
    assert all(state["hessian_moment"].abs().sum() > 0 for state in trainer.optimizers[0].state.values() if state)


def test_faults():
    with pytest.raises(
        ConfigError, match=r"optimizer.every=0.*\n.*optimizer.clip=-1|optimizer.clip=-1.*\n.*optimizer.every=0"
    ):
        Sophia([nn.Parameter(torch.ones(1))], every=0, clip=-1)
