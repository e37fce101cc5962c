"""Images in folders named by class, decoded and augmented by worker processes."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor
from torch.utils.data import Dataset

from kasoku.data import decoding
from kasoku.data.crops import Crop, pixels
from kasoku.data.folders import Files, find, said
from kasoku.data.inspection import inspect
from kasoku.data.memory import Batch, Count, Seed
from kasoku.data.module import DataModule
from kasoku.data.order import Order, eval_bounds, train_batches, train_positions
from kasoku.data.workers import PlannedLoader, Workers, split
from kasoku.faults import ConfigError, Fault
from kasoku.signatures import checked

log = logging.getLogger("kasoku")

Channels = tuple[float, float, float]


class Sample(NamedTuple):
    """The number of an image in its set, and the epoch that shows it; None for evaluation."""

    number: int
    epoch: int | None


class Images(Dataset[tuple[Tensor, int] | Fault]):
    """uint8 [3, size, size] and the label of a Sample, or the Fault of a file that cannot be read."""

    def __init__(self, files: Files, crop: Crop, seed: int):
        self.files = files
        self.crop = crop
        self.seed = seed

    def __getitem__(self, sample: Sample) -> tuple[Tensor, int] | Fault:
        number, epoch = sample
        path = self.files.paths[number]
        rng = None if epoch is None else np.random.default_rng([self.seed, epoch, number])
        try:
            return torch.from_numpy(pixels(path, self.crop, rng)), int(self.files.labels[number])
        except Exception as error:  # broken files fail in any way
            return decoding.fault(path, error)


def collate(samples: list[tuple[Tensor, int] | Fault]) -> Batch | list[Fault]:
    """The batch, or what is wrong with it: an exception would lose its type on the way from a worker."""
    good = [sample for sample in samples if not isinstance(sample, Fault)]
    if len(good) < len(samples):
        return [sample for sample in samples if isinstance(sample, Fault)]
    return torch.stack([image for image, _ in good]), torch.tensor([label for _, label in good])


class FolderLoader(PlannedLoader):
    """Batches on `device`, scaled: float32 [B, 3, size, size], each channel less `mean` over `std`."""

    def __init__(self, *planned: Any, device: torch.device, scale: tuple[Sequence[float], Sequence[float]]):
        super().__init__(*planned)
        self.device = device
        self.mean, self.std = (255 * torch.tensor(values, device=device)[:, None, None] for values in scale)

    def finished(self, batch: Batch | list[Fault]) -> Batch:
        """The batch on the device, scaled. Raises ConfigError for images that could not be read."""
        if isinstance(batch[0], Fault):
            raise ConfigError(*batch)
        x, y = (part.to(self.device, non_blocking=True) for part in batch)
        return (x - self.mean) / self.std, y


class ImageFolder(DataModule):
    """x float32 [B, 3, size, size], standardised per channel; y int64 [B], classes in alphabetical order.

    `root` has a folder for each class, split by the fractions and the seed; or it has folders `train`, `val` and `test`
    that do (see `kasoku.data.folders.find`). The files are looked at before training (see `kasoku.data.inspection`),
    and all of them decoded with `verify`. An image's random crop and flip are functions of (seed, epoch, its number),
    whichever process does them. Raises ConfigError naming `data.<key>`.
    """

    @checked("data.")
    def __init__(
        self,
        *,
        root: str | None,
        size: Count = 224,
        batch_size: Count = 64,
        eval_batch_size: Count = 128,
        val_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
        test_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        flip: bool = True,
        min_scale: Annotated[float, Interval(gt=0, le=1)] = 0.25,
        mean: Channels = (0.485, 0.456, 0.406),
        std: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.229, 0.224, 0.225),
        white: Annotated[float, Gt(0)] | None = None,
        verify: bool = False,
        num_workers: Annotated[int, Ge(0)] = 2,
        prefetch: Count = 2,
        drop_last: bool = True,
        seed: Seed = 0,
    ):
        super().__init__()
        if root is None:
            raise ConfigError(Fault("data.root", None, "must name a folder of images", "data.root=FOLDER"))
        self.root = Path(root)
        self.origin = "data.root", root
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.fractions = val_fraction, test_fraction
        self.crop = Crop(size, flip, min_scale, white)
        self.verify = verify
        self.scale = mean, std
        self.num_workers = num_workers
        self.prefetch = prefetch
        self.drop_last = drop_last
        self.seed = seed
        self.input_shape = (3, size, size)

    def setup(self, stage: str | None = None) -> None:
        """Find, split and look at the files."""
        if self.order is None:
            parts = self.parts = find(self.root, *self.fractions, self.seed)
            if parts.left_out:
                log.info("data.root=%s: left out %s", self.root, said(parts.left_out))
            paths = dict.fromkeys([*parts.train.paths, *parts.val.paths, *parts.test.paths])
            inspect(list(paths), self.crop.white, self.verify)
            self.num_classes = len(self.parts.classes)
            self.order = Order(len(self.parts.train), self.seed)
        self.check_batch_size()

    def sample(self, count: int) -> Tensor:
        """x of the first `count` training images, the middle of each: for nets that are prepared with data."""
        batch = [Sample(index, None) for index in range(min(count, len(self.parts.train)))]
        return next(self._loader(self.parts.train, lambda done: [batch], 1).first(1))[0]

    def train_dataloader(self) -> FolderLoader:
        order = self.training_order()
        args = order.size, self.batch_size, self.shard(), self.drop_last

        def plan(done: int) -> list[list[Sample]]:
            index = order()[train_positions(*args, done)]
            return [[Sample(i, order.epoch) for i in batch] for batch in split(index, self.batch_size)]

        return self._loader(self.parts.train, plan, train_batches(*args), self.begin, order)

    def val_dataloader(self) -> FolderLoader:
        return self._eval(self.parts.val)

    def test_dataloader(self) -> FolderLoader:
        return self._eval(self.parts.test)

    def _eval(self, files: Files) -> FolderLoader:
        bounds = eval_bounds(len(files), self.eval_batch_size, self.shard())
        batches = [[Sample(index, None) for index in range(start, end)] for start, end in bounds]
        return self._loader(files, lambda done: batches, len(batches))

    def _loader(self, files: Files, *planned: Any) -> FolderLoader:
        device, pin_memory = self.device(), self.device().type == "cuda"
        images = Images(files, self.crop, self.seed)
        workers = Workers(images, collate, self.num_workers, self.prefetch, pin_memory)
        return FolderLoader(workers, *planned, device=device, scale=self.scale)
