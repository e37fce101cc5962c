"""The training order of a DataLoader of one's own as a function of (seed, epoch), so that a run resumes exactly."""

from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from kasoku.data.module import DataModule
from kasoku.data.order import FETCH, PLAN, Order
from kasoku.data.seeded import Drawn, Seeded, as_it_is, same, seeded
from kasoku.data.workers import PlannedLoader, Workers
from kasoku.faults import ConfigError, Fault

POSITION = "position"  # in the state of a LightningDataModule
SETTINGS = ("timeout", "worker_init_fn", "multiprocessing_context")  # of a DataLoader, taken over as they are


class Position(DataModule):
    """The place in an epoch of batches that are not ours to cut: its samples are whole batches."""

    batch_size = 1
    drop_last = True


def exact(loader: Any, position: Position, seed: int) -> PlannedLoader:
    """The batches of the DataLoader `loader`, whatever its sampler, from the `position` on.

    Its samplers draw an epoch's batches under a seed of (seed, epoch), its dataset and its collation the numbers of a
    batch under one of (seed, epoch, batch). Step i of several processes takes the next batches, one each.

    Raises:
        ConfigError: naming `data.order`, where the batches cannot be repeated.
    """
    if fault := _unrepeatable(loader, seed):
        raise ConfigError(fault)
    if position.order is None:
        position.order = Order(len(loader), seed)
    order, shard = position.training_order(), position.shard()

    def plan(done: int) -> list[Drawn]:
        batches = list(enumerate(drawn(loader, seed, order.epoch)))[done:]
        whole = len(batches) // shard.world * shard.world
        mine = batches[shard.rank : whole : shard.world]
        return [Drawn(numbers, (seed, order.epoch, place, FETCH)) for place, numbers in mine]

    workers = Workers(
        Seeded(loader.dataset, loader.collate_fn, is_batched=loader.batch_sampler is None),
        as_it_is,
        loader.num_workers,
        loader.prefetch_factor or 2,
        loader.pin_memory,
        {name: getattr(loader, name) for name in SETTINGS},
    )
    return PlannedLoader(workers, plan, len(loader) // shard.world, position.begin, order)


def drawn(loader: DataLoader, seed: int, epoch: int) -> list[Any]:
    """The samples that the samplers of `loader` name for each batch of the epoch."""
    batches = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    samplers = [batches, getattr(batches, "sampler", None)]
    with seeded(seed, epoch, PLAN):
        word = int(torch.randint(2**62, ()))
        for sampler in samplers:
            if isinstance(own := getattr(sampler, "generator", None), torch.Generator):
                own.manual_seed(word)
            if callable(set_epoch := getattr(sampler, "set_epoch", None)):
                set_epoch(epoch)
        return list(islice(batches, len(loader)))


def _unrepeatable(loader: Any, seed: int) -> Fault | None:
    name = type(loader).__name__
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return _not_exact(f"needs one DataLoader of torch for training, {name} is none")
    if isinstance(loader.dataset, IterableDataset):
        return _not_exact(f"needs numbered samples, {type(loader.dataset).__name__} is an IterableDataset")
    batches = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    if not hasattr(batches, "__len__"):
        return _not_exact(f"needs to know the batches of an epoch, {type(batches).__name__} has no length")
    if not same(drawn(loader, seed, 0), drawn(loader, seed, 0)):
        return _not_exact(f"{type(batches).__name__} draws random numbers of its own, which no seed repeats")
    return None


def _not_exact(must: str) -> Fault:
    return Fault("data.order", "exact", must, "data.order=own trains, and is not resumed exactly")


class Exact:
    """Before the class of a LightningDataModule: its training order is exact, and stands in its state."""

    def train_dataloader(self) -> PlannedLoader:
        self.exact_position.trainer = self.trainer  # type: ignore[attr-defined]
        return exact(super().train_dataloader(), self.exact_position, self.exact_seed)  # type: ignore[misc, attr-defined]

    def state_dict(self) -> dict[str, Any]:
        position = self.exact_position.state_dict()  # type: ignore[attr-defined]
        return super().state_dict() | {POSITION: position}  # type: ignore[misc]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        if POSITION in rest:
            self.exact_position.load_state_dict(rest.pop(POSITION))  # type: ignore[attr-defined]
        super().load_state_dict(rest)  # type: ignore[misc]


def made_exact(data: pl.LightningDataModule, seed: int) -> pl.LightningDataModule:
    """`data` itself, whose training loader is now the one of `exact`.

    Its evaluation loaders take the base seed of their workers from generators of their own.
    """
    own = type(data)
    names = [name for name in ("val_dataloader", "test_dataloader") if _overrides(own, name)]
    members = {name: _isolated(getattr(own, name)) for name in names}
    members |= {"__qualname__": own.__qualname__, "__module__": own.__module__}
    data.__class__ = type(own.__name__, (Exact, own), members)
    data.exact_position, data.exact_seed = Position(), seed
    return data


def _overrides(own: type, name: str) -> bool:
    return getattr(own, name) is not getattr(pl.LightningDataModule, name)


def _isolated(dataloader: Any) -> Any:
    def isolated(self: pl.LightningDataModule) -> Any:
        return with_own_seeds(dataloader(self))

    return isolated


def with_own_seeds(loaders: Any) -> Any:
    """`loaders` themselves, or those in a list, which draw no base seed from torch's generator any more."""
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        if isinstance(loader, DataLoader) and loader.generator is None:
            loader.generator = torch.Generator()
    return loaders
