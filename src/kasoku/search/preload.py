"""What the parent of the trials does once, so that none of them has to: imports, and reading Hydra's grammar.

Nothing here may start a thread, run a tensor operation or touch a GPU: the trials are forks of it.
"""

import hydra
import optuna  # noqa: F401
import torchmetrics.classification  # noqa: F401
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from kasoku.search import trial  # noqa: F401

hydra.version.setbase("1.3")
Plugins.instance()
OverridesParser.create().parse_overrides(["a.b=0.1", "c=d", "e=[1,x]", "f='g h'"])
