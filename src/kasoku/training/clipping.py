"""Adaptive gradient clipping: each unit's gradient is held to a share of the unit's own weight.

Clipping by the norm of all gradients or by value is Lightning's: trainer.gradient_clip_val, gradient_clip_algorithm.
"""

import logging
from collections.abc import Iterable
from typing import Annotated

import pytorch_lightning as pl
import torch
from annotated_types import Gt
from torch import Tensor
from torch.optim import Optimizer

from kasoku.faults import ConfigError, Fault
from kasoku.training.observe import head_line, heads_of

log = logging.getLogger("kasoku")

Positive = Annotated[float, Gt(0)]

LEAST_GRADIENT = 1e-6  # a norm below is taken for this, as in the authors' code


class AGC(pl.Callback):
    """Clips the gradients before each optimizer step, after a loss scaler has unscaled them.

    For each unit i (a row of a matrix, the kernel of one output channel, a whole bias or gain vector)

        G_i <- G_i min(1, clip max(|W_i|, eps) / |G_i|)

    Brock et al. 2021, arXiv 2102.06171.

    Args:
        clip: the greatest |G_i| / |W_i|.
        eps: a weight norm below is taken for this, so that weights at zero can grow.
        head: whether the last layer is clipped too; the paper leaves it out.
    """

    def __init__(self, *, clip: Positive = 0.01, eps: Positive = 1e-3, head: bool = False):
        self.clip, self.eps, self.head = clip, eps, head
        self._left_out: set[int] = set()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler and any(getattr(optimizer, "_step_supports_amp_scaling", False) for optimizer in trainer.optimizers):
            must = "unscales the gradients inside its step, too late for them to be clipped"
            raise ConfigError(Fault("optimizer.fused", True, must, "set it to false, or use precision=bf16-mixed"))
        names = set() if self.head else heads_of(trainer, pl_module)[0]
        self._left_out = {id(p) for name, p in pl_module.named_parameters() if name in names}
        if trainer.is_global_zero and not self.head:
            log.info("agc leaves out: %s", head_line(trainer, pl_module))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        clip_units((p for p in parameters if id(p) not in self._left_out), self.clip, self.eps)


@torch.no_grad()
def clip_units(parameters: Iterable[Tensor], clip: float, eps: float = 1e-3) -> None:
    """Scale the gradients of `parameters` in place: see `AGC`.

    pytorch_optimizer has an `agc` of one tensor, equal to this but for Conv1d, whose units it does not take whole.
    """
    pairs = [(p, p.grad) for p in parameters if p.grad is not None]
    if not pairs:
        return
    scales, norms = [unit_norm(p) for p, _ in pairs], [unit_norm(grad) for _, grad in pairs]
    torch._foreach_clamp_min_(scales, eps)
    torch._foreach_mul_(scales, clip)
    torch._foreach_clamp_min_(norms, LEAST_GRADIENT)
    torch._foreach_div_(scales, norms)
    torch._foreach_clamp_max_(scales, 1.0)
    torch._foreach_mul_([grad for _, grad in pairs], scales)


def unit_norm(x: Tensor) -> Tensor:
    """The norm of each x[i], as [n, 1, ...]; of a vector or scalar as a whole, as a scalar."""
    if x.ndim < 2:
        return torch.linalg.vector_norm(x)
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)
