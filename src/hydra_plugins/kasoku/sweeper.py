"""The sweeper behind `-m`. Hydra imports this module for every command, so nothing heavy is imported here."""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="kasoku",
    node={"_target_": "hydra_plugins.kasoku.sweeper.KasokuSweeper", "_recursive_": False},
    provider="kasoku",
)


class KasokuSweeper(Sweeper):
    """Reads what the command orders, checks it, and has `kasoku.search.sweep` run it."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._config, self._task = hydra_context.config_loader, config, task_function

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep that the overrides `arguments` describe.

        Raises:
            ConfigError: before the first trial, if the sweep cannot be run or none of its trials can.
            SystemExit: with the sweep's exit code, 0 if any trial finished; Hydra drops what a sweeper returns.
        """
        from kasoku.search import order as orders

        HydraConfig.instance().set_config(self._config)
        task: Any = self._task  # see kasoku.config.compose.leave_to_hydra
        order = orders.read(self._config, self._loader, arguments, task.trusted, task.typed)
        failing = orders.check_jobs(order)
        from kasoku.search.sweep import run  # Optuna is imported here, not earlier

        raise SystemExit(run(order, failing))
