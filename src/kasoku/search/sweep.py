"""`python train.py -m`: what a command asks of a sweep, checked before anything heavy is imported."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from kasoku.config import diagnose
from kasoku.config.plain import plain
from kasoku.faults import ConfigError, Fault
from kasoku.search import settings as setting
from kasoku.search.objective import Objective
from kasoku.search.settings import Settings
from kasoku.search.space import Space, grid, parse

OWN = ("sweeper", "search", "launcher", "resume")  # keys of a sweep, not of its trials
MOST_TRIED = 20  # jobs of a grid that are composed to find one without a fault


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
    """

    cfg: DictConfig
    loader: ConfigLoader
    arguments: Sequence[str]
    settings: Settings
    objectives: Sequence[Objective]
    fixed: Sequence[str]
    space: Space
    combinations: Sequence[dict[str, str]]

    @property
    def n_trials(self) -> int:
        given = self.settings.n_trials
        return min(given or len(self.combinations), len(self.combinations)) if self.combinations else given or 1

    @property
    def conf_dir(self) -> Path:
        """The folder of train.yaml."""
        sources = self.cfg.hydra.runtime.config_sources
        return Path(next(source.path for source in sources if source.provider == "main"))

    @property
    def identity(self) -> list[str]:
        """What makes it this sweep and no other: all but how and where it is run."""
        how = ("sweeper", "launcher", "logger")
        lines = [line for line in self.arguments if root(line) not in how]
        return sorted([*lines, f"sweeper={self.settings.method}", f"sweeper.metric={self.settings.metric}"])

    @property
    def hydra_overrides(self) -> list[str]:
        """Overrides of Hydra's own node that the trials share."""
        given = self.cfg.hydra.overrides.hydra
        return [line for line in given if not line.lstrip("+").startswith(("hydra.sweep", "hydra.run", "hydra.mode"))]


def sweep(cfg: DictConfig, loader: ConfigLoader, arguments: Sequence[str]) -> int:
    """Run the sweep that `cfg` and the overrides `arguments` describe; its exit code, 0 if any trial finished.

    Raises:
        ConfigError: before the first trial, if the sweep cannot be run or none of its trials can.
    """
    HydraConfig.instance().set_config(cfg)
    order = read(cfg, loader, arguments)
    check_jobs(order)
    from kasoku.search.command import run  # Optuna is imported here, not earlier

    return run(order)


def read(cfg: DictConfig, loader: ConfigLoader, arguments: Sequence[str]) -> Order:
    """The order in `arguments`, which `cfg` is composed of.

    Raises:
        ConfigError: settings out of range, a space that is none, nothing to search.
    """
    _refuse_swept(arguments)
    settings, objectives = setting.read(cfg)
    arguments = [line for line in arguments if root(line) != "resume"]
    fixed, space = parse(
        [line for line in arguments if root(line) not in OWN],
        plain(cfg.search)[0],
        dict(cfg.hydra.runtime.choices),
        loader,
    )
    is_grid = settings.method == "grid"
    if not is_grid and not space.applicable:
        raise ConfigError(_nothing_to_search(cfg))
    space, combinations = grid(space) if is_grid else (space, [])
    return Order(cfg, loader, arguments, settings, objectives, fixed, space, combinations)


def check_jobs(order: Order) -> None:
    """Compose jobs at the ends of the space and look for faults. A grid stands as long as one of its jobs does.

    Raises:
        ConfigError: with the faults of the first job.
    """
    first: list[Fault] = []
    for overrides in order.combinations[:MOST_TRIED] if order.combinations else order.space.corners():
        lines = overrides if isinstance(overrides, list) else _lines(order.space, overrides)
        faults = diagnose.examine([*flags(), *order.hydra_overrides, *order.fixed, *lines], order.conf_dir)
        if not faults and order.combinations:
            return
        first = first or faults
    if first:
        raise ConfigError(*first)


def _lines(space: Space, combination: dict[str, str]) -> list[str]:
    point = space.sample(lambda parameter: combination[parameter.name])
    return [parameter.override(value) for parameter, value in point.items()]


def flags() -> list[str]:
    """Hydra's own flags on the command line that say where configurations are."""
    args, _ = get_args_parser().parse_known_args(sys.argv[1:])
    names = ("config_dir", "config_name", "config_path")
    return [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in names if getattr(args, name)]


def root(line: str) -> str:
    """The first part of an override's key."""
    return line.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]


def _refuse_swept(arguments: Sequence[str]) -> None:
    """A sweep has one value for its own keys."""
    overrides = [OverridesParser.create().parse_override(line) for line in arguments if root(line) in OWN]
    faults = [
        Fault(o.key_or_group, _value(o.input_line), "a sweep has one of it", _as_list(o.key_or_group, o.input_line))
        for o in overrides
        if o.is_sweep_override()
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
    must = f"has no space for optimizer={choices.optimizer}"
    return Fault("search", choices.search, must, "give one: optimizer.lr='tag(log,interval(1e-4,1e-1))'")
