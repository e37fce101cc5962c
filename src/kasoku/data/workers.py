"""Batches that worker processes make, in an order that is planned anew for each epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from kasoku.data.module import Loader
from kasoku.data.order import Order


class Plan:
    """A batch sampler that asks `batches()` anew for each epoch, while the workers live on."""

    def __init__(self, batches: Callable[[], Iterable[Any]]):
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches())


@dataclass(frozen=True)
class Workers:
    """The processes that fetch samples and make batches of them.

    Args:
        dataset: the samples; what a plan names is fetched from it.
        collate: makes a batch of the samples fetched.
        count: processes; 0 for the training process itself.
        prefetch: batches that each has ready.
        pin_memory: has the batches in memory from which a GPU copies while it computes.
        others: further arguments of DataLoader.
    """

    dataset: Any
    collate: Callable[[Any], Any]
    count: int
    prefetch: int = 2
    pin_memory: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    def loader(self, batches: Callable[[], Iterable[Any]], stay: bool) -> DataLoader:
        """A DataLoader of what `batches()` names in each epoch, whose processes `stay` from one to the next.

        Their base seed comes from a generator of its own. One from torch's would move the numbers that dropout draws,
        at other times in a resumed run than in a straight one.
        """
        return DataLoader(
            self.dataset,
            batch_sampler=Plan(batches),  # type: ignore[arg-type]
            collate_fn=self.collate,
            num_workers=self.count,
            prefetch_factor=self.prefetch if self.count else None,
            persistent_workers=stay and self.count > 0,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),
            **self.others,
        )


class PlannedLoader(Loader):
    """Batches by `workers` of what `plan(done)` names: the epoch less the `done` samples that `begin()` says.

    `length` is the number of batches of a whole epoch; `sampler` gets the epoch from Lightning.
    """

    def __init__(
        self,
        workers: Workers,
        plan: Callable[[int], Sequence[Any]],
        length: int,
        begin: Callable[[], int] = lambda: 0,
        sampler: Order | None = None,
    ):
        self.workers = workers
        self.plan = plan
        self.length = length
        self.loader = workers.loader(lambda: plan(begin()), stay=True)
        if sampler is not None:  # Lightning takes any `sampler` for one that shuffles
            self.sampler = sampler

    def __len__(self) -> int:
        return self.length

    @property
    def _iterator(self) -> Any:
        """By this name Lightning finds in its teardown whose processes are to end; else each lives on for 5 seconds."""
        return self.loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self.loader._iterator = iterator

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:  # a generator: Lightning makes an iterator before it has restored its counters
            yield self.finished(batch)

    def first(self, count: int) -> Iterator[Any]:
        """The epoch's first `count` batches, however many are done of it. Other processes make them."""
        return map(self.finished, self.workers.loader(lambda: islice(self.plan(0), count), stay=False))

    def finished(self, batch: Any) -> Any:
        """The batch as it is trained with."""
        return batch


def split(index: torch.Tensor, batch_size: int) -> list[list[int]]:
    """`index` [N] as lists of `batch_size` numbers, the last of them of what is left."""
    return [batch.tolist() for batch in index.split(batch_size)] if len(index) else []
