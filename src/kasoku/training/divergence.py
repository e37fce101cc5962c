"""Divergence: the first loss or gradient that is not finite ends the run, before it spoils weights or a checkpoint."""

import logging
import math
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from kasoku.results import is_cost

log = logging.getLogger("kasoku")

FIX = "lower optimizer.lr or warm up longer"
IN_A_ROW = 10  # steps that `on_divergence=skip` leaves out before it gives up
DENSE = (torch.strided,)


class Diverged(RuntimeError):
    """A number of the run is not finite. `step` counts from 0, `lr` is the one used there."""

    def __init__(self, what: str, step: int, lr: float, fix: str = FIX):
        self.step, self.lr = step, lr
        super().__init__(f"{what} at step {step} with lr {lr:g}; {fix}")


class Divergence(Callback):
    """Looks at the gradient of each optimizer step, at validation's losses, and at the weights that are saved.

    On the CPU a step whose gradient is not finite is not taken. A GPU is not waited for: there the gradients of the
    steps since the last row are looked at with it, and before each validation and checkpoint. Where a gradient scaler
    is at work (16-mixed), a gradient that overflows is its affair: it leaves that step out and lowers the scale.

    Args:
        skip: leave out the steps whose gradient is not finite, and what they did to the statistics of batch norm; the
            device is then waited for at each. After IN_A_ROW of them one after the other the run ends.

    Raises:
        Diverged: a gradient, a validation loss or the weights are not finite.
    """

    def __init__(self, skip: bool = False):
        self.skip = skip
        self._loss: Tensor | None = None
        self._before: Tensor | None = None  # the loss of the last step whose gradient was finite
        self._norms: list[tuple[int, float, Tensor]] = []
        self._in_a_row = 0
        self._statistics: list[Tensor] = []  # buffers that a batch writes to, as batch norm's; not a mask of -inf
        self._kept: list[Tensor] = []  # of them before the step

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        floating = [b for b in module.buffers() if b.is_floating_point()]
        self._statistics = [b for b in floating if bool(torch.isfinite(b).all())]

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.skip and batch_idx % trainer.accumulate_grad_batches == 0:
            self._kept = [b.clone() for b in self._statistics]

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
        self._loss = loss

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Optimizer) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = total_norm([p.grad for p in parameters])
        if norm is None:
            return
        at = (trainer.global_step, float(optimizer.param_groups[0].get("lr", 0.0)), norm)
        if self.skip:
            self._leave_out(parameters, *at, trainer)
        elif norm.device.type == "cpu":
            self._look_at(*at, trainer)
        else:
            self._norms.append(at)
            if len(self._norms) >= trainer.log_every_n_steps:
                self._look_at_kept()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._look_at_kept()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        for name, value in trainer.callback_metrics.items():
            if is_cost(name) and name.startswith("val") and not math.isfinite(float(value)):
                what = f"the metric {name} became {float(value)}"
                raise Diverged(what, trainer.global_step - 1, _lr(trainer), f"look at validation's data, or {FIX}")

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._look_at_kept()
        self._look_at_weights(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._look_at_kept()
        self._look_at_weights(trainer, module)

    def _look_at(self, step: int, lr: float, norm: Tensor, trainer: pl.Trainer) -> None:
        if not math.isfinite(norm):
            raise Diverged(self._said(norm, trainer.accumulate_grad_batches), step, lr)
        self._before = self._loss

    def _said(self, norm: Tensor, accumulated: int) -> str:
        """The news of a gradient that is not finite; Lightning hands out the loss divided by the batches of a step."""
        loss, before = (math.nan if x is None else float(x.detach()) * accumulated for x in (self._loss, self._before))
        if math.isfinite(loss):
            return f"the norm of the gradient became {float(norm)}, at a loss of {loss:.5g},"
        after = f" after {before:.5g}" if math.isfinite(before) else ""
        return f"the loss became {loss}{after}, and the norm of the gradient {float(norm)},"

    def _look_at_kept(self) -> None:
        """Those of the steps that were not waited for."""
        kept, self._norms = self._norms, []
        if kept and not bool(torch.isfinite(torch.stack([norm for *_, norm in kept])).all()):
            step, lr, norm = next(at for at in kept if not math.isfinite(at[2]))
            raise Diverged(f"the norm of the gradient became {float(norm)}", step, lr)

    def _leave_out(self, parameters: list[Tensor], step: int, lr: float, norm: Tensor, trainer: pl.Trainer) -> None:
        if math.isfinite(norm):
            self._in_a_row, self._before = 0, self._loss
            return
        self._in_a_row += 1
        said = self._said(norm, trainer.accumulate_grad_batches)
        if self._in_a_row >= IN_A_ROW:
            raise Diverged(f"{said} as {IN_A_ROW} times in a row,", step, lr)
        log.warning("left out: %s at step %d with lr %g", said.rstrip(","), step, lr)
        for parameter in parameters:
            parameter.grad = None
        for buffer, kept in zip(self._statistics, self._kept, strict=True):
            buffer.copy_(kept)

    def _look_at_weights(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        weights = (p.detach() for p in module.parameters() if p.is_floating_point())
        norm = total_norm([*weights, *self._statistics])
        if norm is not None and not math.isfinite(norm):
            raise Diverged(f"the norm of the weights became {float(norm)}", trainer.global_step - 1, _lr(trainer))


def total_norm(tensors: Iterable[Tensor | None]) -> Tensor | None:
    """The Euclidean norm of all `tensors` as one, a scalar on the device of the first; None without any."""
    dense = [t if t.layout in DENSE else t.coalesce().values() for t in tensors if t is not None]
    if not dense:
        return None
    if any(isinstance(t, DTensor) for t in dense) or len({(t.dtype, t.device) for t in dense}) > 1:
        norm = torch.nn.utils.get_total_norm(dense)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(dense)))  # at half the cost


def _lr(trainer: pl.Trainer) -> float:
    groups = trainer.optimizers[0].param_groups if trainer.optimizers else [{}]
    return float(groups[0].get("lr", 0.0))
