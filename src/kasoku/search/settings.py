"""The `sweeper` node of a configuration: its keys, their ranges, and the objectives that it names."""

from dataclasses import MISSING, fields
from typing import Any, get_args

from omegaconf import DictConfig

from kasoku.config.sweeper import Method, Settings
from kasoku.config.tree import plain
from kasoku.faults import ConfigError, Fault
from kasoku.search.objective import Objective, objective
from kasoku.signatures import check_call


def read(cfg: DictConfig) -> tuple[Settings, list[Objective]]:
    """The settings of a sweep and what its trials are worth.

    Raises:
        ConfigError: a key is unknown, a value out of range, or the settings do not go together.
    """
    values: Any = plain(cfg.sweeper)[0]
    if faults := check_call(Settings, values, "sweeper."):
        raise ConfigError(*faults)
    needed = [field.name for field in fields(Settings) if field.default is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ConfigError(*(Fault(f"sweeper.{name}", None, "is missing") for name in missing))
    settings = Settings(**values)
    target: Any = plain(cfg.target)[0]
    found = [objective(name, mode, target) for name, mode in zip(settings.metrics, settings.modes, strict=False)]
    if faults := [*_disagreements(settings), *(fault for fault in found if isinstance(fault, Fault))]:
        raise ConfigError(*faults)
    return settings, [item for item in found if isinstance(item, Objective)]


def _disagreements(settings: Settings) -> list[Fault]:
    faults = []
    if settings.n_trials is None and settings.method not in ("grid", "race"):
        faults.append(Fault("sweeper.n_trials", None, "must be a whole number >= 1"))
    if settings.n_trials is not None and settings.method == "race":
        fix = "leave it out; race.tuning and race.seeds say how much is run"
        faults.append(Fault("sweeper.n_trials", settings.n_trials, "a race ends with its verdict", fix))
    if settings.method in ("race", "bracket") and settings.pruner != "none":
        must = f"must be none with sweeper={settings.method}: a run that is cut tells little of its end"
        faults.append(Fault("sweeper.pruner", settings.pruner, must, "leave it out"))
    if isinstance(settings.mode, list) and len(settings.mode) != len(settings.metrics):
        faults.append(
            Fault("sweeper.mode", settings.mode, f"must be as many as sweeper.metric: {len(settings.metrics)}")
        )
    if len(set(settings.metrics)) < len(settings.metrics):
        faults.append(Fault("sweeper.metric", settings.metric, "the same metric stands twice"))
    if len(settings.metrics) > 1 and settings.pruner != "none":
        must = "trials are compared by one metric while they run, there are two or more"
        faults.append(Fault("sweeper.pruner", settings.pruner, must, "add sweeper.pruner=none"))
    if len(settings.metrics) > 1 and settings.method in ("cmaes", "gp"):
        fix = "use one metric, or sweeper=bayes"
        faults.append(Fault("sweeper.metric", settings.metric, f"sweeper={settings.method} takes one", fix))
    return faults


METHODS = get_args(Method)
