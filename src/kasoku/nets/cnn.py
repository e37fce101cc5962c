"""A small convolutional net for images of any size from 4x4 up."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from kasoku.nets import shapes
from kasoku.signatures import checked


class CNN(nn.Module):
    """[B, C, H, W] -> logits [B, num_classes].

    `depth` stages of (3x3 convolution, batch norm, ReLU), the width doubling and the resolution halving (max pooling)
    from stage to stage while it is above 2; then the mean over positions, dropout, and a linear head.
    Raises ConfigError naming `model.net.<key>` for a value out of range or an input that is no image.
    """

    @checked("model.net.")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)] = 32,
        depth: Annotated[int, Ge(1)] = 3,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ):
        super().__init__()
        channels, *resolution = shapes.image(input_shape, fix="for other data: model=mlp")
        widths = [width * 2**stage for stage in range(depth)]
        stages: list[nn.Module] = []
        for before, after in zip([channels, *widths], widths, strict=False):
            stages.append(stage(before, after, pool=min(resolution) > 2))
            resolution = [size // 2 if min(resolution) > 2 else size for size in resolution]
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(torch.mean(self.stages(x), dim=(2, 3))))


def stage(before: int, after: int, pool: bool) -> nn.Sequential:
    """3x3 convolution (no bias: the norm has one), batch norm, ReLU, and max pooling by 2 where `pool`."""
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))
