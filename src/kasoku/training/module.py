"""The LightningModule around a plain network."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from kasoku.recipe import Recipe
from kasoku.training.batch_norm import can_look_ahead, training_batches
from kasoku.training.batches import Batch, called, size_of
from kasoku.training.clock import configure_optimizers
from kasoku.training.first_batch import first_loss, fits, said, untouched
from kasoku.training.losses import MeanLoss
from kasoku.training.tasks import Classification, Task

SPLITS = ("val", "test")


class Module(pl.LightningModule):
    """Trains `net` by `recipe` on batches that `batch` describes; `task` pairs its outputs with the targets.

    Logs val/loss, val/<metric>, test/loss and test/<metric>. A metric that gives several numbers by name logs each,
    val/<metric>/<name>; what gives a tensor (a confusion matrix) is kept in `pictured` and not logged. A net that
    returns a dict with a `loss` is trained by it. Subclass it and override a step, or write a LightningModule of your
    own with `configure_optimizers = kasoku.configure_optimizers`.

    Args:
        net: called with the inputs of a batch.
        loss: of outputs and targets as the task pairs them; None: the task's.
        metrics: of what `task.seen` makes of the same; cloned for validation and test.
        recipe: read by `configure_optimizers`; train.py sets it.
        task: None: classification.
        batch: where inputs and targets are; None: see `Batch`.

    Raises:
        ConfigError: outputs and targets do not pair, or are not what loss, task and metrics take: at the first batch.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | None = None,
        metrics: Mapping[str, Metric] | None = None,
        recipe: Recipe | None = None,
        task: Task | None = None,
        batch: Batch | None = None,
    ):
        super().__init__()
        self.net = net
        self.task = task or Classification()
        self.batch = batch or Batch()
        self.loss = loss or self.task.default_loss()
        self.means = nn.ModuleDict({split: MeanLoss() for split in SPLITS})
        self.metrics = nn.ModuleDict(
            {
                split: nn.ModuleDict({name: metric.clone() for name, metric in (metrics or {}).items()})
                for split in SPLITS
            }
        )
        self.pictured: dict[str, tuple[Metric, Any]] = {}
        self.recipe = recipe
        self._looked_at: set[tuple[str, Any, Any]] = set()
        self._has_run = False

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

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.net(*inputs, **named)

    def on_fit_start(self) -> None:
        """Look at a training batch where no validation comes before the first step."""
        trainer = self.trainer
        validates = trainer.enable_validation and trainer.num_sanity_val_steps
        if validates or not can_look_ahead(trainer.train_dataloader):
            return
        with isolate_rng(), untouched(self), trainer.precision_plugin.forward_context():
            for batch in training_batches(trainer, 1):
                self._outcome(batch, "train")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._outcome(batch, "train")[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx, "test")

    def on_validation_epoch_end(self) -> None:
        self._log_values("val")

    def on_test_epoch_end(self) -> None:
        self._log_values("test")

    def _outcome(self, batch: Any, split: str) -> tuple[Tensor, Any, Any, bool]:
        """The loss of a batch, outputs and targets, and whether these are paired: they are not for a net's own loss."""
        inputs, y = self.batch.split(batch, self.net)
        with nullcontext() if self._has_run else fits(self.net, inputs):
            returned = called(self.net, inputs)
        self._has_run = True
        own, outputs = self.batch.outputs(returned)
        if own is not None:
            return own, outputs, y, False
        outputs, y = self.task.pair(outputs, y)
        return self._loss(outputs, y, split), outputs, y, True

    def _loss(self, outputs: Any, y: Any, split: str) -> Tensor:
        kind = (split, getattr(outputs, "ndim", None), getattr(y, "ndim", None))
        if kind in self._looked_at:
            return self.loss(outputs, y)
        data = getattr(self._trainer, "datamodule", None)
        loss = first_loss(self.loss, self.task, outputs, y, getattr(data, "num_classes", None))
        self._looked_at.add(kind)
        return loss

    def _evaluate(self, batch: Any, batch_idx: int, split: str) -> None:
        loss, outputs, y, paired = self._outcome(batch, split)
        metrics = self.metrics[split]
        if not paired and len(metrics):  # type: ignore[arg-type]
            outputs, y = self.task.pair(outputs, y)
        weight = self.task.weight(y, self.loss) if paired else size_of(batch)
        self.means[split].update(loss, weight)  # type: ignore[operator]
        outputs, y = self.task.seen(outputs, y)
        for name, metric in metrics.items():  # type: ignore[operator, union-attr]
            with said(f"model.metrics.{name}", metric, outputs, y) if batch_idx == 0 else nullcontext():
                metric.update(outputs, y)

    def _log_values(self, split: str) -> None:
        metrics: dict[str, Any] = {"loss": self.means[split], **self.metrics[split]}  # type: ignore[dict-item]
        for name, metric in metrics.items():
            for key, value in _named(f"{split}/{name}", metric.compute()):
                if isinstance(value, Tensor) and value.numel() == 1:
                    self.log(key, value, batch_size=1, sync_dist=True)
                elif not self.trainer.sanity_checking:
                    self.pictured[key] = metric, value
            metric.reset()


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """`value` with its name; of a mapping each item with its own."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named(f"{name}/{key}", item)
    else:
        yield name, torch.as_tensor(value) if isinstance(value, int | float) else value
