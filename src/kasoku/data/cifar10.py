"""CIFAR-10 in memory: 50 000 training and 10 000 test images of 32x32 in ten classes."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from kasoku.data import cifar10_files as files
from kasoku.data.images import Augment, Flip, Images, Padding, images
from kasoku.data.memory import Count, InMemory, Seed
from kasoku.data.order import stratified
from kasoku.faults import ConfigError, Fault
from kasoku.signatures import checked

MEAN = (0.4914, 0.4822, 0.4465)  # of the 50 000 training images, pixels in [0, 1]
STD = (0.2470, 0.2435, 0.2616)
SIDE = 32
IMAGES = 50_000


class CIFAR10(InMemory):
    """x float32 [B, 3, size, size], standardised per channel; y int64 [B].

    Read from the official python batches under `root`, which are downloaded where they are missing. Validation images
    are taken from the training images, stratified, by the seed; with `val_size` 0 all 50 000 train and validation is
    the test set, for runs whose protocol has no validation set. Raises ConfigError naming `data.<key>`.
    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    @checked("data.")
    def __init__(
        self,
        *,
        root: str = "datasets/cifar10",
        batch_size: Count = 512,
        eval_batch_size: Count = 2000,
        val_size: Annotated[int, Ge(0)] = 5000,
        size: Count = SIDE,
        flip: Flip = "random",
        translate: Annotated[int, Ge(0)] = 2,
        padding: Padding = "reflect",
        cutout: Annotated[int, Ge(0)] = 0,
        drop_last: bool = True,
        seed: Seed = 0,
    ):
        if faults := _misfits(size, translate, cutout, val_size):
            raise ConfigError(*faults)
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, drop_last=drop_last, seed=seed)
        self.root = Path(root)
        self.val_size = val_size
        self.size = size
        self.augment = Augment(flip, translate, padding, cutout)
        self.input_shape = (3, size, size)
        self.num_classes = 10

    def prepare_data(self) -> None:
        """Download the batches where they are missing."""
        files.ensure(self.root)

    def load(self) -> tuple[Images, Images, Images]:
        """Read, split, shrink and standardise the images."""
        pixels, labels = files.read(self.root, files.TRAIN)
        parts = stratified(labels, [len(labels) - self.val_size, self.val_size], self.seed)
        test = self._rows(*files.read(self.root, files.TEST), Augment())
        train = self._rows(pixels[parts[0]], labels[parts[0]], self.augment)
        return train, self._rows(pixels[parts[1]], labels[parts[1]], Augment()) if self.val_size else test, test

    def _rows(self, pixels: np.ndarray, labels: np.ndarray, augment: Augment) -> Images:
        x = standardized(torch.from_numpy(pixels), self.size)
        return images(x, torch.from_numpy(labels), augment, self.seed)


def _misfits(size: int, translate: int, cutout: int, val_size: int) -> list[Fault]:
    faults = []
    if SIDE % size:
        faults.append(Fault("data.size", size, f"must divide {SIDE}: 32 16 8 4 2 1"))
    if translate >= size:
        faults.append(Fault("data.translate", translate, f"must be below the images' size of {size} pixels"))
    if cutout > size:
        faults.append(Fault("data.cutout", cutout, f"must be at most the images' size of {size} pixels"))
    if val_size >= IMAGES:
        faults.append(Fault("data.val_size", val_size, f"must be below {IMAGES}, the number of training images"))
    return faults


def standardized(pixels: Tensor, size: int) -> Tensor:
    """uint8 [N, 3, 32, 32] -> float32 [N, 3, size, size]: means of squares, each channel of mean 0 and variance 1."""
    x = pixels.float().div_(255)
    x = F.avg_pool2d(x, SIDE // size) if size != SIDE else x
    return x.sub_(torch.tensor(MEAN)[:, None, None]).div_(torch.tensor(STD)[:, None, None])
