"""The LightningModule around a plain network."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from kasoku.faults import ConfigError, Fault
from kasoku.recipe import Recipe
from kasoku.training.clock import configure_optimizers


class Module(pl.LightningModule):
    """Trains `net` on batches (x, y) by `recipe`.

    Logs val/loss, val/<metric>, test/loss and test/<metric>. Subclass it and override a step, or write a
    LightningModule of your own with `configure_optimizers = kasoku.configure_optimizers`.

    Args:
        net: maps x to logits, [B, C] or [B, T, C].
        loss: of logits [N, C] and y [N].
        metrics: of the same; cloned for validation and test.
        recipe: read by `configure_optimizers`; train.py sets it.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | None = None,
        metrics: Mapping[str, Metric] | None = None,
        recipe: Recipe | None = None,
    ):
        super().__init__()
        self.net = net
        self.loss = loss or nn.CrossEntropyLoss()
        self.metrics = nn.ModuleDict(
            {
                split: nn.ModuleDict({name: metric.clone() for name, metric in (metrics or {}).items()})
                for split in ("val", "test")
            }
        )
        self.recipe = recipe

    def setup(self, stage: str) -> None:
        """Let a net look at training samples before anything is wrapped or restored (SpeedNet whitens)."""
        prepare: Any = getattr(self.net, "prepare", None)
        if stage == "fit" and prepare is not None:
            prepare(self.trainer.datamodule.sample(5000))

    configure_optimizers = configure_optimizers  # type: ignore[assignment]

    def configure_model(self) -> None:
        """Shard the net where the strategy is FSDP2. Lightning calls this before the fit and before the test."""
        if self.device_mesh is not None:
            from kasoku.training.sharded import shard

            shard(self.net, self.device_mesh["data_parallel"])

    def __setattr__(self, name: str, value: object) -> None:
        """Lightning notes the running hook some thirty times a batch, which need not be a parameter's business."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def configure_gradient_clipping(self, optimizer: Optimizer, gradient_clip_val: Any = None, **kwargs: Any) -> None:
        if gradient_clip_val is not None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(_rows(self.net(x)), y.flatten())

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str) -> None:
        x, y = batch
        logits, y = _rows(self.net(x)), y.flatten()
        if self.trainer.sanity_checking:
            self._check_outputs(logits)
        self.log(f"{split}/loss", self.loss(logits, y), batch_size=len(y), sync_dist=True)
        for name, metric in self.metrics[split].items():  # type: ignore[operator, union-attr]
            metric.update(logits, y)
            self.log(f"{split}/{name}", metric, batch_size=len(y))

    def _check_outputs(self, logits: Tensor) -> None:
        """Raises ConfigError, before training, where the net has fewer outputs than the data has classes."""
        classes = getattr(self.trainer.datamodule, "num_classes", None)
        if isinstance(self.loss, nn.CrossEntropyLoss) and classes and logits.shape[-1] < classes:
            must = f"gives {logits.shape[-1]} outputs, the data has {classes} classes"
            fix = "leave model.net.num_classes null, or give as many"
            raise ConfigError(Fault("model.net", type(self.net).__name__, must, fix))


def _rows(logits: Tensor) -> Tensor:
    """[B, T, C] -> [B*T, C]; [B, C] as it is."""
    return logits.flatten(0, -2)
