"""Muon against torch's Muon and AdamW, and its state through a file."""

import io
import math

import pytest
import torch
from torch import nn

from kasoku.faults import ConfigError
from kasoku.nets.cnn import CNN
from kasoku.optim.groups import Groups
from kasoku.optim.muon import Muon, kinds, orthogonalised
from kasoku.optim.table import table
from tests.optim.nets import TinyGPT

SETTINGS = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}


def gradients(net, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def build(net, **settings):
    settings = SETTINGS | settings
    return Muon(Groups(kinds=kinds).split(net, settings["lr"], settings["weight_decay"]), **settings)


@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_matrices_as_torch(adjust_lr, nesterov, precision):
    nets = [nn.Sequential(nn.Linear(24, 64, bias=False), nn.Linear(64, 24, bias=False)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    shape = {"nesterov": nesterov} | SETTINGS
    ours = Muon([{"params": nets[0].parameters(), "kind": "muon"}], adjust_lr=adjust_lr, precision=precision, **shape)
    theirs = torch.optim.Muon(nets[1].parameters(), adjust_lr_fn=adjust_lr, **shape)
    for seed in range(4):
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            gradients(net, seed)
            optimizer.step()
    farthest = 4 * 0.02 * (1.64 if adjust_lr == "original" else 1.6)  # lr, times sqrt(64 / 24) or 0.2 sqrt(64)
    for mine, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert (mine - other).abs().max() < 0.02 * farthest


def test_the_rest_as_torch_adamw():
    nets = [TinyGPT(), TinyGPT()]
    nets[1].load_state_dict(nets[0].state_dict())
    ours = build(nets[0], adamw_lr=0.004, betas=(0.8, 0.9), eps=1e-6)
    groups = Groups(kinds=kinds).split(nets[1], 0.004, SETTINGS["weight_decay"])
    rest = [{**group, "kind": None} for group in groups if group["kind"] == "adamw"]
    theirs = torch.optim.AdamW(rest, lr=0.004, betas=(0.8, 0.9), eps=1e-6)
    for seed in range(3):
        for net, optimizer in zip(nets, (ours, theirs), strict=True):
            gradients(net, seed)
            optimizer.step()
    names = {name for name, kind in kinds(nets[0]).items() if kind == "adamw"}
    pairs = zip(nets[0].named_parameters(), nets[1].parameters(), strict=True)
    assert all(torch.equal(mine, other) for (name, mine), other in pairs if name in names)


def test_a_kernel_is_trained_as_its_matrix():
    kernel = nn.Parameter(torch.randn(8, 4, 3, 3))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    kernel.grad = torch.randn(8, 4, 3, 3)
    matrix.grad = kernel.grad.flatten(1)
    Muon([{"params": [kernel], "kind": "muon"}], **SETTINGS).step()
    Muon([{"params": [matrix], "kind": "muon"}], **SETTINGS).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_a_matrix_has_the_norm_of_an_orthogonal_one_before_its_step():
    kernel = nn.Parameter(5 * torch.randn(8, 4, 3, 3))
    scaled = nn.Parameter(kernel.detach() * math.sqrt(8) / kernel.detach().norm())
    kernel.grad = scaled.grad = torch.randn(8, 4, 3, 3)
    Muon([{"params": [kernel], "kind": "muon"}], **SETTINGS, normalize=True).step()
    Muon([{"params": [scaled], "kind": "muon"}], **SETTINGS).step()
    torch.testing.assert_close(kernel, scaled)


def test_a_matrix_of_zeros_is_no_division_by_zero():
    matrix = nn.Parameter(torch.zeros(8, 4))
    matrix.grad = torch.randn(8, 4)
    Muon([{"params": [matrix], "kind": "muon"}], **SETTINGS, normalize=True).step()
    assert matrix.isfinite().all()
    assert matrix.norm() > 0


def test_matrices_of_equal_shape_go_as_one_batch_and_keep_their_places():
    tensors = [torch.randn(4, 6), torch.randn(5, 3), torch.randn(4, 2, 3), torch.randn(4, 6)]
    together = orthogonalised(tensors)
    assert [t.shape for t in together] == [t.shape for t in tensors]
    for one, tensor in zip(together, tensors, strict=True):
        torch.testing.assert_close(one, orthogonalised([tensor])[0])


def test_kinds_of_a_convolutional_net():
    net = CNN(input_shape=(1, 8, 8), num_classes=10)
    assert {name for name, kind in kinds(net).items() if kind == "muon"} == {f"stages.{i}.0.weight" for i in range(3)}


@pytest.mark.parametrize("tied", [False, True])
def test_kinds_of_a_gpt(tied):
    muon = {name for name, kind in kinds(TinyGPT(tied=tied)).items() if kind == "muon"}
    assert muon == {f"layers.{i}.{name}.weight" for i in range(2) for name in ("qkv", "out")}


def test_grouped_convolutions_are_no_matrices():
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 2))
    assert [name for name, kind in kinds(net).items() if kind == "muon"] == ["0.weight"]


def test_groups_have_their_own_lr_and_only_their_own_settings():
    net = TinyGPT()
    groups = Groups(kinds=kinds, layer_decay=0.5).split(net, 0.02, 0.1)
    optimizer = Muon(groups, lr=0.02, adamw_lr=0.003, weight_decay=0.1)
    head = next(group for group in optimizer.param_groups if group["params"][0] is net.head.weight)
    assert head["lr"] == 0.003
    assert optimizer.param_groups[0]["kind"] == "muon"
    for group in optimizer.param_groups:
        assert ("momentum" in group, "betas" in group) == ((True, False) if group["kind"] == "muon" else (False, True))
    lrs = {round(row.lr / 0.003, 6) for row in table(net, optimizer.param_groups) if "adamw" in row.name}
    assert lrs == {1, 0.5, 0.25, 0.125}


def test_state_through_a_file():
    nets = [TinyGPT(), TinyGPT()]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [build(net) for net in nets]
    for seed in range(2):
        gradients(nets[0], seed)
        optimizers[0].step()
    file = io.BytesIO()
    torch.save(optimizers[0].state_dict(), file)
    file.seek(0)
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers[1].load_state_dict(torch.load(file, weights_only=True))
    for net, optimizer in zip(nets, optimizers, strict=True):
        gradients(net, 7)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_parameters_without_a_gradient_are_left_alone():
    net = TinyGPT()
    optimizer = build(net)
    before = {name: p.clone() for name, p in net.named_parameters()}
    gradients(net.layers[0], 0)
    assert optimizer.step(lambda: 3.0) == 3.0
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("layers.0.")}


def test_faults():
    net = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="kind of a parameter group is None"):
        Muon(net.parameters())
    with pytest.raises(ValueError, match="holds a vector"):
        Muon([{"params": [net.bias], "kind": "muon"}])
    with pytest.raises(ConfigError, match=r"optimizer.momentum=1.5.*\n.*optimizer.adjust_lr=other"):
        Muon([{"params": [net.weight], "kind": "muon"}], momentum=1.5, adjust_lr="other")


def polar(matrix):
    """Newton-Schulz by definition: Jordan's quintic, five times, on the singular values of `matrix` over its norm."""
    u, s, v = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


@pytest.mark.parametrize("nesterov", [True, False])
def test_two_steps_are_their_closed_form_in_float64(nesterov):
    """Mutants: the weight decay deleted or its sign turned; the momentum 3% off, which a first step does not show."""
    generator = torch.Generator().manual_seed(0)
    weight, *grads = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(weight.clone())
    optimizer = Muon([{"params": [parameter], "kind": "muon"}], **SETTINGS, nesterov=nesterov, precision="float32")
    average = torch.zeros_like(weight)
    for grad in grads:
        parameter.grad = grad
        optimizer.step()
        average = 0.9 * average + 0.1 * grad
        ahead = 0.9 * average + 0.1 * grad if nesterov else average
        weight = (1 - 0.02 * 0.1) * weight - 0.02 * math.sqrt(6 / 4) * polar(ahead)
    torch.testing.assert_close(parameter.detach(), weight, rtol=0, atol=1e-6)
