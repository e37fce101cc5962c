"""Shapes, sizes, initial values and refusals of the nets."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kasoku.data.digits import Digits
from kasoku.faults import ConfigError
from kasoku.nets.cnn import CNN
from kasoku.nets.fcn import FCN
from kasoku.nets.mlp import MLP
from kasoku.nets.resnet import ResNet
from kasoku.nets.speednet import SpeedNet, whitening

IMAGE = (3, 16, 16)


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@settings(max_examples=15, deadline=None)
@given(
    channels=st.integers(1, 4), height=st.integers(1, 12), width=st.integers(1, 12), classes=st.integers(1, 12),
    depth=st.integers(0, 3), hidden=st.integers(1, 9),
)  # fmt: skip
def test_mlp(channels: int, height: int, width: int, classes: int, depth: int, hidden: int):
    net = MLP(input_shape=(channels, height, width), num_classes=classes, hidden=hidden, depth=depth)
    assert net(torch.randn(2, channels, height, width)).shape == (2, classes)
    widths = [channels * height * width, *[hidden] * depth, classes]
    assert size(net) == sum((a + 1) * b for a, b in itertools.pairwise(widths))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 4, 9), (1, 1, 1), (5, 64, 48)])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_cnn(shape: tuple[int, int, int], depth: int):
    net = CNN(input_shape=shape, num_classes=7, width=4, depth=depth, dropout=0.1)
    assert net(torch.randn(3, *shape)).shape == (3, 7)
    widths = [shape[0], *[4 * 2**i for i in range(depth)]]
    convolutions = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(widths))
    assert size(net) == convolutions + 8 * widths[-1] - widths[-1] + 7


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 5), (2, 1, 1)])
@pytest.mark.parametrize("depth", [1, 3])
def test_fcn(shape: tuple[int, int, int], depth: int):
    net = FCN(input_shape=shape, num_classes=4, width=6, depth=depth)
    assert net(torch.randn(2, *shape)).shape == (2, 4, *shape[1:])
    assert size(net) == (9 * shape[0] + 1) * 6 + depth * (9 * 6 * 6 + 2 * 6) + 7 * 4


def test_a_pixel_of_an_fcn_sees_as_far_as_it_says():
    """With depth 2, 2^3 + 1 pixels of a side: 4 to each side of it."""
    net = FCN(input_shape=(1, 15, 15), num_classes=1, width=2, depth=2).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()  # no path is dead
    x = torch.rand(1, 1, 15, 15, requires_grad=True)
    net(x)[0, 0, 7, 7].backward()
    seen = x.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert (seen.min(), seen.max()) == (3, 11)


def test_cnn_learns_the_digits():
    torch.manual_seed(0)
    data = Digits(batch_size=64)
    data.setup()
    net, epochs = CNN(input_shape=data.input_shape, num_classes=10, width=16), 5
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    total = epochs * len(data.train_dataloader())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / 6, 1 - s / total))
    for epoch in range(epochs):
        data.order.set_epoch(epoch)
        for x, y in data.train_dataloader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    right = sum(int((net(x).argmax(1) == y).sum()) for x, y in data.test_dataloader())
    assert right / len(data.test) >= 0.97


def test_resnet18():
    net = ResNet(input_shape=(3, 32, 32), num_classes=10)
    assert size(net) == 11_173_962  # the usual ResNet-18 for CIFAR
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == 17 + 3
    small = ResNet(input_shape=(1, 9, 7), num_classes=4, width=8, blocks=[1, 2])
    assert small(torch.randn(2, 1, 9, 7)).shape == (2, 4)


@pytest.mark.parametrize("zero", [True, False])
def test_resnet_blocks_start_as_the_identity(zero: bool):
    net = ResNet(input_shape=IMAGE, num_classes=3, width=4, blocks=[1], zero_init_residual=zero)
    h = net.stem(torch.randn(2, *IMAGE))
    assert torch.equal(net.blocks(h), h) == zero


def test_speednet_has_the_size_of_the_published_one():
    net = SpeedNet(input_shape=(3, 32, 32), num_classes=10)
    biases, convolutions = 24 + 4 * 256 + 2 * 64, 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == biases + convolutions + 2560 == 1_971_352
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    norms = {f"{name}.weight" for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert frozen == norms | {"whiten.weight"}


@pytest.mark.parametrize("side", [9, 16, 33])
def test_speednet_shapes(side: int):
    net = SpeedNet(input_shape=(3, side, side + 2), num_classes=5, widths=[4, 6, 8])
    assert net(torch.randn(2, 3, side, side + 2)).shape == (2, 5)


@pytest.mark.parametrize(("patch", "stride", "smallest"), [(2, 1, 9), (3, 2, 17), (4, 3, 25)])
def test_speednet_whitens_patches_apart(patch: int, stride: int, smallest: int):
    settings = {"num_classes": 5, "widths": [4, 6, 8], "patch": patch, "stride": stride, "whiten_bias": False}
    net = SpeedNet(input_shape=(3, smallest, smallest), **settings)
    net.prepare(torch.randn(50, 3, smallest, smallest))
    assert net.whiten(torch.randn(2, 3, smallest, smallest)).shape == (2, 6 * patch**2, 8, 8)
    assert net(torch.randn(2, 3, smallest, smallest)).shape == (2, 5)
    assert not net.whiten.bias.requires_grad
    with pytest.raises(ConfigError, match=f"at least {smallest} pixels a side"):
        SpeedNet(input_shape=(3, smallest - 1, smallest), **settings)


def test_whitening_makes_patches_uncorrelated():
    mixed = torch.randn(200, 3, 9, 9).cumsum(2).cumsum(3) @ torch.rand(9, 9)
    patches = nn.functional.conv2d(mixed, whitening(mixed, 2, 1e-9), stride=2).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(patches), torch.eye(12), atol=1e-2, rtol=0)


def test_speednet_is_whitened_once():
    net = SpeedNet(input_shape=IMAGE, num_classes=5, widths=[4, 6, 8])
    net.prepare(torch.randn(50, *IMAGE))
    weight = net.whiten.weight.clone()
    assert torch.equal(weight[:12], -weight[12:])
    net.prepare(torch.randn(50, *IMAGE))
    assert torch.equal(net.whiten.weight, weight)
    other = SpeedNet(input_shape=IMAGE, num_classes=5, widths=[4, 6, 8])
    other.load_state_dict(net.state_dict())
    other.prepare(torch.randn(50, *IMAGE))
    assert torch.equal(other.whiten.weight, weight)


def test_speednet_passes_its_input_through_at_first():
    conv = SpeedNet(input_shape=IMAGE, num_classes=5, widths=[30, 30, 8]).stages[0][0]
    x = torch.randn(2, 24, 5, 5)
    torch.testing.assert_close(conv(x)[:, :24], x)


def test_speednet_averages_views_in_evaluation():
    net = SpeedNet(input_shape=IMAGE, num_classes=5, widths=[4, 6, 8], views=6).eval()
    x = torch.randn(2, *IMAGE)
    net.views = 1
    left_right = lambda image: (net(image) + net(image.flip(-1))) / 2  # noqa: E731
    framed = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    corners = (left_right(framed[..., :-2, :-2]) + left_right(framed[..., 2:, 2:])) / 2
    want = {2: left_right(x), 6: (left_right(x) + corners) / 2}
    for views, logits in want.items():
        net.views = views
        torch.testing.assert_close(net(x), logits)
    net.train()
    with torch.no_grad():
        assert net(x).shape == (2, 5)


def test_speednet_logits_start_small():
    net = SpeedNet(input_shape=IMAGE, num_classes=1000, widths=[4, 6, 64])
    features = torch.ones(1, 64)
    assert (net.head(features) * net.head_scale).std().item() == pytest.approx(1 / math.sqrt(64), rel=0.2)


@pytest.mark.parametrize(
    ("net", "options", "said"),
    [
        (MLP, {"hidden": 0}, "model.net.hidden=0: must be a whole number >= 1"),
        (MLP, {"activation": "rel"}, "model.net.activation=rel: must be one of relu gelu silu tanh"),
        (MLP, {"dropout": 1.0}, "model.net.dropout=1.0: "),
        (CNN, {"width": -1}, "model.net.width=-1: "),
        (CNN, {"depth": 0}, "model.net.depth=0: "),
        (CNN, {"input_shape": (64,)}, "model.net.input_shape=[64]: must be [channels, height, width]"),
        (FCN, {"input_shape": (64,)}, "model.net.input_shape=[64]: must be [channels, height, width]"),
        (ResNet, {"blocks": []}, "model.net.blocks=[]: "),
        (ResNet, {"blocks": [2, 0]}, "model.net.blocks=[2,0]: "),
        (ResNet, {"input_shape": (64,)}, "model.net.input_shape=[64]: must be [channels, height, width]"),
        (SpeedNet, {"widths": [1, 2]}, "model.net.widths=[1,2]: "),
        (SpeedNet, {"views": 3}, "model.net.views=3: must be one of 1 2 6"),
        (
            SpeedNet,
            {"input_shape": (1, 8, 8)},
            "model.net.input_shape=[1,8,8]: must be [channels, height, width] with at",
        ),
    ],
)
def test_refused(net: type[nn.Module], options: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        net(**({"input_shape": IMAGE, "num_classes": 10} | options))
    assert said in str(caught.value)
