"""LightningDataModules around datasets and DataLoaders of one's own."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Interval
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate

from kasoku.data.exact import with_own_seeds
from kasoku.data.memory import Count, Seed
from kasoku.data.module import DataModule, device_of, shard_of
from kasoku.data.order import (
    EVALUATE,
    FETCH,
    SPLIT,
    Order,
    Shard,
    eval_bounds,
    generator,
    permutation,
    train_batches,
    train_positions,
)
from kasoku.data.seeded import Drawn, Seeded, as_it_is
from kasoku.data.workers import PlannedLoader, Workers, split
from kasoku.faults import ConfigError, Fault

log = logging.getLogger("kasoku")

LOOKED_AT = 4  # samples fetched several times, to see whether a seed repeats them
INEXACT = "a run that is cut inside an epoch would not go on with its next batch"


@dataclass(frozen=True)
class Options:
    """The settings of data around datasets of one's own, each a key of `data`.

    Args:
        batch_size: samples per step and process.
        eval_batch_size: samples per validation or test batch at most.
        val_fraction: of the numbered training samples for validation where there is no `val`, drawn by the seed.
        test_fraction: of the same for the test where there is no `test`; 0: the test is on the validation data.
        num_workers: processes that fetch samples; an IterableDataset shares itself out among them, as torch asks of it.
        prefetch: batches each of them has ready.
        drop_last: leaves out the rest of an epoch that fills no batch.
        collate: makes a batch of a list of samples; None: torch's default.
        num_classes: for a net that asks for it; None: the dataset's `num_classes`, or as many as its `classes`, or
            those of the datasets that it is made of.
        order: of a DataLoader or LightningDataModule: `own`, or `exact` (see `kasoku.data.exact`). That of a Dataset is
            exact: order and random numbers of a batch are functions of (seed, epoch, batch).
        seed: of the split and the order.
    """

    batch_size: Count = 64
    eval_batch_size: Count = 256
    val_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    test_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    num_workers: Annotated[int, Ge(0)] = 0
    prefetch: Count = 2
    drop_last: bool = True
    collate: Callable[[Any], Any] | None = None
    num_classes: Count | None = None
    order: Literal["own", "exact"] = "own"
    seed: Seed = 0


def classes_of(dataset: Any) -> int | None:
    """The number of classes that `dataset` states, or that all of the datasets that it is made of do; None: neither."""
    names = getattr(dataset, "classes", None)
    if own := getattr(dataset, "num_classes", None) or (len(names) if names else None):
        return int(own)
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    known = {classes_of(part) for part in inner if part is not None}
    return known.pop() if len(known) == 1 else None


class Numbered(DataModule):
    """Datasets of numbered samples; batches as their collation makes them, in an exact order.

    Args:
        parts: "train", a dataset; "val" and "test", of any kind, where they are not to be cut from it.
    """

    transfer_batch_to_device = pl.LightningDataModule.transfer_batch_to_device  # batches may be of any form

    def __init__(self, parts: Mapping[str, Any], options: Options):
        super().__init__()
        self.parts = dict(parts)
        self.options = options
        self.batch_size = options.batch_size
        self.drop_last = options.drop_last

    def setup(self, stage: str | None = None) -> None:
        """Split the samples and look at the first. Raises ConfigError where there are too few."""
        if self.order is None:
            self._note_facts(self.parts["train"])
            self._split()
            self.order = Order(len(self.parts["train"]), self.options.seed)
            self._see_whether_it_repeats()
        self.check_batch_size()

    def _note_facts(self, dataset: Any) -> None:
        sample = dataset[0]
        if isinstance(sample, tuple | list) and hasattr(sample[0], "shape"):
            self.input_shape = tuple(sample[0].shape)
        if known := self.options.num_classes or classes_of(dataset):
            self.num_classes = known

    def _split(self) -> None:
        """Cut what is missing for validation and test from the training samples."""
        train, options = self.parts["train"], self.options
        fractions = {"test": options.test_fraction, "val": options.val_fraction}
        sizes = {part: round(len(train) * share) for part, share in fractions.items() if part not in self.parts}
        if sum(sizes.values()) >= len(train):
            must = f"must leave at least one of the {len(train)} samples for training"
            raise ConfigError(Fault("data.val_fraction", options.val_fraction, must))
        index = permutation(len(train), generator(options.seed, SPLIT)).tolist()
        for part, size in sizes.items():
            if size:
                self.parts[part], index = Subset(train, sorted(index[:size])), index[size:]
        if len(index) < len(train):
            self.parts["train"] = Subset(train, sorted(index))

    def _see_whether_it_repeats(self) -> None:
        if self._seeded().repeats(min(LOOKED_AT, self.train_size)):
            return
        must = "draws random numbers of its own, which no seed repeats"
        if self.options.order == "exact":
            name = type(getattr(self.parts["train"], "dataset", self.parts["train"])).__name__
            fix = "draw them from torch, numpy.random or random, which are seeded for each batch"
            raise ConfigError(Fault("data.order", "exact", f"the dataset ({name}) {must}", fix))
        log.info("data: the dataset %s: %s", must, INEXACT)

    def _seeded(self) -> Seeded:
        return Seeded(self.parts["train"], self.options.collate or default_collate)

    def sample(self, count: int) -> Any:
        """x of the first `count` training samples; the batch of them where it is no tuple."""
        numbers = range(min(count, self.train_size))
        batch = self._seeded().__getitems__(Drawn(numbers, (self.options.seed, 0, 0, EVALUATE)))
        return batch[0] if isinstance(batch, tuple | list) else batch

    def train_dataloader(self) -> PlannedLoader:
        order, shard, seed = self.training_order(), self.shard(), self.options.seed
        args = order.size, self.batch_size, shard, self.drop_last

        def plan(done: int) -> list[Drawn]:
            batches = split(order()[train_positions(*args, done)], self.batch_size)
            first = done // self.batch_size + shard.rank
            keys = ((seed, order.epoch, first + i * shard.world, FETCH) for i in range(len(batches)))
            return [Drawn(numbers, key) for numbers, key in zip(batches, keys, strict=True)]

        workers = _workers(self._seeded(), self.options, self.device())
        return PlannedLoader(workers, plan, train_batches(*args), self.begin, order)

    def val_dataloader(self) -> Any:
        return _evaluation(self.parts.get("val"), self.options, self.shard(), self.device())

    def test_dataloader(self) -> Any:
        return _evaluation(self.parts.get("test", self.parts.get("val")), self.options, self.shard(), self.device())


class Loaders(pl.LightningDataModule):
    """DataLoaders of one's own as they are, and IterableDatasets in batches; `parts` as for Numbered."""

    def __init__(self, parts: Mapping[str, Any], options: Options):
        super().__init__()
        self.parts = dict(parts)
        self.options = options
        train = parts["train"]
        self.batch_size = train.batch_size if isinstance(train, DataLoader) else options.batch_size
        if known := options.num_classes or classes_of(train):
            self.num_classes = known

    def train_dataloader(self) -> DataLoader:
        train = self.parts["train"]
        return train if isinstance(train, DataLoader) else _of_stream(train, self.options, self.options.batch_size)

    def val_dataloader(self) -> Any:
        return self._evaluation(self.parts.get("val"))

    def test_dataloader(self) -> Any:
        return self._evaluation(self.parts.get("test", self.parts.get("val")))

    def _evaluation(self, made: Any) -> Any:
        return _evaluation(made, self.options, shard_of(self.trainer), device_of(self.trainer))


def _evaluation(made: Any, options: Options, shard: Shard, device: torch.device) -> Any:
    """The loader of a part for validation or test; an empty list, which Lightning leaves out, where there is none."""
    if made is None:
        return []
    if isinstance(made, DataLoader):
        return with_own_seeds(made)
    if isinstance(made, IterableDataset):
        return _of_stream(made, options, options.eval_batch_size)
    bounds = eval_bounds(len(made), options.eval_batch_size, shard)
    batches = [Drawn(range(start, end), (options.seed, 0, start, EVALUATE)) for start, end in bounds]
    workers = _workers(Seeded(made, options.collate or default_collate), options, device)
    return PlannedLoader(workers, lambda done: batches, len(batches))


def _workers(seeded: Seeded, options: Options, device: torch.device) -> Workers:
    return Workers(seeded, as_it_is, options.num_workers, options.prefetch, device.type == "cuda")


def _of_stream(dataset: IterableDataset, options: Options, batch_size: int) -> DataLoader:
    workers = options.num_workers
    return DataLoader(
        dataset,
        batch_size,
        num_workers=workers,
        prefetch_factor=options.prefetch if workers else None,
        persistent_workers=workers > 0,
        collate_fn=options.collate or default_collate,
        generator=generator(options.seed, FETCH),
    )
