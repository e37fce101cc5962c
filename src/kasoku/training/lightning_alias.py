"""`import lightning as L` in a user's code, taken for pytorch_lightning: one code under two names, with other classes.

The package `lightning` holds the code of pytorch_lightning and lightning_fabric as lightning.pytorch and
lightning.fabric. A trainer of the one refuses the modules of the other. Whoever has both, or only the one that kasoku
runs, need not change a line: the names of `lightning` lead to the modules of pytorch_lightning.
"""

import importlib
import importlib.abc
import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

log = logging.getLogger("kasoku")

NAME = "lightning"
REAL = {"pytorch": "pytorch_lightning", "fabric": "lightning_fabric"}
# What `lightning` has at its top, with the module it is from.
TOP = {
    "pytorch_lightning": ("Trainer", "LightningModule", "LightningDataModule", "Callback", "seed_everything"),
    "lightning_fabric": ("Fabric",),
}


def accept() -> None:
    """Let `import lightning` find pytorch_lightning from now on; where it was imported before, nothing is changed."""
    if NAME not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        first, _, rest = fullname.partition(".")
        if first != NAME:
            return None
        if not rest:
            return importlib.util.spec_from_loader(fullname, _Top(), is_package=True)
        part, _, inner = rest.partition(".")
        real = ".".join(filter(None, [REAL.get(part), inner]))
        if part not in REAL or importlib.util.find_spec(real) is None:
            return None
        return importlib.util.spec_from_loader(fullname, _Alias(real))


class _Top(importlib.abc.Loader):
    """Makes the package `lightning` itself."""

    def exec_module(self, module: ModuleType) -> None:
        for name, attributes in TOP.items():
            source = importlib.import_module(name)
            vars(module).update({attribute: getattr(source, attribute) for attribute in attributes})
        vars(module).update({part: importlib.import_module(f"{NAME}.{part}") for part in REAL})  # L.pytorch.callbacks
        module.__version__ = importlib.import_module("pytorch_lightning").__version__  # type: ignore[attr-defined]
        log.info("lightning is taken for pytorch_lightning %s", module.__version__)


class _Alias(importlib.abc.Loader):
    """Hands out the module `real` under another name, unchanged."""

    def __init__(self, real: str):
        self._real = real
        self._spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has put its own there
