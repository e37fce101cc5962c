"""Images in folders named by class, decoded and augmented by worker processes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kasoku.checked import checked
from kasoku.data.crops import Crop, pixels
from kasoku.data.folders import Files, find
from kasoku.data.memory import Batch, Count, Seed
from kasoku.data.module import DataModule, Loader
from kasoku.data.order import Order, eval_bounds, train_batches, train_positions
from kasoku.faults import ConfigError, Fault

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
        except (OSError, SyntaxError, ValueError) as error:
            must = f"{path} must be an image ({type(error).__name__}: {error})"
            return Fault("data.root", path.parent, must, "repair or remove it")


def collate(samples: list[tuple[Tensor, int] | Fault]) -> Batch | list[Fault]:
    """The batch, or what is wrong with it: an exception would lose its type on the way from a worker."""
    good = [sample for sample in samples if not isinstance(sample, Fault)]
    if len(good) < len(samples):
        return [sample for sample in samples if isinstance(sample, Fault)]
    return torch.stack([image for image, _ in good]), torch.tensor([label for _, label in good])


class Plan:
    """A batch sampler that asks `batches()` anew for each epoch, while the workers live on."""

    def __init__(self, batches: Callable[[], Sequence[list[Sample]]]):
        self.batches = batches

    def __iter__(self) -> Iterator[list[Sample]]:
        return iter(self.batches())


class FolderLoader(Loader):
    """What `loader` yields, on `device` and scaled: float32 [B, 3, size, size], each channel less `mean` over `std`.

    `length` is the number of batches of a whole epoch; `sampler` gets the epoch from Lightning.
    """

    def __init__(
        self,
        loader: DataLoader,
        length: int,
        device: torch.device,
        scale: tuple[Sequence[float], Sequence[float]],
        sampler: Order | None = None,
    ):
        self.loader = loader
        self.length = length
        self.device = device
        self.mean, self.std = (255 * torch.tensor(values, device=device)[:, None, None] for values in scale)
        self.sampler = sampler

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            if isinstance(batch[0], Fault):
                raise ConfigError(*batch)
            x, y = (part.to(self.device, non_blocking=True) for part in batch)
            yield (x - self.mean) / self.std, y


class ImageFolder(DataModule):
    """x float32 [B, 3, size, size], standardised per channel; y int64 [B], classes in alphabetical order.

    `root` has a folder for each class, split by the fractions and the seed; or it has folders `train`, `val` and `test`
    that do (see `kasoku.data.folders.find`). An image's random crop and flip are functions of (seed, epoch, its
    number), whichever process does them. Raises ConfigError naming `data.<key>`; a broken image when its batch is due.
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
        num_workers: Annotated[int, Ge(0)] = 2,
        prefetch: Count = 2,
        drop_last: bool = True,
        seed: Seed = 0,
    ):
        super().__init__()
        if root is None:
            raise ConfigError(Fault("data.root", None, "must name a folder of images", "data.root=FOLDER"))
        self.root = Path(root)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.fractions = val_fraction, test_fraction
        self.crop = Crop(size, flip, min_scale)
        self.scale = mean, std
        self.num_workers = num_workers
        self.prefetch = prefetch
        self.drop_last = drop_last
        self.seed = seed
        self.input_shape = (3, size, size)

    def setup(self, stage: str | None = None) -> None:
        """Find and split the files."""
        if self.order is None:
            self.parts = find(self.root, *self.fractions, self.seed)
            self.num_classes = len(self.parts.classes)
            self.order = Order(len(self.parts.train), self.seed)
        self.check_batch_size()

    def sample(self, count: int) -> Tensor:
        """x of the first `count` training images, the middle of each: for nets that are prepared with data."""
        batch = [Sample(index, None) for index in range(min(count, len(self.parts.train)))]
        return next(iter(self._loader(self.parts.train, lambda: [batch], 1)))[0]

    def train_dataloader(self) -> FolderLoader:
        assert self.order is not None
        args = self.order.size, self.batch_size, self.shard(), self.drop_last
        positions, length = train_positions(*args), train_batches(*args)
        return self._loader(self.parts.train, lambda: self._rest_of_epoch(positions), length, self.order)

    def _rest_of_epoch(self, positions: Tensor) -> list[list[Sample]]:
        assert self.order is not None
        done = self.begin()
        index = self.order()[positions][done * self.batch_size :]
        return [[Sample(i, self.order.epoch) for i in batch.tolist()] for batch in index.split(self.batch_size)]

    def val_dataloader(self) -> FolderLoader:
        return self._eval(self.parts.val)

    def test_dataloader(self) -> FolderLoader:
        return self._eval(self.parts.test)

    def _eval(self, files: Files) -> FolderLoader:
        bounds = eval_bounds(len(files), self.eval_batch_size, self.shard())
        batches = [[Sample(index, None) for index in range(start, end)] for start, end in bounds]
        return self._loader(files, lambda: batches, len(batches))

    def _loader(
        self, files: Files, batches: Callable[[], Sequence[list[Sample]]], length: int, sampler: Order | None = None
    ) -> FolderLoader:
        device = self.device()
        loader = DataLoader(
            Images(files, self.crop, self.seed),
            batch_sampler=Plan(batches),  # type: ignore[arg-type]
            collate_fn=collate,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            pin_memory=device.type == "cuda",
        )
        return FolderLoader(loader, length, device, self.scale, sampler)
