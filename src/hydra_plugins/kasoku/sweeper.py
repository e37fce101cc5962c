"""The sweeper behind `-m`. Hydra imports this module for every command, so nothing heavy is imported here."""

from hydra.core.config_store import ConfigStore
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
    """Hands the command over to `kasoku.search`, which reads the configuration's `sweeper`, `search` and `launcher`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._config = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep.

        Raises:
            ConfigError: it cannot be run.
            SystemExit: with the sweep's exit code; Hydra drops what a sweeper returns.
        """
        from kasoku.search.sweep import sweep

        raise SystemExit(sweep(self._config, self._loader, arguments))
