"""Head and depth told by the flow of data, whatever the order of registration."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from kasoku.nets.cnn import CNN
from kasoku.nets.gpt import GPT
from kasoku.nets.mlp import MLP
from kasoku.nets.resnet import ResNet
from kasoku.nets.speednet import SpeedNet
from kasoku.optim.flow import observe
from kasoku.optim.groups import Groups
from kasoku.optim.layers import depths, head
from kasoku.optim.muon import kinds
from tests.optim.nets import TinyGPT


class Shuffled(nn.Module):
    """Three layers, registered in any order."""

    def __init__(self, order: tuple[str, ...]):
        super().__init__()
        sizes = {"stem": (6, 8), "body": (8, 8), "head": (8, 2)}
        for name in order:
            setattr(self, name, nn.Linear(*sizes[name]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(F.relu(self.stem(x)))))


@pytest.mark.parametrize("order", list(itertools.permutations(["stem", "body", "head"])))
def test_the_order_of_registration_does_not_matter(order):
    net = Shuffled(order)
    flow = observe(net, lambda: net(torch.randn(2, 6)))
    assert head(net, flow) == {"head.weight", "head.bias"}
    levels = depths(net, flow)
    assert [levels[f"{name}.weight"] for name in ("stem", "body", "head")] == [0, 1, 2]
    muon = {name for name, kind in kinds(net, head(net, flow)).items() if kind == "muon"}
    assert muon == {"stem.weight", "body.weight"}
    groups = Groups(layer_decay=0.5).split(net, 1.0, 0.0, flow)
    lrs = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert [lrs[id(net.get_submodule(name).weight)] for name in ("stem", "body", "head")] == [0.25, 0.5, 1.0]


def test_the_pattern_has_the_last_word():
    net = Shuffled(("head", "stem", "body"))
    groups = Groups(head="head.*", layer_decay=0.5, kinds=kinds)
    found = {id(p): group for group in groups.split(net, 1.0) for p in group["params"]}
    assert found[id(net.head.weight)]["kind"] == "adamw"
    assert found[id(net.head.weight)]["lr"] == 1.0
    assert found[id(net.body.weight)]["kind"] == "muon"


OWN = {
    "mlp": (lambda: MLP(input_shape=[1, 8, 8], num_classes=10, depth=2), (2, 1, 8, 8)),
    "cnn": (lambda: CNN(input_shape=[1, 8, 8], num_classes=10, width=4), (2, 1, 8, 8)),
    "resnet": (lambda: ResNet(input_shape=[1, 8, 8], num_classes=10, width=4), (2, 1, 8, 8)),
    "speednet": (lambda: SpeedNet(input_shape=[3, 16, 16], num_classes=10, widths=[8, 8, 8], views=6), (2, 3, 16, 16)),
    "gpt": (lambda: GPT(input_shape=[8], num_classes=11, n_layer=2, n_embd=8, tie_weights=False), None),
    "tied gpt": (lambda: GPT(input_shape=[8], num_classes=11, n_layer=2, n_embd=8), None),
}


@pytest.mark.parametrize("name", OWN)
def test_for_the_nets_of_the_project_flow_and_registration_agree(name):
    make, shape = OWN[name]
    net = make()
    x = torch.randint(11, (2, 8)) if shape is None else torch.randn(shape)
    flow = observe(net, lambda: net(x))
    assert flow.first.keys() == dict(net.named_parameters()).keys()
    assert head(net, flow) == head(net)
    assert kinds(net, head(net, flow)) == kinds(net)
    ends = head(net, flow)
    assert Groups(layer_decay=0.5)._layer_scales(net, flow) == Groups(layer_decay=0.5)._layer_scales(net, None), ends


class Disturbing(nn.Module):
    """Draws random numbers, keeps statistics, counts, and is partly frozen and partly in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = parametrizations.spectral_norm(nn.Linear(6, 8))
        self.norm = nn.BatchNorm1d(8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 2)
        self.register_buffer("calls", torch.zeros(()))
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.dropout(self.frozen(self.norm(self.stem(x)))) + torch.randn(8))


def test_nothing_is_changed_by_a_look():
    net = Disturbing()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    required = [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    flow = observe(net, lambda: net(torch.randn(4, 6)))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == required
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert "frozen.weight" in flow.first
    assert not any(module._forward_hooks for module in net.modules())


class TwoHeads(nn.Module):
    """As a distilled DeiT averages two, or a detector returns boxes and classes."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.boxes, self.classes = nn.Linear(8, 4), nn.Linear(8, 4)
        self.body = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> object:
        h = F.relu(self.body(x))
        one, other = self.boxes(h), self.classes(h)
        answers = {"mean": (one + other) / 2, "tuple": (one, other), "states": {"logits": one, "hidden": [h, other]}}
        return answers[self.how]


@pytest.mark.parametrize("how", ["mean", "tuple", "states"])
def test_heads_side_by_side(how):
    net = TwoHeads(how)
    flow = observe(net, lambda: net(torch.randn(2, 6)))
    assert {name.split(".")[0] for name in head(net, flow)} == {"boxes", "classes"}
    levels = depths(net, flow, head(net, flow))
    assert levels["boxes.weight"] == levels["classes.weight"] == 1 + levels["body.weight"]


class Residual(nn.Module):
    """Ends in a residual block: earlier blocks reach the output past the later ones, and are no heads."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(3)])
        self.scale = nn.Parameter(torch.ones(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x * self.scale


def test_in_a_residual_stream_the_last_layer_is_the_head():
    net = Residual()
    assert head(net, observe(net, lambda: net(torch.randn(2, 4)))) == {"blocks.2.2.weight", "blocks.2.2.bias"}


class Functional(nn.Module):
    """Uses its matrices without a layer's call, the last one registered first."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.randn(8, 2))
        self.inside = nn.Parameter(torch.randn(6, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x @ self.inside) @ self.out


def test_matrices_without_a_layer():
    net = Functional()
    assert head(net, observe(net, lambda: net(torch.randn(2, 6)))) == {"out"}


def test_the_inside_of_attention_is_seen():
    net = nn.ModuleDict({"head": nn.Linear(8, 2), "attention": nn.MultiheadAttention(8, 2)})
    x = torch.randn(3, 2, 8)
    flow = observe(net, lambda: net["head"](net["attention"](x, x, x)[0]))
    assert flow.first["attention.in_proj_weight"] < flow.first["attention.out_proj.weight"] < flow.first["head.weight"]
    assert head(net, flow) == {"head.weight", "head.bias"}


def test_a_part_that_is_not_reached_has_the_head_that_was_registered_last():
    net = nn.ModuleDict({"generator": Shuffled(("head", "body", "stem")), "critic": nn.Sequential(nn.Linear(2, 1))})
    flow = observe(net, lambda: net["generator"](torch.randn(2, 6)))
    expected = {"generator.head.weight", "generator.head.bias", "critic.0.weight", "critic.0.bias"}
    assert head(net, flow) == expected


def test_what_cannot_be_seen_is_told_by_registration():
    net = Shuffled(("head", "stem", "body"))
    with torch.no_grad():
        flow = observe(net, lambda: net(torch.randn(2, 6)).detach())
    assert head(net, flow) == head(net) == {"body.weight", "body.bias"}


def test_a_tied_head_is_the_embedding_and_the_last_block_stays_on_top():
    net = TinyGPT(depth=2, tied=True)
    flow = observe(net, lambda: net(torch.randint(11, (2, 8))))
    assert head(net, flow) == {"token.weight"}
    levels = depths(net, flow, head(net, flow))
    assert levels["token.weight"] == 0
    assert levels["layers.1.qkv.weight"] == max(levels.values())
