"""What all the DataModules share: the contract with the trainer, the process's shard, the position for a resume."""

from typing import Any

import pytorch_lightning as pl
import torch

from kasoku.data.order import Order, Shard
from kasoku.faults import ConfigError, Fault


class Loader:
    """What an epoch's batches are taken from. The position in the epoch is in the DataModule's state, not here.

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

    After `setup()`: `input_shape` of one sample, `num_classes` (size of the vocabulary for text), `train_size` in
    samples, `tokens_per_sample` (None where the data has no tokens). Batches are tuples (x, y).
    """

    batch_size: int
    input_shape: tuple[int, ...]
    num_classes: int
    tokens_per_sample: int | None = None
    order: Order | None = None

    def __init__(self) -> None:
        super().__init__()
        self._resume: dict[str, int] | None = None

    @property
    def train_size(self) -> int:
        """Samples of an epoch, over all processes."""
        return 0 if self.order is None else self.order.size

    def shard(self) -> Shard:
        """This process among those that share the data (one where there is no trainer)."""
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer else None
        return Shard(kwargs["rank"], kwargs["num_replicas"]) if kwargs else Shard()

    def device(self) -> torch.device:
        """Where the tensors of in-memory data live."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def check_batch_size(self) -> None:
        """ConfigError if not even one batch of all processes fits into the training set."""
        world = self.shard().world
        if self.batch_size * world > self.train_size:
            times = f" for {world} processes" if world > 1 else ""
            must = f"must be <= {self.train_size // world}, the training set has {self.train_size} samples{times}"
            raise ConfigError(Fault("data.batch_size", self.batch_size, must))

    def begin(self) -> int:
        """Batches of this epoch that are done already: not zero at the first batch after a resume inside an epoch.

        Lightning's count of batches is followed. Its count of epochs is not: after a resume it may be one too high.
        """
        if self.trainer is None:
            return 0
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if done >= self.trainer.num_training_batches:
            return self.train_size  # past the last batch: Lightning may ask once more for an epoch that is over
        if self._resume is not None and self.order is not None:
            # A run that stopped inside an epoch counts it as done, and may start a new one where it is resumed.
            self.order.align(self._resume["epoch"] + (done != self._resume["batch"]))
            self._resume = None
        return done

    def state_dict(self) -> dict[str, int]:
        """The next batch to train: `batch` (0 for the first) of `epoch`."""
        if self._resume is not None:
            return self._resume
        if self.trainer is None or self.order is None:
            return {"epoch": 0, "batch": 0}
        loop = self.trainer.fit_loop
        count, batch = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current.processed
        inside, whole = count.started > count.processed, batch >= self.trainer.num_training_batches
        epoch = count.processed - self.order.ahead
        if whole:
            return {"epoch": epoch + inside, "batch": 0}
        return {"epoch": epoch if inside or not batch else epoch - 1, "batch": batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on at the batch that `state_dict` says."""
        self._resume = {"epoch": state_dict["epoch"], "batch": state_dict["batch"]}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on `device`; untouched if it is there, without Lightning's walk through nested containers."""
        x, y = batch
        return batch if x.device == device else (x.to(device, non_blocking=True), y.to(device, non_blocking=True))
