"""kasoku: networks trained sooner. See README.md for the command line; from a notebook:

from kasoku import Module, Recipe, configure_optimizers
"""

import importlib
from typing import Any

_EXPORTS = {
    "Recipe": "kasoku.recipe",
    "Clock": "kasoku.durations",
    "ConfigError": "kasoku.faults",
    "Module": "kasoku.training.module",
    "configure_optimizers": "kasoku.training.clock",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import on first use: `python train.py --help` must not wait for torch."""
    if name in ("schedules", "warmups"):
        return importlib.import_module(f"kasoku.{name}")
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'kasoku' has no attribute {name!r}")
