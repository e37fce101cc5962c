"""The keys of the `sweeper` node of a configuration and their ranges."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MinLen

Method = Literal["grid", "random", "bayes", "tpe", "gp", "cmaes", "qmc", "bracket", "race"]
Tuner = Literal["bracket", "random", "tpe", "asha"]
Pruner = Literal["none", "asha", "hyperband", "median", "wilcoxon"]
Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Settings:
    """The settings of a sweep; `conf/_sweeper.yaml` says what each key means."""

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
    tuner: Tuner = "bracket"  # of a race alone
    short: Annotated[float, Interval(gt=0, le=1)] = 0.25  # of bracket alone

    @property
    def metrics(self) -> list[str]:
        return [self.metric] if isinstance(self.metric, str) else self.metric

    @property
    def modes(self) -> list[str | None]:
        given = self.mode if isinstance(self.mode, list) else [self.mode]
        return [*given, *[None] * (len(self.metrics) - len(given))]
