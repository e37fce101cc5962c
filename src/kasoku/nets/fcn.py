"""A small fully convolutional net: a class for each pixel of an image of any size."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Interval
from torch import Tensor, nn

from kasoku.nets import shapes
from kasoku.signatures import checked


class FCN(nn.Module):
    """[B, C, H, W] -> logits [B, num_classes, H, W], at the full resolution throughout.

    A 3x3 convolution to `width` channels, then `depth` residual blocks (3x3 convolution, batch norm, ReLU) whose
    dilation doubles from 1 on, so that a pixel sees 2^(depth + 1) + 1 pixels of a side; a 1x1 convolution on top.
    F. Yu, V. Koltun 2016, arXiv 1511.07122. Raises ConfigError naming `model.net.<key>` for a value out of range or an
    input that is no image.
    """

    @checked("model.net.")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)] = 32,
        depth: Annotated[int, Ge(1)] = 4,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ):
        super().__init__()
        channels, _, _ = shapes.image(input_shape)
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(block(width, 2**stage) for stage in range(depth))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for residual in self.blocks:
            x = x + residual(x)
        return self.head(self.dropout(x))


def block(width: int, dilation: int) -> nn.Sequential:
    """3x3 convolution of `dilation` (no bias: the norm has one), batch norm, ReLU; the size stays."""
    conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())
