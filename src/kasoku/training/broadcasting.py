"""Losses that broadcast outputs against targets are found out: [B, 1] beside [B] would give the mean of [B, B]."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

OF_TORCH = "Using a target size"  # what its losses warn of that expand both before they compare


class Broadcast(RuntimeError):
    """An operation took outputs and targets of different shapes element by element."""


@contextmanager
def refused(outputs: Tensor, y: Tensor) -> Iterator[None]:
    """Inside the block no operation may take tensors of these two shapes element by element, unless they are equal.

    Raises:
        Broadcast: one does.
    """
    with warnings.catch_warnings(), _Watch(outputs, y):
        warnings.filterwarnings("error", OF_TORCH)
        try:
            yield
        except UserWarning as error:
            raise Broadcast(str(error)) from error


class _Watch(TorchDispatchMode):
    def __init__(self, outputs: Tensor, y: Tensor):
        super().__init__()
        self._shapes = {outputs.shape, y.shape}
        # Losses of classes take [B, C] and whole numbers [B] by right.
        self._of_classes = outputs.ndim != y.ndim and not y.is_floating_point()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        shapes = {arg.shape for arg in args if isinstance(arg, Tensor)}
        if len(self._shapes) == 2 and self._shapes <= shapes and self._is_elementwise(func):
            raise Broadcast(func.__name__)
        return func(*args, **(kwargs or {}))

    def _is_elementwise(self, func: Any) -> bool:
        is_loss = any(argument.name == "reduction" for argument in func._schema.arguments)
        return torch.Tag.pointwise in func.tags or (is_loss and not self._of_classes)
