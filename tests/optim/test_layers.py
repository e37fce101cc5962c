"""The depth of parameters in nets of several builds."""

import pytest
from torch import nn

from kasoku.nets.cnn import CNN
from kasoku.nets.mlp import MLP
from kasoku.optim.layers import depths
from tests.optim.nets import Block, TinyGPT


def first(levels, start):
    """The depths of the parameters whose name begins so."""
    return sorted({level for name, level in levels.items() if name.startswith(start)})


def test_gpt():
    levels = depths(TinyGPT(depth=3))
    assert [first(levels, start) for start in ("token", "position")] == [[0], [0]]
    assert [first(levels, f"layers.{i}.") for i in range(3)] == [[1], [2], [3]]
    assert [first(levels, start) for start in ("norm", "head")] == [[3], [4]]


def test_sequential_counts_layers_and_a_norm_belongs_to_the_layer_before():
    levels = depths(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Linear(2, 2))
    )
    assert list(levels.values()) == [0, 0, 0, 0, 1, 1, 2, 2]


def test_cnn_and_mlp_of_the_project():
    cnn = depths(CNN(input_shape=(1, 8, 8), num_classes=10, depth=3))
    assert [first(cnn, f"stages.{i}.") for i in range(3)] + [first(cnn, "head")] == [[0], [1], [2], [3]]
    mlp = depths(MLP(input_shape=(1, 8, 8), num_classes=10))
    assert sorted(set(mlp.values())) == list(range(max(mlp.values()) + 1))


class Stage(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(4), Block(4)])


class Staged(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.stages = nn.Sequential(Stage(), Stage())
        self.head = nn.Linear(4, 2)


class Wrapper(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net, self.loss = net, nn.CrossEntropyLoss()


@pytest.mark.parametrize("wrap", [lambda net: net, Wrapper], ids=["plain", "wrapped"])
def test_stages_of_blocks_are_looked_into_and_blocks_are_not(wrap):
    levels = depths(wrap(Staged()))
    assert sorted(set(levels.values())) == [0, 1, 2, 3, 4, 5]
    names = {name.removeprefix("net."): level for name, level in levels.items()}
    assert first(names, "stages.1.blocks.0.") == [3]


def test_a_tied_head_leaves_the_last_block_on_top():
    levels = depths(TinyGPT(depth=2, tied=True))
    assert first(levels, "layers.1.") == [max(levels.values())] == [2]
