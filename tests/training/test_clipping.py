"""Adaptive gradient clipping against the paper's formula and pytorch_optimizer's function."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_optimizer.optimizer.agc import agc
from torch import Tensor, nn

from kasoku.faults import ConfigError
from kasoku.training.clipping import AGC, clip_units
from tests.conftest import SMALL, run_here

SHAPES = [(), (7,), (5, 3), (4, 3, 2), (6, 4, 3, 3), (2, 2, 2, 2, 2)]


def parameters(scale: float = 1.0) -> list[nn.Parameter]:
    torch.manual_seed(0)
    made = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for p in made:
        p.grad = scale * torch.randn_like(p)
    return made


def clipped(scale: float, clip: float = 0.01, eps: float = 1e-3) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Weight, gradient, clipped gradient."""
    made = parameters(scale)
    before = [p.grad.clone() for p in made]
    clip_units(made, clip, eps)
    return [(p.detach(), grad, p.grad) for p, grad in zip(made, before, strict=True)]


def units(x: Tensor) -> list[Tensor]:
    return list(x) if x.ndim > 1 else [x]


@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0, 100.0])
def test_each_unit_is_scaled_by_the_formula(scale):
    for weight, grad, result in clipped(scale):
        for w, g, r in zip(units(weight), units(grad), units(result), strict=True):
            bound = 0.01 * max(float(w.norm()), 1e-3)
            expected = g if g.norm() <= bound else g * bound / g.norm()
            torch.testing.assert_close(r, expected)


def test_it_equals_pytorch_optimizer_where_that_takes_whole_units():
    for weight, grad, result in clipped(1.0):
        if weight.ndim != 3:  # of a Conv1d it takes each position of the kernel for a unit
            torch.testing.assert_close(result, agc(weight, grad, 1e-3, 0.01), rtol=1e-6, atol=0)


def test_small_gradients_are_untouched_bit_for_bit():
    assert all(torch.equal(grad, result) for _, grad, result in clipped(1e-6))


def test_weights_at_zero_can_grow_and_gradients_at_zero_stay():
    zero = nn.Parameter(torch.zeros(2, 3))
    zero.grad = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    clip_units([zero, nn.Parameter(torch.ones(3))], clip=0.1, eps=1e-3)
    torch.testing.assert_close(zero.grad, torch.tensor([[0.6e-4, 0.0, 0.8e-4], [0.0, 0.0, 0.0]]))


class Watch(pl.Callback):
    """The largest |gradient| / |weight| of a unit at any step, by parameter."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = {}

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        for name, p in module.named_parameters():
            for w, g in zip(units(p.detach()), units(p.grad), strict=True):
                ratio = float(g.norm() / w.norm().clamp_min(1e-3))
                self.largest[name] = max(ratio, self.largest.get(name, 0.0))


@pytest.mark.parametrize("with_head", [False, True])
def test_in_a_run_all_but_the_head_is_held(tmp_path, with_head):
    watch = Watch()
    overrides = ("callbacks=agc", f"callbacks.agc.head={with_head}", "trainer.max_epochs=1", "optimizer=sgd")
    assert run_here(tmp_path, *SMALL, *overrides, callbacks=[watch]) == 0
    within = {name for name, ratio in watch.largest.items() if ratio <= 0.01 * (1 + 1e-4)}
    last = {f"net.{name}" for name in list(dict.fromkeys(n.removeprefix("net.") for n in watch.largest))[-2:]}
    assert watch.largest.keys() - within == (set() if with_head else last)


def test_an_optimizer_that_unscales_in_its_step_is_refused():
    net = pl.LightningModule()
    net.layer = nn.Linear(2, 2)

    class Plugin:
        scaler = torch.amp.GradScaler("cpu")

    class Trainer:
        precision_plugin = Plugin()
        optimizers = (torch.optim.AdamW(net.parameters(), fused=True),)

    with pytest.raises(ConfigError, match=r"optimizer.fused=true: unscales the gradients inside its step"):
        AGC().on_fit_start(Trainer(), net)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["clip=0", "eps=-1", "head=3", "clp=1"])
def test_wrong_settings_are_refused(tmp_path, setting):
    name, value = setting.split("=")
    plus = "+" if name == "clp" else ""
    with pytest.raises(ConfigError, match=rf"callbacks.agc.{name}={value}"):
        run_here(tmp_path, *SMALL, "callbacks=agc", f"{plus}callbacks.agc.{name}={value}")
