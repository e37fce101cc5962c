"""Losses as modules: a function is bound to its settings; the loss that a net brings itself; the mean over batches."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kasoku.faults import MISSING, ConfigError, Fault


class Function(nn.Module):
    """`function(outputs, y)` as a module: tensors among its bound settings go to the device of the net."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        bound = function if isinstance(function, partial) else partial(function)
        self._function, self._settings = bound.func, dict(bound.keywords)
        self._tensors = [name for name, value in self._settings.items() if isinstance(value, Tensor)]
        for name in self._tensors:
            self.register_buffer(name, self._settings.pop(name), persistent=False)

    def forward(self, outputs: Any, y: Any) -> Any:
        tensors = {name: getattr(self, name) for name in self._tensors}
        return self._function(outputs, y, **self._settings, **tensors)

    def _get_name(self) -> str:
        return getattr(self._function, "__name__", type(self._function).__name__)


class OfTheNet(nn.Module):
    """In the place of a loss where the net returns a dict with its `loss`; it is asked only where the net does not.

    Raises:
        ConfigError: the net returns no loss.
    """

    def forward(self, outputs: Any, y: Any) -> Tensor:
        must = f"the net returns no dict with a `loss` (it gives a {type(outputs).__name__}), and there is no other"
        raise ConfigError(Fault("model.loss", MISSING, must, "choose one: model.loss._target_=my_package.Loss"))


class MeanLoss(Metric):
    """The mean of batch losses, each weighed by what it was taken over; a batch of weight 0 (padding alone) has none.

    torchmetrics' own MeanMetric drops NaN, or with nan_strategy="disable" the weights (1.9.0).
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("weight", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, weight: Tensor | int) -> None:
        weight = torch.as_tensor(weight, dtype=self.weight.dtype, device=self.weight.device)
        self.total += torch.where(weight == 0, 0.0, loss.detach() * weight)
        self.weight += weight

    def compute(self) -> Tensor:
        return self.total / self.weight


def takes_probabilities(loss: nn.Module, outputs: Tensor, y: Tensor) -> bool:
    """True if `loss` has no finite value for outputs of 2. Asked on the CPU: a GPU does not recover from a no."""
    beyond, ones = torch.full_like(outputs, 2.0, device="cpu"), torch.ones_like(y, device="cpu")
    try:
        return not torch.isfinite(copy.deepcopy(loss).cpu()(beyond.float(), ones.float())).all()
    except (RuntimeError, ValueError):
        return True


def as_tensor(values: list[Any]) -> Tensor:
    """A list of numbers in a configuration, such as the weights of classes, as float32."""
    return torch.tensor(values, dtype=torch.float32)
