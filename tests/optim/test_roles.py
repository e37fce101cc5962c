"""The roles of parameters, and the lrs that hang on them."""

import pytest
import torch
from torch import nn

from kasoku.faults import ConfigError
from kasoku.nets.gpt import GPT
from kasoku.optim.groups import Groups
from kasoku.optim.muon import Muon, kinds
from kasoku.optim.rates import by_role
from kasoku.optim.roles import roles
from tests.optim.nets import TinyGPT


def lrs(groups, module, lr):
    names = {id(p): name for name, p in module.named_parameters()}
    return {names[id(p)]: group["lr"] / lr for group in groups for p in group["params"]}


def test_each_parameter_has_its_role():
    found = roles(TinyGPT(), {"head.weight"})
    assert {found[name] for name in ("token.weight", "position.weight")} == {"embeddings"}
    assert found["head.weight"] == "head"
    assert found["layers.0.qkv.weight"] == "matrices"
    assert {found[name] for name in ("layers.0.qkv.bias", "norm.weight")} == {"vectors"}


def test_a_head_that_is_an_embedding_is_the_head():
    assert roles(TinyGPT(tied=True), {"token.weight"})["token.weight"] == "head"


def test_the_lr_of_a_role_is_multiplied():
    module = TinyGPT()
    groups = Groups(lr={"embeddings": 10, "head": 3, "vectors": 0.5}).split(module, 0.1)
    found = lrs(groups, module, 0.1)
    for name, role in roles(module, {"head.weight"}).items():
        assert found[name] == pytest.approx({"embeddings": 10, "head": 3, "vectors": 0.5, "matrices": 1}[role])


@pytest.mark.parametrize(
    ("lr", "text"),
    [
        ({"embedings": 2}, "lr.embedings=2: no such role"),
        ({"head": 0}, "lr.head=0: must be a positive finite number"),
        (3, "lr=3: must be multipliers by role"),
    ],
)
def test_no_such_role(lr, text):
    with pytest.raises(ConfigError, match=text):
        Groups(lr=lr)


def test_one_lr_for_all_has_no_roles():
    with pytest.raises(ConfigError, match="has no effect: this optimizer has one lr for all"):
        Groups(lr={"head": 2}, one_lr=True)


@pytest.mark.parametrize("width", [64, 768])
def test_the_lr_of_muons_head_falls_with_its_inputs(width):
    net = GPT(input_shape=[8], num_classes=11, n_layer=1, n_head=1, n_embd=width, tie_weights=False)
    optimizer = Muon(Groups(kinds=kinds, rates=by_role).split(net, 0.04), lr=0.04, adamw_lr=0.04)
    found = lrs(optimizer.param_groups, net, 1)
    assert found["head.weight"] == pytest.approx(4 / width)
    assert found["tokens.weight"] == found["positions.weight"] == pytest.approx(0.1)
    assert found["norm.weight"] == pytest.approx(0.04)
    assert found["blocks.0.mlp.up.weight"] == pytest.approx(0.04)


def test_the_rows_of_a_step_are_evened_out():
    """The first step with row_beta: each row to one length, the norm of the whole kept."""
    plain, even = nn.Linear(5, 3, bias=False), nn.Linear(5, 3, bias=False)
    even.load_state_dict(plain.state_dict())
    settings = {"lr": 0.1, "weight_decay": 0.0, "precision": "float32"}
    moved = []
    for layer, beta in ((plain, None), (even, 0.9)):
        before = layer.weight.detach().clone()
        layer.weight.grad = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) ** 3
        Muon([{"params": layer.parameters(), "kind": "muon"}], row_beta=beta, **settings).step()
        moved.append(before - layer.weight.detach())
    torch.testing.assert_close(moved[1].norm(), moved[0].norm())
    lengths = moved[1].norm(dim=1)
    torch.testing.assert_close(lengths, lengths.mean().expand(3))
    torch.testing.assert_close(moved[1] / lengths[:, None], moved[0] / moved[0].norm(dim=1, keepdim=True))
