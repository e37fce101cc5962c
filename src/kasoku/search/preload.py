"""Work done once by the parent of the trials, so that none of them has to: imports, and reading Hydra's grammar.

Nothing here may start a thread, run a tensor operation or touch a GPU: the trials are forks of it.
"""

import gc
import importlib
import pkgutil

import hydra
import torchmetrics.classification  # noqa: F401
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

import kasoku.data
import kasoku.nets
from kasoku.search import trial  # noqa: F401
from kasoku.training import versions

for package in (kasoku.data, kasoku.nets):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
hydra.version.setbase("1.3")
Plugins.instance()
OverridesParser.create().parse_overrides(["a.b=0.1", "c=d", "e=[1,x]", "f='g h'"])
versions.of_packages()
gc.collect()
gc.freeze()  # the collector of a fork would touch, and so copy, every page of what is imported
