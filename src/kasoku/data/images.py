"""Images in memory, augmented batch by batch on their device."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from kasoku.data.memory import Batch, Gather, Rows
from kasoku.data.order import AUGMENT, FLIP, generator

Flip = Literal["none", "random", "alternate"]
Padding = Literal["reflect", "zero"]


@dataclass(frozen=True)
class Augment:
    """Random changes of training images.

    Args:
        flip: left-right: `random` flips an image in half of the epochs; `alternate` flips a random half of the images
            in the first epoch and then every image in every other epoch, so that two epochs always show both sides
            (K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498).
        translate: pixels an image may move in each direction, evenly drawn; what moves in is filled by `padding`:
            the mirrored image, or zeros (the mean of standardised images).
        cutout: side in pixels of a square set to zero, its centre anywhere, clipped at the border (T. DeVries,
            G. W. Taylor, arXiv 1708.04552); 0 for none.
    """

    flip: Flip = "none"
    translate: int = 0
    padding: Padding = "reflect"
    cutout: int = 0

    @property
    def none(self) -> bool:
        """True if images stay as they are."""
        return self.flip == "none" and not self.translate and not self.cutout


@dataclass(frozen=True)
class Draws:
    """Random numbers of an epoch for each image of a set: flip [N], the crop's corner, the cutout's centre [N, 2]."""

    flip: Tensor
    corner: Tensor
    centre: Tensor

    @classmethod
    def of(cls, augment: Augment, size: int, resolution: tuple[int, int], seed: int, epoch: int) -> Self:
        """The draws for `size` images: a function of (seed, epoch), on the CPU so that every device has the same."""
        rng = generator(seed, epoch, AUGMENT)
        corner = torch.randint(0, 2 * augment.translate + 1, (size, 2), generator=rng)
        centre = torch.stack([torch.randint(0, side, (size,), generator=rng) for side in resolution], dim=1)
        if augment.flip == "alternate":
            flip = (torch.randint(0, 2, (size,), generator=generator(seed, FLIP)) + epoch) % 2
        else:
            flip = torch.randint(0, 2, (size,), generator=rng)
        return cls(flip.bool(), corner, centre)

    def take(self, index: Tensor, device: torch.device) -> Self:
        """The draws for the images `index`, on `device`."""
        return replace(self, **{name: value[index].to(device) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Images(Rows):
    """Images x [N, C, H, W], padded on each side by `augment.translate`, and labels y [N]. Made by `images`."""

    augment: Augment
    seed: int

    def batch(self, start: int, end: int) -> Batch:
        t = self.augment.translate
        x = self.x[start:end]
        return x[:, :, t : x.shape[2] - t, t : x.shape[3] - t], self.y[start:end]

    def gather(self, index: Tensor, epoch: int) -> Gather:
        """A function that returns the images `index[part]` as the epoch shows them."""
        if self.augment.none:
            return super().gather(index, epoch)
        device, margin = self.x.device, 2 * self.augment.translate
        height, width = self.x.shape[2] - margin, self.x.shape[3] - margin
        drawn = Draws.of(self.augment, len(self), (height, width), self.seed, epoch).take(index, device)
        index = index.to(device)
        # every crop of every image as a view, so that one indexing picks the images and their crops
        crops = self.x.unfold(2, height, 1).unfold(3, width, 1)

        def gathered(part: slice) -> Batch:
            top, left = drawn.corner[part].unbind(1)
            x = crops[index[part], :, top, left] if margin else self.x.index_select(0, index[part])
            if self.augment.flip != "none":
                x = torch.where(drawn.flip[part, None, None, None], x.flip(-1), x)
            if self.augment.cutout:
                x = cut_out(x, drawn.centre[part], self.augment.cutout)
            return x, self.y.index_select(0, index[part])

        return gathered


def images(x: Tensor, y: Tensor, augment: Augment, seed: int) -> Images:
    """`x` [N, C, H, W] ready to be augmented: padded by `augment.translate`."""
    if augment.translate:
        x = F.pad(x, (augment.translate,) * 4, mode="reflect" if augment.padding == "reflect" else "constant")
    return Images(x, y, augment, seed)


def cut_out(x: Tensor, centre: Tensor, side: int) -> Tensor:
    """`x` [B, C, H, W] with zeros in the `side` x `side` square around each `centre` [B, 2], clipped to the image."""
    rows = torch.arange(x.shape[2], device=x.device) - centre[:, :1] + side // 2
    columns = torch.arange(x.shape[3], device=x.device) - centre[:, 1:] + side // 2
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return x.masked_fill(inside[:, None], 0.0)
