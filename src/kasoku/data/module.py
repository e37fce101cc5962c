"""The base of all DataModules: the contract with the trainer, the process's shard, the position for a resume."""

from typing import Any

import pytorch_lightning as pl
import torch

from kasoku.data.order import Order, Shard, train_batches
from kasoku.faults import MISSING, ConfigError, Fault


class Loader:
    """The source of an epoch's batches. The position in the epoch is in the DataModule's state, not here.

    Lightning takes a loader without the two methods for one that cannot resume, and warns.
    """

    batch_sampler = None  # Lightning looks for it wherever there is a `sampler`

    def state_dict(self) -> dict[str, int]:
        """Nothing: see `DataModule.state_dict`."""
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Nothing: see `DataModule.load_state_dict`."""


class DataModule(pl.LightningDataModule):
    """Data for training, validation and test, in an order that a resumed run takes up at the exact next batch.

    After `setup()`: `input_shape` of one sample; `num_classes` (size of the vocabulary for text), or `num_outputs`, the
    numbers or labels of a sample; `train_size` in samples; `tokens_per_sample` (None where the data has no tokens).
    Batches are tuples (x, y).
    """

    batch_size: int
    drop_last: bool
    input_shape: tuple[int, ...]
    origin: tuple[str, object] = ("data", MISSING)  # the key of where the data comes from, and its value
    num_outputs: int
    tokens_per_sample: int | None = None
    order: Order | None = None

    def __init__(self) -> None:
        super().__init__()
        self._resume: dict[str, int] | None = None
        self._began = 0, 0  # batches and samples of the present epoch that were done when its first batch was asked for

    @property
    def num_classes(self) -> int:
        """The number of classes. Raises ConfigError if it is one: whoever asks means to tell them apart."""
        if self._num_classes == 1:
            raise ConfigError(Fault(*self.origin, "has one class alone, and nothing to tell it from"))
        return self._num_classes

    @num_classes.setter
    def num_classes(self, count: int) -> None:
        self._num_classes = count

    @property
    def train_size(self) -> int:
        """Samples of an epoch, over all processes."""
        return 0 if self.order is None else self.order.size

    def shard(self) -> Shard:
        """This process among those that share the data (one where there is no trainer)."""
        return shard_of(self.trainer)

    def device(self) -> torch.device:
        """The device on which the tensors of in-memory data live."""
        return device_of(self.trainer)

    def training_order(self) -> Order:
        """The order of the training samples, after `setup`; with `overfit_batches` each epoch has the first one's."""
        assert self.order is not None
        self.order.is_fixed = self.trainer is not None and self.trainer.overfit_batches > 0
        return self.order

    def check_batch_size(self) -> None:
        """ConfigError if not even one batch of all processes fits into the training set."""
        world = self.shard().world
        if self.batch_size * world > self.train_size:
            times = f" for {world} processes" if world > 1 else ""
            must = f"must be <= {self.train_size // world}, the training set has {self.train_size} samples{times}"
            raise ConfigError(Fault("data.batch_size", self.batch_size, must))

    def begin(self) -> int:
        """Samples of this epoch, over all processes, that are done already: not zero where a cut epoch is resumed.

        Lightning's count of batches is followed. Its count of epochs is not: after a resume it may be one too high.
        """
        if self.trainer is None:
            return 0
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done >= self.trainer.num_training_batches:
            return self.train_size  # past the last batch: Lightning may ask once more for an epoch that is over
        samples = done * self._samples_a_batch
        if self._resume is not None and self.order is not None:
            inside = done == self.batches_done(self._resume["samples"])
            samples = self._resume["samples"] if inside else samples
            # A run that stopped inside an epoch counts it as done, and may start a new one where it is resumed.
            self.order.align(self._resume["epoch"] + (not inside))
            self._resume = None
        self._began = done, samples
        return samples

    def batches_done(self, samples: int) -> int:
        """Batches of the epoch that count as done once `samples` of it are, maybe in batches of another size.

        Those that the rest of the samples makes are then the epoch's last ones.
        """
        args = self.batch_size, self.shard(), self.drop_last
        return train_batches(self.train_size, *args) - train_batches(self.train_size - samples, *args)

    def state_dict(self) -> dict[str, int]:
        """The next batch to train: `batch` (0 for the first) of `epoch`, after `samples` of it over all processes."""
        if self._resume is not None:
            return self._resume
        if self.trainer is None or self.order is None:
            return {"epoch": 0, "batch": 0, "samples": 0}
        loop = self.trainer.fit_loop
        count, batch = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current.processed
        inside, whole = count.started > count.processed, batch >= self.trainer.num_training_batches
        epoch = count.processed - self.order.ahead
        if whole or not batch:
            return {"epoch": epoch + (whole and inside), "batch": 0, "samples": 0}
        batches, samples = self._began
        samples += (batch - batches) * self._samples_a_batch
        return {"epoch": epoch if inside else epoch - 1, "batch": batch, "samples": samples}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on at the batch that `state_dict` says."""
        self._resume = {name: state_dict[name] for name in ("epoch", "batch", "samples")}

    @property
    def _samples_a_batch(self) -> int:
        return self.batch_size * self.shard().world

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on `device`; untouched if it is there, without Lightning's walk through nested containers."""
        x, y = batch
        return batch if x.device == device else (x.to(device, non_blocking=True), y.to(device, non_blocking=True))


def shard_of(trainer: pl.Trainer | None) -> Shard:
    """This process among those of `trainer`."""
    kwargs = trainer.distributed_sampler_kwargs if trainer else None
    return Shard(kwargs["rank"], kwargs["num_replicas"]) if kwargs else Shard()


def device_of(trainer: pl.Trainer | None) -> torch.device:
    """The device of this process of `trainer`."""
    return trainer.strategy.root_device if trainer else torch.device("cpu")
