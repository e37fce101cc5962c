"""Data without workers or collation: tensors on the device, a batch is a view of rows gathered from them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Annotated, Any, Protocol, Self

import torch
from annotated_types import Ge, Le
from torch import Tensor

from kasoku.data.module import DataModule, Loader
from kasoku.data.order import Order, Shard, eval_bounds, train_batches, train_positions

Batch = tuple[Tensor, Tensor]
Gather = Callable[[slice], Batch]
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]

# Rows gathered at once and handed out as views: one gather for many small batches, while a big batch is its own.
CHUNK_BYTES = 1 << 24


class Source(Protocol):
    """A set of samples, numbered from 0."""

    @property
    def row_bytes(self) -> int:
        """Bytes of the x of one sample."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Any:
        """The same samples on `device`."""

    def order(self, seed: int) -> Order:
        """The order in which a training epoch visits the samples."""

    def gather(self, index: Tensor, epoch: int) -> Gather:
        """A function that returns the training samples `index[part]` for a slice `part`, as the epoch shows them."""

    def batch(self, start: int, end: int) -> Batch:
        """The samples start .. end - 1 for evaluation."""

    def rest(self) -> list[Batch]:
        """Further batches for evaluation, of the rest that makes no whole sample."""


@dataclass(frozen=True)
class Rows:
    """Tensors x [N, ...] and y [N], whose rows are the samples."""

    x: Tensor
    y: Tensor

    @property
    def row_bytes(self) -> int:
        return self.x[0].numel() * self.x.element_size()

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Self:
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def order(self, seed: int) -> Order:
        return Order(len(self), seed)

    def gather(self, index: Tensor, epoch: int) -> Gather:
        index = index.to(self.x.device)
        return lambda part: (self.x.index_select(0, index[part]), self.y.index_select(0, index[part]))

    def batch(self, start: int, end: int) -> Batch:
        return self.x[start:end], self.y[start:end]

    def rest(self) -> list[Batch]:
        return []


class TrainLoader(Loader):
    """The batches of an epoch from `rows`, in the order of `sampler`; see `train_positions` for shards and `drop_last`.

    `begin()` says how many samples of the epoch are done; iteration yields the rest. It is asked at the first batch and
    not when the iterator is made, because Lightning makes one before it has restored its counters.
    """

    def __init__(
        self, rows: Source, sampler: Order, batch_size: int, shard: Shard, drop_last: bool, begin: Callable[[], int]
    ):
        self.rows = rows
        self.sampler = sampler
        self.batch_size = batch_size
        self.begin = begin
        self.positions = partial(train_positions, sampler.size, batch_size, shard, drop_last)
        self.length = train_batches(sampler.size, batch_size, shard, drop_last)
        self.chunk = max(1, CHUNK_BYTES // (rows.row_bytes * batch_size)) * batch_size

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        yield from self._after(self.begin())

    def first(self, count: int) -> Iterator[Batch]:
        """The epoch's first `count` batches, however many are done of it."""
        return islice(self._after(0), count)

    def _after(self, done: int) -> Iterator[Batch]:
        positions = self.positions(done)
        gather = self.rows.gather(self.sampler()[positions], self.sampler.epoch)
        for start in range(0, len(positions), self.chunk):
            x, y = gather(slice(start, start + self.chunk))
            yield from zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)


class EvalLoader:
    """The samples of `rows`, batch after batch, every one once over all ranks (see `eval_bounds`).

    The rest of `rows` is one batch more, which several processes leave out: they need the same number of batches each.
    """

    def __init__(self, rows: Source, batch_size: int, shard: Shard):
        self.rows = rows
        self.bounds = eval_bounds(len(rows), batch_size, shard)
        self.rest = rows.rest() if shard.world == 1 else []

    def __len__(self) -> int:
        return len(self.bounds) + len(self.rest)

    def __iter__(self) -> Iterator[Batch]:
        for start, end in self.bounds:
            yield self.rows.batch(start, end)
        yield from self.rest


class InMemory(DataModule):
    """A DataModule over three sets of samples, which `load` makes. They live on the trainer's device.

    Args:
        batch_size: samples per step and process.
        eval_batch_size: samples per validation or test batch at most.
        drop_last: whether the rest of an epoch that fills no batch is left out.
        seed: of the order.
    """

    train: Source
    val: Source
    test: Source

    def __init__(self, *, batch_size: int, eval_batch_size: int, drop_last: bool, seed: int):
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.drop_last = drop_last
        self.seed = seed

    @abstractmethod
    def load(self) -> tuple[Source, Source, Source]:
        """Samples for training, validation and test, on the CPU."""

    def setup(self, stage: str | None = None) -> None:
        """Load once, and have the samples on the trainer's device. Raises ConfigError where data and options misfit."""
        if self.order is None:
            self.train, self.val, self.test = self.load()
            self.order = self.train.order(self.seed)
        self.check_batch_size()
        device = self.device()
        self.train, self.val, self.test = self.train.to(device), self.val.to(device), self.test.to(device)

    def sample(self, count: int) -> Tensor:
        """x of the first `count` training samples as they are: for nets that are prepared with data."""
        return self.train.batch(0, min(count, len(self.train)))[0]

    def train_dataloader(self) -> TrainLoader:
        order = self.training_order()
        return TrainLoader(self.train, order, self.batch_size, self.shard(), self.drop_last, self.begin)

    def val_dataloader(self) -> EvalLoader:
        return EvalLoader(self.val, self.eval_batch_size, self.shard())

    def test_dataloader(self) -> EvalLoader:
        return EvalLoader(self.test, self.eval_batch_size, self.shard())
