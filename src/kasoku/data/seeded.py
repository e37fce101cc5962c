"""Samples of a dataset of one's own, whose random numbers are a function of the batch that they are fetched for."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning.utilities.seed import isolate_rng


class Drawn(NamedTuple):
    """The numbers of the samples of a batch, and the key of the random numbers that they may draw."""

    numbers: Any
    key: tuple[int, ...]


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed torch (on the CPU), numpy and random by `key` inside the block; after it they go on where they were."""
    words = np.random.SeedSequence(key).generate_state(3, np.uint64)
    with isolate_rng(include_cuda=False):
        torch.default_generator.manual_seed(int(words[0] >> np.uint64(1)))
        np.random.seed(int(words[1] >> np.uint64(32)))
        random.seed(int(words[2]))
        yield


class Seeded:
    """A `dataset` of numbered samples that a DataLoader fetches whole batches from, each under the seed of its key.

    Args:
        dataset: `dataset[number]`, or a list of samples by `__getitems__`, as torch's fetcher asks for them.
        collate: makes a batch of a list of samples; it is seeded too.
        is_batched: the dataset itself makes a batch of what stands for a number (torch's `batch_size=None`).
    """

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], is_batched: bool = False):
        self.dataset = dataset
        self.collate = collate
        self.is_batched = is_batched

    def __getitems__(self, drawn: Drawn) -> Any:
        with seeded(*drawn.key):
            return self.collate(self._samples(drawn.numbers))

    def _samples(self, numbers: Any) -> Any:
        if self.is_batched:
            return self.dataset[numbers]
        fetch = getattr(self.dataset, "__getitems__", None)
        return fetch(list(numbers)) if callable(fetch) else [self.dataset[number] for number in numbers]

    def repeats(self, count: int) -> bool:
        """True if the batch of the first `count` samples is the same under the same seed."""
        drawn = Drawn(range(count), (0,))
        first = self.__getitems__(drawn)
        return all(same(first, self.__getitems__(drawn)) for _ in range(2))


def as_it_is(batch: Any) -> Any:
    """The batch that `Seeded` has collated already."""
    return batch


def same(one: Any, other: Any) -> bool:
    """True if two batches are equal, NaN to NaN, whatever they are nested of."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num()) if one.is_floating_point() else torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, Sequence) and not isinstance(one, str | bytes):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or one != one
