"""Hooks that some optimizers and the plateau schedule need in the loop: callbacks that do nothing elsewhere."""

import contextlib
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from kasoku.faults import ConfigError, Fault, unknown
from kasoku.optim.plateau import Plateau
from kasoku.recipe import is_schedule_free
from kasoku.training.accumulation import WindowMean
from kasoku.training.batch_norm import has_batch_norm, refresh_batch_norm, training_inputs

TRAIN_STATE = "schedule_free_train_state"


def callbacks() -> list[pl.Callback]:
    """Callbacks that belong to every training run; each does nothing where it is not needed.

    They stand before the run's own callbacks, so that these see the evaluated weights and the reduced lr.
    """
    return [ScheduleFree(), EstimateCurvature(), WindowMean(), ObservePlateau()]


class ScheduleFree(pl.Callback):
    """Shows x to validation, test and checkpoints, y to training; does nothing for other optimizers.

    A schedule-free optimizer takes gradients at y, a mix of the iterate z and the running average x, and x is the
    answer. A. Defazio et al. 2024, arXiv 2405.15682.

    A checkpoint's `state_dict` is x with fresh statistics. One that was saved while the net held y also holds y, so
    that a resumed run goes on bit for bit.

    Args:
        batches: training batches that the batch-norm statistics are taken from at x.
    """

    def __init__(self, batches: int = 50):
        self.batches = batches

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for optimizer in _at(trainer, training=False):
            optimizer.train()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._average(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._average(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        optimizers = _at(trainer, training=True)
        if not optimizers:
            return
        checkpoint[TRAIN_STATE] = _copied(pl_module)
        self._average(trainer, pl_module)
        checkpoint["state_dict"] = _copied(pl_module)
        # Back by copying: train() after eval() would round, and the run would differ from one that saved nothing here.
        pl_module.load_state_dict(checkpoint[TRAIN_STATE])
        _mark(optimizers, training=True)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if TRAIN_STATE in checkpoint and trainer.state.fn == "fit":
            pl_module.load_state_dict(checkpoint[TRAIN_STATE])

    def _average(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        optimizers = _at(trainer, training=True)
        for optimizer in optimizers:
            optimizer.eval()
        if optimizers and has_batch_norm(pl_module):
            with isolate_rng(), trainer.precision_plugin.forward_context():
                refresh_batch_norm(pl_module, training_inputs(trainer, self.batches))


def _at(trainer: pl.Trainer, training: bool) -> list[Any]:
    """The schedule-free optimizers that are in train mode, or that are not."""
    free = [optimizer for optimizer in trainer.optimizers if is_schedule_free(optimizer)]
    return [optimizer for optimizer in free if optimizer.param_groups[0]["train_mode"] == training]


def _mark(optimizers: Iterable[Optimizer], training: bool) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["train_mode"] = training


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


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


class ObservePlateau(pl.Callback):
    """Shows each validation's metric to the run's Plateau scheduler, if it has one.

    Lightning's own `reduce_on_plateau` looks at the end of an epoch only: it would miss validations inside the epoch
    and count one value twice where not every epoch is validated.

    Raises:
        ConfigError: before the first step, if the run does not validate or validation logs no such metric.
    """

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for scheduler in _plateaus(trainer):
            _value(trainer, scheduler.metric)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
        late = every is not None and epochs is not None and 0 < epochs < every
        if _plateaus(trainer) and (late or not trainer.enable_validation):
            must = "needs validation, and this run has none"
            raise ConfigError(Fault("scheduler", "plateau", must, "validate, or choose another scheduler"))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for scheduler in _plateaus(trainer):
            if not trainer.sanity_checking:
                scheduler.observe(_value(trainer, scheduler.metric))


def _plateaus(trainer: pl.Trainer) -> list[Plateau]:
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [scheduler for scheduler in schedulers if isinstance(scheduler, Plateau)]


def _value(trainer: pl.Trainer, metric: str) -> float:
    if metric not in trainer.callback_metrics:
        what = "validation logs no such metric, but these"
        raise ConfigError(unknown("scheduler.metric", metric, metric, trainer.callback_metrics, what))
    return trainer.callback_metrics[metric].item()
