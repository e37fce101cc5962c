"""Shampoo with grafting, from pytorch_optimizer, with a state that a checkpoint can hold."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Interval
from pytorch_optimizer import ScalableShampoo
from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting

from kasoku.signatures import checked

Share = Annotated[float, Interval(ge=0, lt=1)]
Count = Annotated[int, Ge(1)]


class Shampoo(ScalableShampoo):
    """L^(-1/4) G R^(-1/4) for each weight matrix, grafted: scaled to the length of another optimizer's step.

    V. Gupta et al. 2018, arXiv 1802.09568; R. Anil et al. 2020, arXiv 2002.09018. As ScalableShampoo, whose own state
    holds Python objects that torch.load(weights_only=True) refuses; here it is tensors and lists of them.

    Args:
        params, lr, weight_decay: as everywhere; the decay is decoupled.
        betas: memory of the momentum, and of the statistics.
        graft: whose step length is taken.
        start: the step from which the preconditioner is used; the graft's own step until then.
        every: steps between two computations of the inverse roots.
        block_size: larger dimensions are cut into blocks of this size.
        max_dim: a matrix with a larger dimension (a vocabulary) is left to the graft.
        eps: added to the statistics, relative to their largest eigenvalue.

    Raises:
        ConfigError: a value is out of its range.
    """

    @checked("optimizer.")
    def __init__(
        self,
        params: Iterable[Any],
        lr: Annotated[float, Gt(0)] = 0.002,
        *,
        betas: tuple[Share, Share] = (0.9, 0.99),
        weight_decay: Annotated[float, Ge(0)] = 0.01,
        graft: Literal["none", "sgd", "adagrad", "rmsprop", "sqrtn"] = "rmsprop",
        start: Count = 20,
        every: Count = 10,
        block_size: Count = 256,
        max_dim: Count = 8192,
        nesterov: bool = True,
        eps: Annotated[float, Gt(0)] = 1e-6,
    ):
        super().__init__(
            params,
            lr=lr,
            betas=tuple(betas),
            moving_average_for_momentum=True,
            weight_decay=weight_decay,
            decoupled_weight_decay=True,
            start_preconditioning_step=start,
            preconditioning_compute_steps=every,
            block_size=block_size,
            skip_preconditioning_rank_lt=2,
            no_preconditioning_for_layers_with_dim_gt=max_dim,
            graft_type=LayerWiseGrafting[graft.upper()],
            nesterov=nesterov,
            matrix_eps=eps,
        )

    def state_dict(self) -> dict[str, Any]:
        """As torch's, the preconditioner's and the graft's tensors in place of those objects."""
        packed = super().state_dict()
        return packed | {"state": {key: _plain(state) for key, state in packed["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        super().load_state_dict(state_dict)
        saved = {p: dict(self.state[p]) for group in self.param_groups for p in group["params"] if self.state.get(p)}
        for p in saved:
            self.state[p].clear()
        self._build(list(saved))
        for p, tensors in saved.items():
            _fill(self.state[p], tensors)

    def _build(self, params: list[torch.Tensor]) -> None:
        """Fresh state for `params`, by the parent's own code, which looks at gradients only to see who has one."""
        grads = [p.grad for p in params]
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = torch.zeros_like(p) if p in set(params) else p.grad
        for group in self.param_groups:
            self.init_group(group)
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    conditioner, graft = state["pre_conditioner"], state["graft"]
    return {
        "momentum": state["momentum"],
        "statistics": conditioner.statistics,
        "pre_conditioners": conditioner.pre_conditioners,
        "graft": {name: value for name, value in vars(graft).items() if isinstance(value, torch.Tensor)},
    }


def _fill(state: dict[str, Any], saved: dict[str, Any]) -> None:
    state["momentum"] = saved["momentum"]
    state["pre_conditioner"].statistics = saved["statistics"]
    state["pre_conditioner"].pre_conditioners = saved["pre_conditioners"]
    vars(state["graft"]).update(saved["graft"])
