"""The order of training samples: a pure function of (seed, epoch), the same on every device and for every process."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SPLIT, ORDER, AUGMENT, FLIP, PLAN, FETCH, EVALUATE = range(
    7
)  # streams of random numbers that must not repeat one another


def generator(*key: int) -> torch.Generator:
    """A CPU generator seeded by all the whole numbers of `key` (numpy's SeedSequence mixes them)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def permutation(size: int, rng: torch.Generator) -> Tensor:
    """int64 [size], each of 0 .. size - 1 once."""
    return torch.randperm(size, generator=rng)


class Order:
    """The order in which an epoch visits `size` samples: `draw(size, generator(seed, epoch))`.

    The epoch is the number that Lightning gives to `set_epoch` less `ahead`, by which `align` found it to lead. With
    `is_fixed` it is 0 for ever: every epoch shows the same batches.
    """

    def __init__(self, size: int, seed: int, draw: Callable[[int, torch.Generator], Tensor] = permutation):
        self.size = size
        self.seed = seed
        self.draw = draw
        self.counted = 0
        self.ahead = 0
        self.is_fixed = False

    @property
    def epoch(self) -> int:
        """The epoch of the data."""
        return 0 if self.is_fixed else self.counted - self.ahead

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch with the number of epochs it counts as done."""
        self.counted = epoch

    def align(self, epoch: int) -> None:
        """Take the present count for `epoch`."""
        self.ahead = self.counted - epoch

    def __call__(self) -> Tensor:
        """int64 [size]: the samples of this epoch."""
        return self.draw(self.size, generator(self.seed, self.epoch, ORDER))


@dataclass(frozen=True)
class Shard:
    """This process's part of the data: `rank` of `world` processes."""

    rank: int = 0
    world: int = 1


def train_batches(size: int, batch_size: int, shard: Shard, drop_last: bool) -> int:
    """Batches of an epoch, the same number on every rank."""
    whole, left = divmod(size, batch_size * shard.world)
    return whole + (not drop_last and left >= shard.world)


def train_positions(size: int, batch_size: int, shard: Shard, drop_last: bool, done: int = 0) -> Tensor:
    """int64: where in the global order the samples of this rank stand, batch after batch, once `done` have been shown.

    Step i of `world` processes takes the same `world * batch_size` samples as step i of one process with that batch
    size; rank r has the r-th part of them. What is left at the end is dropped (`drop_last`) or shared out evenly, less
    what does not go round.
    """
    whole, left = divmod(size - done, batch_size * shard.world)
    cut = size - left
    mine = torch.arange(done, cut).view(whole, shard.world, batch_size)[:, shard.rank].reshape(-1)
    if drop_last or left < shard.world:
        return mine
    each = left // shard.world
    return torch.cat([mine, torch.arange(cut + shard.rank * each, cut + (shard.rank + 1) * each)])


def eval_bounds(size: int, batch_size: int, shard: Shard) -> list[tuple[int, int]]:
    """[start, end) of this rank's evaluation batches: all ranks together see every sample once, in order.

    Every rank has the same number of batches (collectives in a step would wait for ever otherwise), their sizes differ
    by one at most, and none is above `batch_size`.
    """
    batches = -(-size // (batch_size * shard.world))
    parts = batches * shard.world
    bounds = [size * part // parts for part in range(parts + 1)]
    first = shard.rank * batches
    return [(bounds[part], bounds[part + 1]) for part in range(first, first + batches)]


def stratified(labels: np.ndarray, sizes: list[int], seed: int) -> list[Tensor]:
    """Split range(len(labels)) into parts of exactly `sizes`, each class spread over them in proportion (within one).

    Each class is shuffled and its members placed evenly on [0, 1); the parts are cut from all members in that order.
    The first of each class go in front of all, so that the first part has every class if it is large enough.
    """
    rng = np.random.default_rng([seed, SPLIT])
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[0]] = -1
    order = torch.from_numpy(np.argsort(place, kind="stable"))
    return [part.sort().values for part in order[: sum(sizes)].split(sizes)]
