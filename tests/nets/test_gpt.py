"""The GPT: what it may see, against attention written out, initial values, refusals."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kasoku.faults import ConfigError
from kasoku.nets.gpt import GPT, Attention, sinusoids, turn_back

SMALL = {"input_shape": (16,), "num_classes": 11, "n_layer": 2, "n_head": 2, "n_embd": 8}


def test_the_cpu_size_of_nanogpt():
    net = GPT(input_shape=(64,), num_classes=65)
    block = 12 * 128**2 + 2 * 128
    assert sum(p.numel() for p in net.parameters()) == 65 * 128 + 64 * 128 + 4 * block + 128 == 804_096
    assert net.head.weight is net.tokens.weight
    apart = GPT(input_shape=(64,), num_classes=65, tie_weights=False, bias=True)
    biases = 4 * (4 + 4 + 1 + 2) * 128 + 128
    assert sum(p.numel() for p in apart.parameters()) == 804_096 + 65 * 128 + biases


def test_logits_for_every_position():
    net = GPT(**SMALL)
    assert net(torch.randint(11, (3, 16))).shape == (3, 16, 11)
    assert net(torch.randint(11, (3, 5))).shape == (3, 5, 11)


@pytest.mark.parametrize("changed", [0, 7, 15])
def test_a_position_sees_nothing_later(changed: int):
    torch.manual_seed(0)
    net = GPT(**SMALL, init_std=None, embed_std=1.0).double()
    x = torch.randint(11, (1, 16))
    other = x.clone()
    other[0, changed] = (x[0, changed] + 1) % 11
    differ = (net(x) - net(other)).abs().amax(-1)[0]
    assert (differ[:changed] < 1e-12).all()
    assert (differ[changed:] > 1e-6).all()


def test_attention_is_the_formula():
    torch.manual_seed(0)
    layer = Attention(12, 3, 0.0, True).double()
    h = torch.randn(2, 5, 12, dtype=torch.float64)
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        q, k, v = (linear(h)[..., part] for linear in (layer.query, layer.key, layer.value))
        scores = (q @ k.transpose(1, 2) / math.sqrt(4)).masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ v)
    torch.testing.assert_close(layer(h), layer.out(torch.cat(heads, -1)))


@pytest.mark.parametrize(("init", "share"), [("scaled", 1 / math.sqrt(12)), ("plain", 1.0), ("zero", 0.0)])
@pytest.mark.parametrize("init_std", [0.02, None])
def test_initial_deviations(init: str, share: float, init_std: float | None):
    torch.manual_seed(0)
    net = GPT(**(SMALL | {"n_embd": 64, "n_layer": 6}), init=init, init_std=init_std, embed_std=0.5, tie_weights=False)
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            want = init_std or 1 / math.sqrt(module.in_features)
            want *= share if name.endswith(("attention.out", "mlp.out")) else 1
            assert module.weight.std().item() == pytest.approx(want, rel=0.1)
    assert net.tokens.weight.std().item() == pytest.approx(0.5, rel=0.1)
    assert net.positions.weight.std().item() == pytest.approx(0.5, rel=0.1)


def test_sinusoidal_positions_are_orthogonal_and_learned():
    net = GPT(input_shape=(64,), num_classes=65, position_init="sinusoidal", position_std=0.3)
    table = net.positions.weight
    assert table.square().mean().sqrt().item() == pytest.approx(0.3, rel=1e-6)
    torch.testing.assert_close(table @ table.T, 128 * 0.3**2 * torch.eye(64), atol=1e-4, rtol=0)
    assert table.requires_grad


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_turn_leads_back(steps: int):
    table = sinusoids(20, 32)
    torch.testing.assert_close(table[steps:] @ turn_back(32, steps).T, table[: 20 - steps], atol=1e-4, rtol=0)


def test_heads_begin_by_looking_as_many_positions_back():
    options = {"position_init": "sinusoidal", "position_std": 1.0, "attention_init": "offsets"}
    net = GPT(input_shape=(64,), num_classes=65, **options)
    block = net.blocks[0]
    h = block.norm_attention(net.positions.weight)[None]
    q, k = (block.attention._split(layer(h)) for layer in (block.attention.query, block.attention.key))
    scores = (q @ k.mT)[0] / math.sqrt(32)
    for head in range(4):
        assert (scores[head, head:].argmax(1) == torch.arange(64 - head)).all()
        assert scores[head].diagonal(-head).mean().item() == pytest.approx(0.81 * math.sqrt(32), rel=0.1)


@pytest.mark.parametrize("options", [{}, {"position_init": "sinusoidal", "n_embd": 9, "n_head": 3}])
def test_heads_that_cannot_look_back(options: dict[str, object]):
    with pytest.raises(ConfigError, match="attention_init"):
        GPT(**{**SMALL, "attention_init": "offsets", **options})


def test_positions_have_a_deviation_of_their_own():
    wide = {"input_shape": (64,), "num_classes": 65}
    assert GPT(**wide, position_std=0.5).positions.weight.std().item() == pytest.approx(0.5, rel=0.1)
    assert GPT(**wide).positions.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_first_loss_is_that_of_guessing():
    net = GPT(input_shape=(64,), num_classes=65)
    x = torch.randint(65, (8, 65))
    loss = F.cross_entropy(net(x[:, :-1]).flatten(0, -2), x[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(65), abs=0.1)


def test_dropout_is_for_training_only():
    net = GPT(**SMALL, dropout=0.5)
    x = torch.randint(11, (2, 16))
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_too_long_an_input_is_refused():
    with pytest.raises(ConfigError, match=r"model\.net\.block_size=16: must be >= 17, the input's length"):
        GPT(**SMALL)(torch.zeros(1, 17, dtype=torch.long))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_embd": 9}, "model.net.n_embd=9: must be a multiple of n_head, 2"),
        ({"n_head": 0}, "model.net.n_head=0: must be a whole number >= 1"),
        ({"block_size": 8}, "model.net.block_size=8: must be >= data.block_size, 16"),
        ({"input_shape": (3, 8, 8)}, "model.net.input_shape=[3,8,8]: must be [length of a text]"),
        ({"init": "scale"}, "model.net.init=scale: must be one of scaled plain zero"),
        ({"init_std": 0.0}, "model.net.init_std=0.0: "),
    ],
)
def test_refused(options: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        GPT(**(SMALL | options))
    assert said in str(caught.value)
