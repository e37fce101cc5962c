"""The strategies and the rules of a race, read from the `race` node and checked before anything is trained."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Ge
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kasoku import home
from kasoku.config import checks, compose
from kasoku.config.tree import plain
from kasoku.curves import fitted
from kasoku.durations import Clock
from kasoku.faults import MISSING, ConfigError, Fault, nearest
from kasoku.results import Target
from kasoku.search.race.runs import Dimension, Rules, Strategy
from kasoku.search.space import Numbers, read_node
from kasoku.signatures import check_call

SHARED = ("seed", "target", "data")  # nodes that no strategy changes
OWN = (  # keys that the race sets for each run
    "trainer.max_steps",
    "trainer.max_epochs",
    "trainer.val_check_interval",
    "trainer.check_val_every_n_epoch",
    "trainer.num_sanity_val_steps",
    "trainer.limit_test_batches",
)
LONG, LONGER = Clock(1000, 100, 64, 6400), Clock(2000, 100, 64, 6400)  # runs that differ in their length alone
Judge = Callable[[Sequence[str]], list[Fault]]
EXAMPLE = "tag(log,interval(1e-4,1e-1))"


@dataclass(frozen=True)
class Settings:
    """The `race` node; `conf/_race.yaml` says what each key means."""

    baseline: str | None
    strategies: dict
    only: list[str] | None
    cap: Annotated[int, Ge(1)] | None
    tuning: Annotated[float, Ge(1)]
    seeds: Annotated[int, Ge(4)] | None
    studies: Annotated[int, Ge(1)]
    evaluations: Annotated[int, Ge(2)]


@dataclass(frozen=True)
class Entries:
    """The contestants of a race and its rules. `batches` are those of an optimizer step, by strategy."""

    strategies: tuple[Strategy, ...]
    rules: Rules
    evaluations: int
    batches: Mapping[str, int]

    @property
    def identity(self) -> list[str]:
        """The lines that make it this race and no other."""
        rules = self.rules
        lines = [f"race.{s.name}={','.join(s.overrides)} {s.dimensions} {s.decays}" for s in self.strategies]
        return [*lines, f"race={rules.baseline} {rules.tuning:g} {rules.seeds} {rules.studies} {rules.tuner}"]


def read(cfg: DictConfig, loader: ConfigLoader, fixed: Sequence[str], judge: Judge, tuner: str) -> Entries:
    """The race that `cfg.race` describes, between runs with the overrides `fixed`; `judge` finds faults of a command.

    Raises:
        ConfigError: with every fault that shows before a run.
    """
    values: Any = plain(cfg.race)[0]
    faults = [*check_call(Settings, values, "race."), *_target(cfg)]
    if faults:
        raise ConfigError(*faults)
    settings = Settings(**values)
    chosen = _chosen(settings)
    read = _Reader(cfg, loader, fixed, judge)
    strategies = tuple(s for name, node in chosen.items() if (s := read.strategy(name, node)))
    if read.faults or (faults := read.copies()):
        raise ConfigError(*read.faults, *faults)
    target = Target(**{key: plain(cfg.target)[0][key] for key in ("metric", "value", "mode")})
    seeds = settings.seeds or (5 if len(strategies) <= 7 else 6)
    given = cfg.trainer.get("max_steps", -1)
    cap = settings.cap or (given if given > 0 else None)
    rules = Rules(
        str(settings.baseline), target, cap, settings.tuning, seeds, settings.studies, int(cfg.sweeper.seed), tuner
    )
    return Entries(strategies, rules, settings.evaluations, read.batches)


def _target(cfg: DictConfig) -> list[Fault]:
    if cfg.target.get("value") is None:
        return [
            Fault("target.value", None, "a race is about a target", "give the value to reach, as target.value=0.97")
        ]
    return []


def _chosen(settings: Settings) -> dict[str, Any]:
    """The nodes of the strategies that take part, the baseline first.

    Raises:
        ConfigError: none are given, or one that is named is not there.
    """
    nodes, only = settings.strategies, settings.only
    if not nodes:
        fix = "choose a race, as race=quick, or give race.strategies.NAME='[optimizer=...,scheduler=...]'"
        raise ConfigError(Fault("race.strategies", {}, "there is nobody to race", fix))
    must = f"is no strategy, they are: {' '.join(nodes)}"
    named = [("race.only", name) for name in only or ()] + [("race.baseline", settings.baseline)]
    faults = [Fault(key, name, must, nearest(str(name), nodes)) for key, name in named if name not in nodes]
    chosen = [name for name in nodes if name != settings.baseline and (only is None or name in only)]
    if not faults and not chosen:
        faults = [Fault("race.only", only, "leaves nobody to race against the baseline")]
    if settings.studies in (2, 3):
        faults.append(Fault("race.studies", settings.studies, "must be 1, or 4 and more for an interval over studies"))
    if faults:
        raise ConfigError(*faults)
    return {name: nodes[name] for name in (str(settings.baseline), *chosen)}


class _Reader:
    """Composes each strategy and holds it against the command's own configuration."""

    def __init__(self, cfg: DictConfig, loader: ConfigLoader, fixed: Sequence[str], judge: Judge):
        self._cfg, self._loader, self._judge = cfg, loader, judge
        self._fixed = list(fixed)
        self._shared = plain(cfg)[0]
        self._composed: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.batches: dict[str, int] = {}

    def strategy(self, name: str, node: Any) -> Strategy | None:
        """The strategy `name`, or None and a fault."""
        parts = node if isinstance(node, Mapping) else {"overrides": node}
        lines = parts.get("overrides")
        unknown = sorted(set(parts) - {"overrides", "search", "decays"})
        if unknown or not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            must = "must be a list of overrides, or {overrides: [...], search: {key: values}}"
            self._refuse(Fault(f"race.strategies.{name}", node, must))
            return None
        words = [*self._fixed, *lines]
        flags = home.folder_flags(sys.argv[1:])
        if faults := self._judge([*flags, *words]):
            self._refuse(*(replace(fault, must=f"{fault.must} (strategy {name})") for fault in faults))
            return None
        composed = self._loader.load_configuration(self._cfg.hydra.job.config_name, words, RunMode.RUN)
        with compose.as_current(composed):
            values = plain(composed)[0]
        if fault := self._overreach(values):
            self._refuse(replace(fault, key=f"race.strategies.{name}", value=lines))
            return None
        self._composed[name] = {key: values.get(key) for key in (*checks.NODES, "callbacks")}
        self.batches[name] = int(values["trainer"].get("accumulate_grad_batches") or 1)
        dimensions = self._dimensions(name, parts.get("search"), values)
        given = parts.get("decays")
        return Strategy(name, tuple(lines), dimensions, decays(values) if given is None else bool(given))

    def _overreach(self, values: Mapping[str, Any]) -> Fault | None:
        """A fault where a strategy, composed to `values`, sets what all have in common or what the race itself sets."""
        if changed := [key for key in SHARED if values.get(key) != self._shared.get(key)]:
            must = f"sets {' '.join(changed)}, which all strategies have in common"
            return Fault("", None, must, "give it on the command line")
        own, shared = (OmegaConf.create({"trainer": dict(node["trainer"])}) for node in (values, self._shared))
        if changed := [key for key in OWN if OmegaConf.select(own, key) != OmegaConf.select(shared, key)]:
            must = f"sets {' '.join(changed)}, which the race sets for each run"
            return Fault("", None, must, "leave it out; race.cap is the most steps of a run")
        return None

    def copies(self) -> list[Fault]:
        """A fault for each strategy that is an earlier one under another name."""
        names = list(self._composed)
        pairs = [
            (first, second)
            for index, second in enumerate(names)
            for first in names[:index]
            if self._composed[first] == self._composed[second]
        ]
        return [Fault(f"race.strategies.{b}", MISSING, f"is the same as {a}", "leave one out") for a, b in pairs]

    def _refuse(self, *faults: Fault) -> None:
        self.faults += faults

    def _dimensions(self, name: str, search: Any, values: Mapping[str, Any]) -> tuple[Dimension, ...]:
        if search is None:
            given = (values["optimizer"].get("search") or {}).get("lr")
            if given is None:
                must, fix = "has no range to tune the lr in", f"give it, as optimizer.search.lr='{EXAMPLE}'"
                self._refuse(Fault(f"race.strategies.{name}", values["optimizer"].get("_target_"), must, fix))
                return ()
            search = {"optimizer.lr": given}
        found: list[Fault] = []
        parameters = read_node(search, "", (), found)
        self._refuse(*(replace(fault, must=f"{fault.must} (strategy {name})") for fault in found))
        dimensions = []
        for parameter in parameters if not found else ():
            numbers, default = parameter.values, OmegaConf.select(OmegaConf.create(dict(values)), parameter.key)
            if not isinstance(numbers, Numbers) or not numbers.log:
                must = f"is tuned on a log scale (strategy {name})"
                self._refuse(Fault(parameter.key, search[parameter.key], must, f"such as {EXAMPLE}"))
            elif not isinstance(default, int | float) or not numbers.low <= default <= numbers.high:
                must = f"is the default and must lie in its range {search[parameter.key]} (strategy {name})"
                self._refuse(Fault(parameter.key, default, must, f"widen it: optimizer.search.lr='{EXAMPLE}'"))
            else:
                dimensions.append(Dimension(parameter.key, float(default), numbers.low, numbers.high))
        return tuple(dimensions)


def decays(values: Mapping[str, Any]) -> bool:
    """True if the schedule, apart from the warmup, depends on the length of the run."""
    schedule = checks.curves_of(values).schedule
    if schedule is None:
        return False
    try:
        first, second = (curves_at(schedule, clock) for clock in (LONG, LONGER))
    except ConfigError:  # a length in steps that is longer than this run
        return True
    return first != second


def curves_at(schedule: Any, clock: Clock) -> list[float]:
    """The factors of the schedule over the first steps of a run."""
    factor = fitted(schedule, clock, 0, "scheduler.")
    return [factor(step) for step in range(0, 1000, 10)]
