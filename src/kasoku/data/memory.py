"""Data that fits in memory: tensors on the device, a batch is a view of rows gathered from them. No worker, no collation."""

from collections.abc import Callable, Iterator

from torch import Tensor

from kasoku.data.order import Order, Shard, eval_bounds, train_batches, train_positions

Batch = tuple[Tensor, Tensor]
Gather = Callable[[slice], Batch]

# Rows gathered at once and handed out as views: one gather for many small batches, while a big batch is its own.
CHUNK_BYTES = 1 << 24


class Rows:
    """Tensors x [N, ...] and y [N], whose rows make the batches."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x = x
        self.y = y

    def gather(self, index: Tensor, position: Tensor, epoch: int) -> Gather:
        """What returns the rows `index[part]` for a slice `part`."""
        index = index.to(self.x.device)
        return lambda part: (self.x.index_select(0, index[part]), self.y.index_select(0, index[part]))


class TrainLoader:
    """The batches of an epoch from `rows`, in the order of `sampler`; see `train_positions` for shards and `drop_last`.

    `begin()` says how many batches of the epoch are done; iteration yields the rest. It is asked at the first batch and
    not when the iterator is made, because Lightning makes one before it has restored its counters.
    """

    def __init__(
        self, rows: Rows, sampler: Order, batch_size: int, shard: Shard, drop_last: bool, begin: Callable[[], int]
    ):
        self.rows = rows
        self.sampler = sampler
        self.batch_size = batch_size
        self.begin = begin
        self.position = train_positions(sampler.size, batch_size, shard, drop_last)
        self.length = train_batches(sampler.size, batch_size, shard, drop_last)
        row_bytes = rows.x[0].numel() * rows.x.element_size()
        self.chunk = max(1, CHUNK_BYTES // (row_bytes * batch_size)) * batch_size

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        gather = self.rows.gather(self.sampler()[self.position], self.position, self.sampler.epoch)
        for start in range(self.begin() * self.batch_size, len(self.position), self.chunk):
            x, y = gather(slice(start, start + self.chunk))
            yield from zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)


class EvalLoader:
    """Views of x and y, batch after batch, every sample once over all ranks (see `eval_bounds`)."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, shard: Shard):
        bounds = eval_bounds(len(x), batch_size, shard)
        self.batches = [(x[start:end], y[start:end]) for start, end in bounds]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)
