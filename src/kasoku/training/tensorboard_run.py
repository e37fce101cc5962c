"""TensorBoard with a line for each run in its tab of hyperparameters: the configuration, and what it came to."""

import math
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

PARTS = ("optimizer", "scheduler", "warmup", "model", "data", "target", "seed")
LEFT_OUT = ("search", "find_lr", "_partial_")  # of an optimizer's file: settings of the search for others


class TensorBoardRun(TensorBoardLogger):
    """Lightning's TensorBoard logger that enters the run's end in the tab HPARAMS.

    Args:
        save_dir: the run's directory.
        config: the run's configuration; what of it decides the training becomes hyperparameters.
        settings: any further arguments of Lightning's TensorBoardLogger.
    """

    def __init__(self, save_dir: str, config: Mapping[str, Any], **settings: Any):
        super().__init__(save_dir, **({"default_hp_metric": False} | settings))
        self._config = config

    @rank_zero_only
    def finish(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Enter the hyperparameters beside the run's last, best and target figures."""
        figures = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
        chosen = {name: _kept(self._config[name]) for name in PARTS if name in self._config}
        ended = {"status": summary.get("status", ""), "exit_code": exit_code}
        self.log_hyperparams(
            {**chosen, **ended}, {f"end/{name}": value for name, value in figures.items() if math.isfinite(value)}
        )
        self.experiment.flush()
        self.experiment.close()


def _kept(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    return {name: _kept(value) for name, value in node.items() if name not in LEFT_OUT}
