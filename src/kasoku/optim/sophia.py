"""Sophia, a clipped step over the Hessian's diagonal, made to work under Lightning's automatic optimization."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from pytorch_optimizer import SophiaH
from torch import Tensor

from kasoku.signatures import checked

Share = Annotated[float, Interval(ge=0, lt=1)]


class Sophia(SophiaH):
    """w <- w - lr clip(m / max(h, eps), -clip, clip): m the mean of the gradients, h of Hutchinson's z (H z), z normal.

    H. Liu et al. 2023, arXiv 2305.14342 (Sophia-H). The parent differentiates the gradients that `backward` left, which
    asks for create_graph at every step. Here `estimate(loss)`, called before `backward` at the steps that are `due`,
    does it from the loss: by `kasoku.training.optimizer_hooks.EstimateCurvature` under Lightning, by hand
    in a loop of one's own.

    Args:
        params, lr, weight_decay: as everywhere; the decay is decoupled.
        betas: memory of m and of h.
        clip: the largest entry of a step before lr.
        every: steps between two estimates of h.
        eps: the smallest h.

    Raises:
        ConfigError: a value is out of its range.
    """

    decays_apart = True  # what `kasoku.optim.tricks` could not find out without a loss to differentiate

    @checked("optimizer.")
    def __init__(
        self,
        params: Iterable[Any],
        lr: Annotated[float, Gt(0)] = 0.1,
        *,
        betas: tuple[Share, Share] = (0.96, 0.99),
        weight_decay: Annotated[float, Ge(0)] = 0.01,
        clip: Annotated[float, Gt(0)] = 0.01,
        every: Annotated[int, Ge(1)] = 10,
        eps: Annotated[float, Gt(0)] = 1e-12,
    ):
        super().__init__(params, lr, tuple(betas), weight_decay, p=clip, update_period=every, eps=eps)
        self._curvature: list[Tensor] | None = None

    @property
    def due(self) -> bool:
        """True if the coming step takes a new estimate of h."""
        return self.param_groups[0].get("step", 0) % self.update_period == 0

    def estimate(self, loss: Tensor, mean: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        """Estimate the Hessian's diagonal of `loss`, whose graph is kept; calls before one step add up (accumulation).

        Args:
            loss: the loss, or its share where gradients accumulate.
            mean: averages a tensor over the processes that train together.
        """
        params = [p for group in self.param_groups for p in group["params"]]
        grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
        curved = [i for i, grad in enumerate(grads) if grad is not None and grad.requires_grad]
        noise = [torch.randn_like(params[i]) for i in curved]
        products = torch.autograd.grad(
            [grads[i] for i in curved], [params[i] for i in curved], noise, retain_graph=True, materialize_grads=True
        )
        if self._curvature is None:
            self._curvature = [torch.zeros_like(p) for p in params]
        for i, z, product in zip(curved, noise, products, strict=True):
            self._curvature[i] += mean(z * product)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the closure's loss. Raises RuntimeError if an estimate is due and was not made."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        due, curvature, self._curvature = self.due, self._curvature, None
        if due and curvature is None:
            raise RuntimeError(
                "Sophia.estimate(loss) was not called before backward: add the callback EstimateCurvature"
            )
        super().step(hessian=curvature if due else None)
        return loss
