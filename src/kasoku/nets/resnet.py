"""ResNet for small images: the stem keeps the resolution."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from kasoku.nets import shapes
from kasoku.signatures import checked

Count = Annotated[int, Ge(1)]


class ResNet(nn.Module):
    """[B, C, H, W] -> logits [B, num_classes].

    A 3x3 convolution, then stages of basic blocks, the width doubling and the resolution halving from stage to stage,
    then the mean over positions and a linear head. With `width` 64 and `blocks` [2, 2, 2, 2] this is ResNet-18 for
    CIFAR, 11.2 M parameters. `zero_init_residual`: blocks start as the identity (P. Goyal et al., arXiv 1706.02677).
    Raises ConfigError naming `model.net.<key>`.
    Source: K. He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
    """

    @checked("model.net.")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: Count,
        width: Count = 64,
        blocks: Annotated[Sequence[Count], MinLen(1)] = (2, 2, 2, 2),
        zero_init_residual: bool = True,
    ):
        super().__init__()
        channels, _, _ = shapes.image(input_shape)
        self.stem = nn.Sequential(conv3x3(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        layers: list[nn.Module] = []
        before = width
        for stage, count in enumerate(blocks):
            after = width * 2**stage
            for number in range(count):
                layers.append(BasicBlock(before, after, stride=2 if stage and not number else 1))
                before = after
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(before, num_classes)
        self._initialize(zero_init_residual)

    def _initialize(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock) and zero_init_residual:
                nn.init.zeros_(module.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.mean(self.blocks(self.stem(x)), dim=(2, 3)))


class BasicBlock(nn.Module):
    """relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))), the shortcut a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = conv3x3(before, after, stride), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = conv3x3(after, after, 1), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            project = nn.Conv2d(before, after, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(h)))


def conv3x3(before: int, after: int, stride: int) -> nn.Conv2d:
    """A 3x3 convolution without bias, which the norm behind it has."""
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
