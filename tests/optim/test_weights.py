"""Weight decay on weights alone, as practitioners' own lists have it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

from kasoku.faults import ConfigError
from kasoku.nets.gpt import GPT
from kasoku.nets.resnet import ResNet
from kasoku.optim.groups import Groups
from kasoku.optim.muon import kinds
from kasoku.optim.weights import spared


class Attention(nn.Module):
    """As Swin's: a table of biases by relative position."""

    def __init__(self, width: int = 8, heads: int = 2):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(25, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.logit_scale = nn.Parameter(torch.ones(heads, 1, 1))


class VisionTransformer(nn.Module):
    """With the bare parameters that such nets have, and no word about them."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 10, width))
        self.positional_embedding = nn.Parameter(torch.zeros(10, width))  # CLIP's has no batch dimension
        self.rel_pos_h = nn.Parameter(torch.zeros(5, width))
        self.prompts = nn.ParameterList([nn.Parameter(torch.zeros(4, width)) for _ in range(2)])
        self.patch = nn.Conv2d(3, width, 4)
        self.attention = Attention(width)
        self.gamma = nn.Parameter(torch.ones(1, width, 1, 1))
        self.layer_scale = nn.Parameter(torch.ones(width, 1, 1))
        self.grid = nn.Parameter(torch.zeros(1, width, 4, 4))
        self.norm = nn.LayerNorm([width, 2])
        self.mixing = nn.Parameter(torch.zeros(width, width))
        self.experts = nn.Parameter(torch.zeros(3, width, width))
        self.token_weight = nn.Parameter(torch.zeros(10, 10))
        self.narrow = nn.Linear(width, 1)
        self.depthwise = nn.Conv2d(1, 6, 1)
        self.mha = nn.MultiheadAttention(width, 2, add_bias_kv=True)
        self.rnn = nn.LSTM(1, 4)


WEIGHTS = {
    "patch.weight", "attention.qkv.weight", "mixing", "experts", "token_weight", "narrow.weight", "depthwise.weight",
    "mha.in_proj_weight", "mha.out_proj.weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0",
}  # fmt: skip


def decayed(net: nn.Module) -> set[str]:
    groups = Groups().split(net, 0.1, 0.01)
    ids = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    return {name for name, p in net.named_parameters() if id(p) in ids}


def test_weights_decay_and_nothing_else_does():
    assert decayed(VisionTransformer()) == WEIGHTS


def test_muon_takes_no_positions_tokens_or_tables():
    net = VisionTransformer()
    muon = {name for name, kind in kinds(net).items() if kind == "muon"}
    assert muon <= WEIGHTS
    assert not muon & {"positional_embedding", "rel_pos_h", "attention.relative_position_bias_table"}


class Own(nn.Module):
    """Gives names in one of the ways in use."""

    def __init__(self, said: object, call: bool = True):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.mix = nn.Parameter(torch.zeros(4, 4))
        self.no_weight_decay = (lambda: said) if call else said


@pytest.mark.parametrize("call", [True, False])
@pytest.mark.parametrize("said", [{"mix"}, ["mix"], ("mix", "dist_token"), "mix", {"mix": 1}.keys()])
def test_what_the_net_names_is_spared_whatever_form_the_names_have(said, call):
    assert decayed(Own(said, call)) == {"body.0.weight", "body.1.weight"}


def test_names_count_from_the_module_that_says_them_and_may_be_of_modules():
    wrapped = nn.ModuleDict({"net": Own({"mix", "body.0"}), "other": Own(set())})
    assert decayed(wrapped) == {"net.body.1.weight", "other.body.0.weight", "other.body.1.weight", "other.mix"}


def test_parts_of_names_and_marks_on_parameters():
    net = Own(set())
    net.no_weight_decay_keywords = lambda: {"body.1"}
    net.mix._no_weight_decay = True
    assert decayed(net) == {"body.0.weight"}


@pytest.mark.parametrize("said", [3, [1, 2], None])
def test_what_gives_no_names_is_refused(said):
    with pytest.raises(ConfigError, match=r"Own.no_weight_decay: gives .* must give the names of parameters"):
        decayed(Own(said))


def test_lengths_of_normed_weights_are_scales():
    net = nn.Sequential(weight_norm(nn.Linear(4, 4)), parametrizations.weight_norm(nn.Conv2d(4, 4, 3)))
    assert spared(net) == {
        "0.bias", "0.weight_g", "1.bias", "1.parametrizations.weight.original0",
    }  # fmt: skip


def test_no_decay_off_decays_everything():
    groups = Groups(no_decay=False).split(VisionTransformer(), 0.1, 0.01)
    assert {group["weight_decay"] for group in groups} == {0.01}


@pytest.mark.parametrize(
    "net", [GPT(input_shape=[8], num_classes=11, n_layer=2, n_embd=8), ResNet(input_shape=[3, 8, 8], num_classes=3)]
)
def test_nets_of_the_project_keep_their_groups(net):
    """Biases, norms and embeddings, and nothing else: those nets have no bare parameters."""
    special = [m for m in net.modules() if isinstance(m, nn.Embedding | nn.LayerNorm | nn.BatchNorm2d)]
    ids = {id(p) for m in special for p in m.parameters()} | {id(p) for p in net.parameters() if p.ndim < 2}
    assert spared(net) == {name for name, p in net.named_parameters() if id(p) in ids}


class Scaled(nn.Module):
    """A layer of one's own with a matrix named as a layer's, used as x W."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 6))
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


def test_the_weight_of_a_layer_of_ones_own_decays():
    assert decayed(nn.Sequential(Scaled(), nn.Linear(6, 2))) == {"0.weight", "1.weight"}
