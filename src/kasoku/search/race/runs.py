"""The runs of a race as plain data: what a strategy is, which run of it is planned, and what came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from kasoku.results import Target


@dataclass(frozen=True)
class Dimension:
    """A setting that is tuned: its `key`, the `default` that tuning begins with, and the borders of its range."""

    key: str
    default: float
    low: float
    high: float

    def inside(self, value: float) -> float:
        """`value` to four digits, or the border that it lies beyond."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def border_near(self, value: float) -> float | None:
        """The border that `value` is within a tenth of the range of, on a log scale."""
        reach = 0.1 * math.log(self.high / self.low)
        return next((border for border in (self.low, self.high) if abs(math.log(value / border)) <= reach), None)

    def warning(self, value: float) -> str | None:
        """A sentence where `value` lies at a border of the range."""
        border = self.border_near(value)
        return None if border is None else f"{self.key}={value:g} lies at the border {border:g} of its range: widen it"


@dataclass(frozen=True)
class Strategy:
    """A contestant: overrides of the command, and what of it is tuned.

    `decays`: its schedule depends on the length of the run, which then is tuned as well.
    """

    name: str
    overrides: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    decays: bool

    @property
    def defaults(self) -> dict[str, float]:
        return {dimension.key: dimension.default for dimension in self.dimensions}


@dataclass(frozen=True)
class Rules:
    """The settings of a race; `conf/_race.yaml` says what each means. `cap` None: what the first run's length shows."""

    baseline: str
    target: Target
    cap: int | None = None
    tuning: float = 8.0
    seeds: int = 5
    studies: int = 1
    seed: int = 0
    tuner: str = "bracket"

    @property
    def goal(self) -> float:
        return self.target.value if self.target.value is not None else math.nan

    def excess(self, value: float) -> float:
        """The distance of `value` beyond the target: above 0 is better than the target asks."""
        return value - self.goal if self.target.mode == "max" else self.goal - value


@dataclass(frozen=True)
class Planned:
    """A run of a strategy: `key` names it, whoever plans it. `steps` None: as long as the command says."""

    key: str
    strategy: str
    phase: str
    values: Mapping[str, float]
    steps: int | None
    seed: int


@dataclass(frozen=True)
class Done:
    """A run that has ended.

    `final`: the target's metric at its last evaluation, None where it failed or diverged, which `reason` tells.
    `crossing`: steps to the target, infinite where it was not reached.
    """

    final: float | None
    steps: int
    crossing: float = math.inf
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Tuned:
    """The settings that tuning chose, with the length of a run.

    `slope`: by how much the final metric grows with the log of the length there, None where it is not known or not
    needed; `shortest` and `longest`: the lengths that it was seen at.
    """

    values: Mapping[str, float]
    steps: int
    slope: float | None = None
    shortest: float = 0.0
    longest: float = 0.0
    warnings: tuple[str, ...] = field(default=())
