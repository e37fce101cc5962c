"""kasoku: networks trained sooner. See README.md for the command line; from a notebook:

import kasoku
fitted = kasoku.fit(module, data, recipe="fast", max_epochs=5)
net = kasoku.load("runs/train/...").net
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kasoku.command.library import fit, load
    from kasoku.durations import Clock
    from kasoku.faults import ConfigError
    from kasoku.recipe import Recipe
    from kasoku.results import Target
    from kasoku.training.clock import configure_optimizers
    from kasoku.training.module import Module

_EXPORTS = {
    "Recipe": "kasoku.recipe",
    "Clock": "kasoku.durations",
    "ConfigError": "kasoku.faults",
    "Module": "kasoku.training.module",
    "Target": "kasoku.results",
    "configure_optimizers": "kasoku.training.clock",
    "fit": "kasoku.command.library",
    "load": "kasoku.command.library",
}
__all__ = ["Clock", "ConfigError", "Module", "Recipe", "Target", "configure_optimizers", "fit", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use: `python train.py --help` must not wait for torch."""
    if name in ("schedules", "warmups"):
        return importlib.import_module(f"kasoku.{name}")
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'kasoku' has no attribute {name!r}")
