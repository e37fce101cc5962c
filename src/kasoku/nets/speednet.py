"""A small convolutional net made to learn CIFAR-10 fast.

After the published method of cifar10-airbench: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv
2404.00498.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval, Len
from torch import Tensor, nn

from kasoku.nets import shapes
from kasoku.signatures import checked

Count = Annotated[int, Ge(1)]
SMALLEST = 8  # pixels of a side after whitening: what three poolings by 2 leave something of


class SpeedNet(nn.Module):
    """[B, C, H, W] -> logits [B, num_classes]. H and W from 9 up; 2 M parameters with the default widths.

    1. A fixed convolution that whitens patches, each direction with both signs, and a bias. `prepare` computes it.
    2. Three stages of (conv 3x3, max pooling by 2, norm, GELU, conv 3x3, norm, GELU). Convolutions have no bias, which
       the norm would take off again, and norms no weight. A convolution passes its input through at first, as far as
       it has channels for it.
    3. The maximum over positions, and a linear head without bias, its weights of variance 1, its output scaled.

    Args:
        widths: channels of the three stages.
        head_scale: factor of the logits; None: 1 / the head's inputs.
        momentum: of the norms' running mean and variance towards the current batch.
        patch: pixels of a patch's side, which the whitening sees.
        stride: pixels from one patch to the next. With 2 the stages cost a quarter, and no pixel is lost if `patch` is
            2 or more.
        whiten_bias: train the whitening's bias; without it the gradient ends at the first stage's kernels.
        whiten_eps: added to the patches' variances.
        views: of an image in evaluation, the logits averaged: 1; 2, with its mirror image; 6, both also moved by a
            pixel up-left and down-right, which count half.

    Raises ConfigError naming `model.net.<key>`.
    """

    whitened: Tensor

    @checked("model.net.")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: Count,
        widths: Annotated[Sequence[Count], Len(3, 3)] = (64, 256, 256),
        head_scale: Annotated[float, Gt(0)] | None = None,
        momentum: Annotated[float, Interval(gt=0, le=1)] = 0.4,
        patch: Count = 2,
        stride: Count = 1,
        whiten_bias: bool = True,
        whiten_eps: Annotated[float, Gt(0)] = 5e-4,
        views: Literal[1, 2, 6] = 1,
    ):
        super().__init__()
        smallest = (SMALLEST - 1) * stride + patch
        shapes.image(input_shape, fix="it is that of the data: choose another data or model", least=smallest)
        self.views = views
        self.whiten_eps = whiten_eps
        self.head_scale = head_scale or 1 / widths[-1]
        self.whiten = nn.Conv2d(input_shape[0], 2 * patch**2 * input_shape[0], patch, stride)
        self.whiten.weight.requires_grad_(False)
        self.whiten.bias = nn.Parameter(torch.zeros(self.whiten.out_channels), requires_grad=whiten_bias)
        self.register_buffer("whitened", torch.tensor(False))
        channels = [self.whiten.out_channels, *widths]
        self.stages = nn.Sequential(*(stage(a, b, momentum) for a, b in zip(channels, widths, strict=False)))
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        nn.init.normal_(self.head.weight)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Whiten by the patches of training images [N, C, H, W], some thousand. Once: a trained net stays as it is."""
        if self.whitened:
            return
        directions = whitening(images.float(), self.whiten.kernel_size[0], self.whiten_eps)
        self.whiten.weight.copy_(torch.cat([directions, -directions]))
        self.whitened.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.views == 1:
            return self._logits(x)
        if self.views == 2:
            return self._mirrored(x)
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        moved = self._mirrored(padded[:, :, :-2, :-2]) + self._mirrored(padded[:, :, 2:, 2:])
        return 0.5 * self._mirrored(x) + 0.25 * moved

    def _mirrored(self, x: Tensor) -> Tensor:
        return 0.5 * (self._logits(x) + self._logits(x.flip(-1)))

    def _logits(self, x: Tensor) -> Tensor:
        features = self.stages(F.gelu(self.whiten(x))).amax(dim=(2, 3))
        return self.head(features) * self.head_scale


def stage(before: int, after: int, momentum: float) -> nn.Sequential:
    """conv, pool, norm, GELU, conv, norm, GELU: [B, before, H, W] -> [B, after, H // 2, W // 2]."""
    first, second = through(before, after), through(after, after)
    return nn.Sequential(
        first, nn.MaxPool2d(2), norm(after, momentum), nn.GELU(), second, norm(after, momentum), nn.GELU()
    )


def through(before: int, after: int) -> nn.Conv2d:
    """A 3x3 convolution without bias whose first channels are its input's, the others random."""
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:before])
    return conv


def norm(width: int, momentum: float) -> nn.BatchNorm2d:
    """Batch norm with a bias and a weight that stays 1."""
    layer = nn.BatchNorm2d(width, momentum=momentum)
    layer.weight.requires_grad_(False)
    return layer


def whitening(images: Tensor, side: int, eps: float) -> Tensor:
    """[C * side**2, C, side, side]: eigenvectors of the patches' covariance, each over sqrt(its eigenvalue + eps).

    Convolving with them gives outputs that are uncorrelated, and of variance 1 where eps is small. Patches that do not
    overlap are enough to know the covariance, in a `side**2`-th of the time.
    """
    channels = images.shape[1]
    patches = images.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    values, vectors = torch.linalg.eigh(torch.cov(patches.double().T))
    scaled = vectors.T / torch.sqrt(values + eps)[:, None]
    return scaled.flip(0).view(-1, channels, side, side).to(images.dtype)
