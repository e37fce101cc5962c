"""Values as a checkpoint may hold them: plain types and tensors, which torch.load(weights_only=True) reads."""

from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXACT = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
MAPPINGS = (dict, OrderedDict, Counter)
LEFT_OUT: Any = object()


def plain(value: Any, name: str = "") -> tuple[Any, list[str]]:
    """`value` in plain types, and the dotted names of what in it has no such form and is left out.

    Numbers and arrays of numpy become numbers and tensors, paths texts, members of an Enum their values, other mappings
    and sequences (OmegaConf's, namespaces) dicts and lists. What is plain already is handed back itself, not a copy.

    >>> plain({"width": np.int64(3), "net": object()})
    ({'width': 3}, ['net'])
    """
    lost: list[str] = []
    kept = _plain(value, name, lost)
    return (None if kept is LEFT_OUT else kept), lost


def described(params: Mapping[str, Any] | Namespace) -> dict[str, Any]:
    """`params` for a logger: in plain types, and of what has none the name of its class (its own, if it is one)."""
    values = vars(params) if isinstance(params, Namespace) else params
    kept, lost = plain(values)
    return kept | {name: _called(values[name]) for name in lost if name in values}


def _called(value: Any) -> str:
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _plain(value: Any, name: str, lost: list[str]) -> Any:
    if type(value) in EXACT or isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        return _mapping(value, name, lost)
    if isinstance(value, Namespace):
        return _mapping(vars(value), name, lost)
    simple = _simple(value)
    if simple is not LEFT_OUT:
        return simple
    if isinstance(value, Sequence | Set) and not isinstance(value, str | bytes | range):
        return _sequence(value, name, lost)
    lost.append(name)
    return LEFT_OUT


def _simple(value: Any) -> Any:
    """A single value in a plain type."""
    match value:
        case Enum():
            return plain(value.value)[0]
        case np.generic():
            return value.item()
        case np.ndarray() if value.dtype.kind in "biufc":
            return torch.from_numpy(value.copy())
        case str() | PurePath():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case range():
            return list(value)
    return LEFT_OUT


def _mapping(value: Mapping[Any, Any], name: str, lost: list[str]) -> Any:
    found, same = {}, type(value) in MAPPINGS
    for key, item in value.items():
        inner = f"{name}.{key}".lstrip(".")
        own, kept = _plain(key, inner, []), _plain(item, inner, lost)
        if own is LEFT_OUT and kept is not LEFT_OUT:
            lost.append(inner)
        if own is not LEFT_OUT and kept is not LEFT_OUT:
            found[own] = kept
        same = same and own is key and kept is item
    return value if same else found


def _sequence(value: Any, name: str, lost: list[str]) -> Any:
    items = [_plain(item, f"{name}.{i}".lstrip("."), lost) for i, item in enumerate(value)]
    if type(value) in (list, tuple, set) and all(new is old for new, old in zip(items, value, strict=True)):
        return value
    kept = [item for item in items if item is not LEFT_OUT]
    return set(kept) if isinstance(value, Set) else tuple(kept) if isinstance(value, tuple) else kept
