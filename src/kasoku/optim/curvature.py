"""The curvature of the loss, for optimizers that ask for it."""

import contextlib
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


class EstimateCurvature(pl.Callback):
    """Calls `estimate` before the backward pass of the steps that are due; does nothing for optimizers without it."""

    def __init__(self) -> None:
        self._kernels = contextlib.ExitStack()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if any(optimizer.due for optimizer in _estimating(trainer)):
            self._kernels.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fused ones have no second derivative

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        unscaled = loss if scaler is None else loss / scaler.get_scale()
        for optimizer in _estimating(trainer):
            if optimizer.due:
                optimizer.estimate(unscaled, lambda tensor: trainer.strategy.reduce(tensor, reduce_op="mean"))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._kernels.close()


def _estimating(trainer: pl.Trainer) -> list[Any]:
    # Not by the class Sophia: what it derives from takes longer to import than a small net to train.
    return [optimizer for optimizer in trainer.optimizers if hasattr(optimizer, "estimate")]
