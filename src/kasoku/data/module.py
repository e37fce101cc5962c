"""What all the DataModules share: the contract with the trainer, the process's shard, the position for a resume."""

from typing import Any

import pytorch_lightning as pl
import torch

from kasoku.data.order import Order, Shard
from kasoku.faults import ConfigError, Fault


class DataModule(pl.LightningDataModule):
    """Data for training, validation and test, in an order that a resumed run takes up at the exact next batch.

    After `setup()`: `input_shape` of one sample, `num_classes` (size of the vocabulary for text), `train_size` in samples,
    `tokens_per_sample` (None where the data has no tokens). Batches are tuples (x, y).
    """

    input_shape: tuple[int, ...]
    num_classes: int
    tokens_per_sample: int | None = None
    order: Order | None = None

    def __init__(self) -> None:
        super().__init__()
        self._ahead = 0

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

    def ordered(self, order: Order, batch_size: int) -> Order:
        """Take `order` for training. ConfigError if not even one batch of all processes fits into it."""
        world = self.shard().world
        if batch_size * world > order.size:
            times = f" on each of {world} processes" if world > 1 else ""
            must = f"must be <= {order.size // world}, the training set has {order.size} samples"
            raise ConfigError(Fault("data.batch_size", batch_size, must + times))
        order.ahead = self._ahead
        self.order = order
        return order

    def batches_done(self) -> int:
        """Batches of the current epoch that are trained already: above zero right after a resume inside an epoch."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready if self.trainer else 0

    def state_dict(self) -> dict[str, int]:
        """Where training stands: `epoch` and `batch` are what comes next, `ahead` is Lightning's count of epochs less ours."""
        if self.trainer is None or self.order is None:
            return {"epoch": 0, "batch": 0, "ahead": 0}
        loop = self.trainer.fit_loop
        epochs, batch = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current.processed
        inside, whole = epochs.started > epochs.processed, batch >= self.trainer.num_training_batches
        ahead = self.order.ahead + (not inside and 0 < batch and not whole)
        epoch = epochs.processed - ahead
        if whole:
            epoch, batch = epoch + inside, 0
        return {"epoch": epoch, "batch": batch, "ahead": ahead}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from `state_dict`. The epoch and batch themselves come from Lightning's counters, which hold the same."""
        self._ahead = state_dict["ahead"]
        if self.order is not None:
            self.order.ahead = self._ahead

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on `device`; untouched if it is there, without Lightning's walk through nested containers."""
        x, y = batch
        return batch if x.device == device else (x.to(device, non_blocking=True), y.to(device, non_blocking=True))
