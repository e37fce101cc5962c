"""The order of a sweep, as a command with -m gives it, checked before anything heavy is imported."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from kasoku import home
from kasoku.config import diagnose
from kasoku.config.lines import as_typed
from kasoku.config.overrides import key_of, root
from kasoku.config.tree import plain
from kasoku.faults import ConfigError, Fault
from kasoku.search import bracket as brackets
from kasoku.search import own_ranges
from kasoku.search import settings as setting
from kasoku.search.objective import Objective
from kasoku.search.race import strategies
from kasoku.search.race.strategies import Entries
from kasoku.search.settings import Settings
from kasoku.search.space import Space, grid, misplaced, parse

OWN = ("sweeper", "search", "race", "launcher", "resume")  # keys of a sweep, not of its trials
MOST_TRIED = 40  # jobs of a grid that are composed before the first trial


@dataclass(frozen=True)
class Order:
    """A sweep as ordered.

    Args:
        cfg: composed of what is not varied.
        loader: composes the configurations of the trials.
        arguments: the command's overrides, without resume.
        settings, objectives: of `cfg.sweeper`.
        fixed: the overrides that all trials have.
        space: what is varied.
        combinations: the points of a grid, as values of the parameters' names; none for a sampled space.
        race: the strategies that are raced and the rules, with sweeper=race; then there is no space.
        bracket: the number that is looked for, with sweeper=bracket.
        trusted: names that a `_target_` may lie under.
        typed: the overrides that were typed; a resumed sweep has those that it stored besides.
    """

    cfg: DictConfig
    loader: ConfigLoader
    arguments: Sequence[str]
    settings: Settings
    objectives: Sequence[Objective]
    fixed: Sequence[str]
    space: Space
    trusted: tuple[str, ...]
    typed: tuple[str, ...]
    combinations: Sequence[dict[str, str]] = ()
    race: Entries | None = None
    bracket: brackets.Search | None = None

    @property
    def n_trials(self) -> int:
        given = self.settings.n_trials
        return min(given or len(self.combinations), len(self.combinations)) if self.combinations else given or 1

    @property
    def conf_dir(self) -> Path:
        return conf_dir(self.cfg)

    @property
    def identity(self) -> list[str]:
        """The lines that make it this sweep and no other: all but how and where it is run."""
        how = ("sweeper", "launcher", "logger")
        lines = [line for line in self.arguments if root(line) not in how]
        own = next((one.identity for one in (self.race, self.bracket) if one), [])
        return sorted([*lines, *own, f"sweeper={self.settings.method}", f"sweeper.metric={self.settings.metric}"])

    @property
    def hydra_overrides(self) -> list[str]:
        """Overrides of Hydra's own node that the trials share."""
        return shared_overrides(self.cfg)


def conf_dir(cfg: DictConfig) -> Path:
    """The folder of train.yaml."""
    return Path(next(source.path for source in cfg.hydra.runtime.config_sources if source.provider == "main"))


def shared_overrides(cfg: DictConfig) -> list[str]:
    """Overrides of Hydra's own node that the trials of a sweep share."""
    given = as_typed(cfg.hydra.overrides.hydra)
    return [line for line in given if not line.lstrip("+").startswith(("hydra.sweep", "hydra.run", "hydra.mode"))]


def read(
    cfg: DictConfig, loader: ConfigLoader, arguments: Sequence[str], trusted: Sequence[str], typed: Sequence[str]
) -> Order:
    """The order in `arguments`, which `cfg` is composed of; `trusted` and `typed` as in `Order`.

    Raises:
        ConfigError: settings out of range, a space that is none, nothing to search.
    """
    _refuse_swept(arguments)
    _refuse_repeated(arguments)
    settings, objectives = setting.read(cfg)
    arguments = [line for line in arguments if root(line) != "resume"]
    if settings.method == "race":
        return _race(cfg, loader, arguments, settings, objectives, tuple(trusted), tuple(typed))
    names = own_ranges.names_of(cfg, arguments)
    lines = [line for line in arguments if root(line) not in OWN and not own_ranges.is_range(line)]
    search = plain(cfg.search)[0]
    if faults := misplaced(search):
        raise ConfigError(*faults)
    fixed, space = parse(lines, search, dict(cfg.hydra.runtime.choices), loader)
    space = own_ranges.add(space, names, fixed, own_ranges.composing(cfg, loader, arguments))
    is_grid = settings.method == "grid"
    if not is_grid and not space.applicable:
        raise ConfigError(_nothing_to_search(cfg))
    if settings.method == "bracket":
        found = brackets.read(plain(cfg)[0], space, settings, objectives)
        return Order(
            cfg, loader, arguments, settings, objectives, fixed, space, tuple(trusted), tuple(typed), bracket=found
        )
    space, combinations = grid(space) if is_grid else (space, [])
    return Order(cfg, loader, arguments, settings, objectives, fixed, space, tuple(trusted), tuple(typed), combinations)


def _race(
    cfg: DictConfig,
    loader: ConfigLoader,
    arguments: Sequence[str],
    settings: Settings,
    objectives: Sequence[Objective],
    trusted: tuple[str, ...],
    typed: tuple[str, ...],
) -> Order:
    """The order of a race.

    Raises:
        ConfigError: it varies something, is after another metric than the target's, or its strategies do not stand.
    """
    fixed = [line for line in arguments if root(line) not in OWN and not own_ranges.is_range(line)]
    swept = [o for o in OverridesParser.create().parse_overrides(fixed) if o.is_sweep_override()]
    fix = "what is to be compared is a strategy: race.strategies.NAME='[...]'"
    faults = [Fault(o.key_or_group, _value(o.input_line), "must be one value in a race", fix) for o in swept]
    if [objective.metric for objective in objectives] != [cfg.target.metric]:
        faults.append(Fault("sweeper.metric", settings.metric, "must be the target's metric in a race"))
    if faults:
        raise ConfigError(*faults)
    # as text: Hydra leaves an interval out of what it composes
    ranges = [f"{key_of(line)}='{_value(line)}'" for line in arguments if own_ranges.is_range(line)]
    lines = [*shared_overrides(cfg), *fixed, *ranges]
    judge = partial(diagnose.examine, conf_dir=conf_dir(cfg), typed=typed, allowed=trusted)
    entries = strategies.read(cfg, loader, lines, judge, settings.tuner)
    return Order(cfg, loader, arguments, settings, objectives, fixed, Space(()), trusted, typed, race=entries)


def check_jobs(order: Order) -> list[Fault]:
    """Compose jobs that have each value of a grid, or lie at the ends of a space, and look for faults.

    Returns the faults of some of a grid's jobs, where others stand: their trials will fail.

    Raises:
        ConfigError: no job stands, with the faults of the first; or one at the end of a space does not.
    """
    if order.race:
        return []  # its strategies were composed when it was read
    flags = home.folder_flags(sys.argv[1:])
    jobs = [_lines(order.space, point) for point in _covering(order.combinations)] or order.space.corners()
    shared = [*flags, *order.hydra_overrides, *order.fixed]
    found = [diagnose.examine([*shared, *lines], order.conf_dir, order.typed, order.trusted) for lines in jobs]
    if order.bracket and order.bracket.shorter and not any(found):
        short = [*shared, *(f"{key}={length}" for key, length in order.bracket.shorter.items())]
        where = f"(in the short runs of sweeper.short={order.settings.short:g}; 1 has none)"
        faults = diagnose.examine(short, order.conf_dir, order.typed, order.trusted)
        found.append([replace(fault, must=f"{fault.must} {where}") for fault in faults])
    wrong = [faults for faults in found if faults]
    if wrong and (len(wrong) == len(found) or not order.combinations):
        raise ConfigError(*wrong[0])
    return list({(fault.key, str(fault.value)): fault for faults in wrong for fault in faults}.values())


def _covering(combinations: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Points of a grid that have, together, each of its values: at most MOST_TRIED, the first among them."""
    seen, chosen = set[tuple[str, str]](), list[dict[str, str]]()
    for point in combinations:
        if not seen.issuperset(point.items()) or not chosen:
            chosen.append(point)
            seen.update(point.items())
    return chosen[:MOST_TRIED]


def _lines(space: Space, combination: dict[str, str]) -> list[str]:
    point = space.sample(lambda parameter: combination[parameter.name])
    return [parameter.override(value) for parameter, value in point.items()]


def _refuse_swept(arguments: Sequence[str]) -> None:
    """A sweep has one value for its own keys."""
    overrides = [OverridesParser.create().parse_override(line) for line in arguments if root(line) in OWN]
    faults = [
        Fault(o.key_or_group, _value(o.input_line), "must be one value", _as_list(o.key_or_group, o.input_line))
        for o in overrides
        if o.is_sweep_override()
    ]
    if faults:
        raise ConfigError(*faults)


def _refuse_repeated(arguments: Sequence[str]) -> None:
    """A key that is varied stands once: which of two spaces is meant nobody can tell."""
    varied = [o for line in arguments if (o := OverridesParser.create().parse_override(line)).is_sweep_override()]
    given: dict[str, list[str]] = {}
    for line in arguments:
        given.setdefault(key_of(line), []).append(_value(line))
    faults = [
        Fault(key, " ".join(given[key]), "stands twice", "give its values once")
        for key in dict.fromkeys(override.key_or_group for override in varied)
        if len(given.get(key, ())) > 1
    ]
    if faults:
        raise ConfigError(*faults)


def _as_list(key: str, line: str | None) -> str:
    return f"two metrics are a list: {key}=[{_value(line)}]" if key in ("sweeper.metric", "sweeper.mode") else ""


def _value(line: str | None) -> str:
    return str(line).partition("=")[2]


def _nothing_to_search(cfg: DictConfig) -> Fault:
    choices = cfg.hydra.runtime.choices
    if choices.search in (None, "none"):
        fix = "add search=lr, or a space: optimizer.lr='tag(log,interval(1e-4,1e-1))'"
        return Fault("sweeper", choices.sweeper, "there is nothing to search", fix)
    must = "has nothing to vary that the command does not fix"
    return Fault("search", choices.search, must, "give a space: optimizer.lr='tag(log,interval(1e-4,1e-1))'")
