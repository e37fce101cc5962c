"""Outputs and targets beside each other: shapes are moved, never broadcast."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]


def rows(outputs: Tensor, y: Tensor) -> Pair | None:
    """[..., C] and [...] -> [N, C] and [N]; [..., C] and shares of the same shape -> [N, C] and [N, C]."""
    if outputs.ndim < 2:
        return None
    if y.is_floating_point():
        return (outputs.flatten(0, -2), y.flatten(0, -2)) if outputs.shape == y.shape else None
    if y.ndim == outputs.ndim and y.shape[-1] == 1:
        y = y.squeeze(-1)
    return (outputs.flatten(0, -2), y.flatten().long()) if outputs.shape[:-1] == y.shape else None


def elements(outputs: Tensor, y: Tensor) -> Pair | None:
    """Both in one shape, the targets as floating as the outputs."""
    if outputs.shape != y.shape:
        if outputs.ndim > y.ndim:
            outputs = _without_axis(outputs, y.shape)
        else:
            y = _without_axis(y, outputs.shape)
        if outputs.shape != y.shape:
            return None
    if y.is_floating_point() and y.dtype != torch.float64:
        return outputs, y
    is_mixed = torch.is_autocast_enabled(outputs.device.type)
    return outputs, y.to(torch.float32 if is_mixed else outputs.dtype)


def described(outputs: Any, y: Any) -> str:
    """Both with type and shape: outputs float32 [64, 1], targets int64 [64]."""
    return f"outputs {shown(outputs)}, targets {shown(y)}"


def shown(value: Any) -> str:
    """Type and shape of a tensor, the names in a dict, the length of a tuple."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict of {' '.join(map(str, value))}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")


def _without_axis(longer: Tensor, shape: torch.Size) -> Tensor:
    """`longer` less the one axis of length 1 that makes it of `shape`; as it is where there is none.

    The batch stays an axis, unless `shape` has none: net(x).squeeze() of a batch of one.
    """
    for axis in range(longer.ndim - 1, -1 if not shape else 0, -1):
        if longer.shape[axis] == 1 and longer.shape[:axis] + longer.shape[axis + 1 :] == shape:
            return longer.squeeze(axis)
    return longer
