"""Why a command line cannot be composed: every wrong group, option, key, value and file in one message.

Hydra stops at its first fault. Here what is right about a command is composed, and the rest is held against it.
"""

import argparse
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from kasoku.config.checks import check
from kasoku.config.hydra_errors import fault_of, is_of_composition
from kasoku.config.keys import Composed, choose
from kasoku.config.trust import faults_of_hydra, faults_of_targets, trusted
from kasoku.faults import MISSING, ConfigError, Fault

PRIMARY = "train"


def explain(error: Exception, argv: Sequence[str], conf_dir: Path | str) -> ConfigError | None:
    """All that is wrong with the command `argv`, if `error` was raised while it was composed; else None."""
    if isinstance(error, ConfigError):
        return error
    if not is_of_composition(error):
        return None
    return ConfigError(*(examine(argv, conf_dir) or [fault_of(error)]))


def examine(argv: Sequence[str], conf_dir: Path | str) -> list[Fault]:
    """Every fault of the command `argv` that shows without torch; `conf_dir` holds train.yaml.

    The values of a sweep (-m) are left to its jobs, each of which is checked on its own.
    """
    args, rest = get_args_parser().parse_known_args(argv)
    faults = _wrong_flags(args, rest)
    if any(fault.key.startswith("--config") for fault in faults):
        return faults
    try:
        return faults + _Command(args, Path(conf_dir).resolve()).faults()
    except Exception as error:
        if not is_of_composition(error):
            raise
        return [*faults, fault_of(error)]


def _wrong_flags(args: argparse.Namespace, rest: Sequence[str]) -> list[Fault]:
    flags = [word for word in rest if word.startswith("-")]
    faults = [
        Fault(flag, MISSING, "is no option of train.py", f"to set a value: {flag.strip('-').partition('=')[0]}=VALUE")
        for flag in flags
    ]
    late = [word for word in rest if "=" in word and word not in flags]
    faults += [
        Fault(word, MISSING, "stands apart from the others", "write all KEY=VALUE side by side") for word in late
    ]
    if args.config_dir and not Path(args.config_dir).is_dir():
        faults.append(Fault("--config-dir", args.config_dir, "there is no such folder"))
    return faults


class _Command:
    """A command line, and where its configuration is read from."""

    def __init__(self, args: argparse.Namespace, conf_dir: Path):
        self.conf_dir = conf_dir
        self.name = args.config_name or PRIMARY
        self.multirun = args.multirun or "hydra.mode=MULTIRUN" in args.overrides
        self.shown_only = bool(args.cfg or args.info or args.hydra_help or args.shell_completion)
        self.lines: list[str] = args.overrides
        self.loader = loader_of(args, conf_dir)

    def faults(self) -> list[Fault]:
        overrides, faults = _read(self.lines)
        faults += [fault for override in overrides if (fault := self._wrong_sweep(override))]
        search = searchpath([str(override.input_line) for override in overrides])
        repository = self.loader._parse_overrides_and_create_caching_repo(self.name, search)[1]
        choices = [override for override in overrides if _is_choice(override, repository)]
        values = [override for override in overrides if override not in choices]
        chosen = [(override.key_or_group, *choose(override, repository)) for override in choices]
        undecided = {group for group, line, _ in chosen if line is None}
        cfg, wrong = self._compose([*search, *(line for _, line, _ in chosen if line)])
        faults += [fault for _, _, of_choice in chosen for fault in of_choice] + wrong
        if cfg is None:
            return faults
        groups = [group for group in repository.get_group_options("", ObjectType.GROUP) if group != "hydra"]
        faults += self._apply(values, Composed(cfg, groups), undecided)
        found = [] if self.shown_only else self._check(cfg, values)
        return faults + [fault for fault in found if fault.key.split(".")[0] not in undecided]

    def _wrong_sweep(self, override: Override) -> Fault | None:
        key, _, values = str(override.input_line).partition("=")
        if not override.is_sweep_override():
            return None
        if self.multirun:
            must = "Hydra's own keys take one value"
            return Fault(key, values, must) if override.is_hydra_override() else None
        is_list = override.value_type is ValueType.SIMPLE_CHOICE_SWEEP and "." in key
        fix = "add -m to train with each" + (f", or write {key}=[{values}] for a list" if is_list else "")
        return Fault(key, values, "is more than one value", fix)

    def _compose(self, lines: Sequence[str]) -> tuple[DictConfig | None, list[Fault]]:
        """The configuration of those of `lines` that compose, and the faults of the others."""
        try:
            return self._load(lines), []
        except Exception as error:
            if not is_of_composition(error):
                raise
            first = error
        good, faults = list[str](), list[Fault]()
        for line in lines:
            try:
                self._load([*good, line])
                good.append(line)
            except Exception as error:
                faults.append(fault_of(error, OverridesParser.create().parse_override(line)))
        try:
            return self._load(good), faults
        except Exception:
            return None, [fault_of(first)]

    def _load(self, lines: Sequence[str]) -> DictConfig:
        mode = RunMode.MULTIRUN if self.multirun else RunMode.RUN
        return self.loader.load_configuration(self.name, list(lines), mode, validate_sweep_overrides=False)

    def _apply(self, values: Sequence[Override], composed: Composed, undecided: Container[str]) -> list[Fault]:
        """Set `values` in `composed`, and return the faults of those whose keys do not exist.

        Of a group whose option is `undecided`, because a sweep has several, Hydra looks at the default's keys.
        """
        faults = []
        for override in values:
            open_ended = override.key_or_group.split(".")[0] in undecided
            if fault := composed.wrong_key(override):
                fix = f"if other options have it, write ++{override.input_line}"
                faults += [replace(fault, fix=f"{fault.fix} {fix}".strip()) if open_ended else fault]
            elif not override.is_sweep_override():
                try:
                    ConfigLoaderImpl._apply_overrides_to_config([override], composed.cfg)
                except HydraException as error:
                    faults.append(fault_of(error, override))
        return faults if self.multirun else [f for f in faults if f.key.split(".")[0] not in undecided]

    def _check(self, cfg: DictConfig, values: Sequence[Override]) -> list[Fault]:
        """The faults of what is composed. Of a sweep only those of values that all its jobs have from the command."""
        allowed = trusted(self.conf_dir)
        with _as_current(cfg):
            faults, untrusted = check(cfg), faults_of_targets(cfg, allowed) + faults_of_hydra(cfg.hydra, allowed)
        if self.multirun:
            given = {override.key_or_group for override in values if not override.is_sweep_override()}
            given.discard("resume")  # is the sweep's, not that of a run
            faults = [fault for fault in faults if fault.key in given]
        return faults + untrusted


def loader_of(args: argparse.Namespace, conf_dir: Path) -> ConfigLoaderImpl:
    """What reads the configuration of a command, from `conf_dir` and the folders that its flags name."""
    version.setbase("1.3")
    setup_globals()
    path = args.config_path or str(conf_dir)
    search_path = create_config_search_path(path if "://" in path else str(conf_dir.parent / path))
    if args.config_dir:
        folder = Path(args.config_dir).absolute()
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(search_path)


def searchpath(lines: Sequence[str]) -> list[str]:
    """Those of the overrides that say where more configuration lies."""
    return [line for line in lines if line.lstrip("+").startswith("hydra.searchpath=")]


def _read(lines: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    parser, overrides, faults = OverridesParser.create(), list[Override](), list[Fault]()
    for line in lines:
        try:
            overrides.append(parser.parse_override(line))
        except HydraException as error:
            faults.append(_unreadable(line, error))
    return overrides, faults


def _unreadable(line: str, error: HydraException) -> Fault:
    key, equals, value = line.partition("=")
    if not equals:
        return Fault(line, MISSING, "is no override", "write KEY=VALUE")
    reason = str(error).splitlines()[0]
    return Fault(
        key, value, f"cannot be read: {reason}", f"""a text with special characters is quoted: '{key}="{value}"'"""
    )


def _is_choice(override: Override, repository: IConfigRepository) -> bool:
    return repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)


@contextmanager
def _as_current(cfg: DictConfig) -> Iterator[None]:
    """`cfg` as what ${hydra:...} reads."""
    current = HydraConfig.instance()
    before = current.cfg
    current.set_config(cfg)
    try:
        yield
    finally:
        current.cfg = before
