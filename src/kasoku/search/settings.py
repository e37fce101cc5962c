"""The `sweeper` node of a configuration: its keys, their ranges, and the objectives that it names."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Interval, MinLen
from omegaconf import DictConfig

from kasoku.config.plain import plain
from kasoku.faults import ConfigError, Fault, check_call
from kasoku.search.objective import Objective, objective

Method = Literal["grid", "random", "bayes", "tpe", "gp", "cmaes", "qmc"]
Pruner = Literal["none", "asha", "hyperband", "median", "wilcoxon"]
Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Settings:
    """How a sweep is run; `conf/_sweeper.yaml` says what each key means."""

    method: Method
    n_trials: Annotated[int, Ge(1)] | None
    workers: Annotated[int, Ge(1)]
    metric: str | Annotated[list[str], MinLen(1)]
    mode: Mode | list[Mode] | None
    pruner: Pruner
    storage: str | None
    study: str | None
    timeout: Annotated[float, Gt(0)] | None
    seed: Annotated[int, Interval(ge=0, lt=2**32)]

    @property
    def metrics(self) -> list[str]:
        return [self.metric] if isinstance(self.metric, str) else self.metric

    @property
    def modes(self) -> list[str | None]:
        given = self.mode if isinstance(self.mode, list) else [self.mode]
        return [*given, *[None] * (len(self.metrics) - len(given))]


def read(cfg: DictConfig) -> tuple[Settings, list[Objective]]:
    """The settings of a sweep and what its trials are worth.

    Raises:
        ConfigError: a key is unknown, a value out of range, or the settings do not go together.
    """
    values: Any = plain(cfg.sweeper)[0]
    if faults := check_call(Settings, values, "sweeper."):
        raise ConfigError(*faults)
    if missing := [field.name for field in fields(Settings) if field.name not in values]:
        raise ConfigError(*(Fault(f"sweeper.{name}", None, "is missing") for name in missing))
    settings = Settings(**values)
    target: Any = plain(cfg.target)[0]
    found = [objective(name, mode, target) for name, mode in zip(settings.metrics, settings.modes, strict=False)]
    if faults := [*_disagreements(settings), *(fault for fault in found if isinstance(fault, Fault))]:
        raise ConfigError(*faults)
    return settings, [item for item in found if isinstance(item, Objective)]


def _disagreements(settings: Settings) -> list[Fault]:
    faults = []
    if settings.n_trials is None and settings.method != "grid":
        faults.append(Fault("sweeper.n_trials", None, "must be a whole number >= 1"))
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
