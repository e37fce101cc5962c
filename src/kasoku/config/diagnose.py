"""Diagnosis of a command line: every wrong group, option, key, value and file in one message.

Hydra stops at its first fault. Here what is right about a command is composed, and the rest is held against it.
"""

import argparse
import copy
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from kasoku import home
from kasoku.config import checks, compose, ranges, replaced
from kasoku.config.compose import Command, Groups
from kasoku.config.hydra_errors import fault_of, is_of_composition
from kasoku.config.hydra_node import faults_of_hydra, settle
from kasoku.config.lines import searchpath
from kasoku.config.overrides import Composed, choose
from kasoku.config.places import faults_of_places, faults_of_sweep, said
from kasoku.config.tree import plain
from kasoku.config.trust import faults_of_targets, trusted
from kasoku.faults import MISSING, ConfigError, Fault


def composed(command: Command, trusted: Sequence[str]) -> DictConfig:
    """The configuration of `command`, composed once and found without a fault, with Hydra's own node.

    Raises:
        ConfigError: every fault that shows without torch.
    """
    cfg, faults = _judged(command, trusted)
    if faults or cfg is None:
        raise ConfigError(*faults)
    return cfg


def examine(
    argv: Sequence[str],
    conf_dir: Path | str,
    typed: Sequence[str] | None = None,
    allowed: Sequence[str] | None = None,
) -> list[Fault]:
    """Every fault of the command `argv` that shows without torch; `conf_dir` holds train.yaml.

    The values of a sweep (-m) are left to its jobs, each of which is checked on its own. All of `argv` counts as typed
    by hand where `typed` does not say what was; `allowed` is what the command trusts, if it was read before.
    """
    try:
        allowed = trusted(conf_dir) if allowed is None else allowed
    except Exception as error:  # train.yaml itself
        if not is_of_composition(error):
            raise
        return [fault_of(error)]
    return _judged(Command(argv, conf_dir, typed), allowed)[1]


def explain(error: Exception, argv: Sequence[str], conf_dir: Path | str) -> ConfigError | None:
    """All that is wrong with the command `argv`, if `error` was raised while it was composed; else None."""
    if isinstance(error, ConfigError):
        return error
    if not is_of_composition(error):
        return None
    return ConfigError(*(examine(argv, conf_dir) or [fault_of(error)]))


def faults_of_trial(cfg: DictConfig, trusted: Sequence[str], typed: Sequence[str]) -> list[Fault]:
    """Every fault of the composed configuration of a trial that shows without torch."""
    with compose.as_current(cfg):
        return checks.check(cfg) + _foreign(cfg, trusted, said(typed), has_directory=True)


def _foreign(cfg: DictConfig, trusted: Sequence[str], said: Collection[str], has_directory: bool) -> list[Fault]:
    """The faults of what a configuration calls and where it writes, which may come from somebody else."""
    hydra, values = cfg.hydra, plain(cfg)[0]
    directory = Path(str(OmegaConf.select(hydra, "runtime.output_dir", throw_on_missing=False) or hydra.sweep.dir))
    return [
        *faults_of_targets(values, trusted),
        *faults_of_hydra(hydra, trusted, said, has_directory),
        *faults_of_places(values, directory, said),
        *faults_of_sweep(values, directory, said),
    ]


def _judged(command: Command, trusted: Sequence[str]) -> tuple[DictConfig | None, list[Fault]]:
    faults = _wrong_flags(command.args, command.rest)
    if any(fault.key.startswith("--config") for fault in faults):
        return None, faults
    try:
        if packages := compose.foreign_packages(command):
            fix = "say so on the command line: hydra.searchpath=[...]"
            return None, [*faults, *(Fault("hydra.searchpath", text, "imports a package", fix) for text in packages)]
        cfg, found = _Judge(command, trusted).judged()
        return cfg, faults + found
    except RecursionError:
        must = "go in a circle: a file of the configuration names itself, or one that names it"
        return None, [*faults, Fault("defaults", MISSING, must)]
    except Exception as error:
        if not is_of_composition(error):
            raise
        return None, [*faults, fault_of(error)]


def _wrong_flags(args: argparse.Namespace, rest: Sequence[str]) -> list[Fault]:
    flags = [word for word in rest if word.startswith("-")]
    rerun, program = args.experimental_rerun, home.program().split()[-1]
    faults = [Fault("--experimental-rerun", rerun, "runs whatever the file holds", "resume=RUN")] if rerun else []
    faults += [
        Fault(flag, MISSING, f"is no option of {program}", f"to set a value: {flag.strip('-').partition('=')[0]}=VALUE")
        for flag in flags
    ]
    if args.config_dir and not Path(args.config_dir).is_dir():
        faults.append(Fault("--config-dir", args.config_dir, "there is no such folder"))
    return faults


@dataclass(frozen=True)
class _Judge:
    """Holds a command against the configuration that it composes."""

    command: Command
    trusted: Sequence[str]

    def judged(self) -> tuple[DictConfig | None, list[Fault]]:
        """The configuration, composed once of what is right about the command, and every fault."""
        lines, spaced = _joined(self.command.lines)
        overrides, faults = _read(lines)
        faults += spaced
        faults += [fault for override in overrides if (fault := self._wrong_sweep(override))]
        groups = self.command.groups()
        choices = [override for override in overrides if _is_choice(override, groups)]
        values = [override for override in overrides if override not in choices]
        chosen = [(override.key_or_group, *choose(override, groups)) for override in choices]
        undecided = {group for group, line, _ in chosen if line is None}
        search = searchpath([str(override.input_line) for override in overrides])
        cfg, wrong = self._compose([*search, *(line for _, line, _ in chosen if line)])
        faults += [fault for _, _, of_choice in chosen for fault in of_choice] + wrong
        if cfg is None:
            return None, faults
        faults += self._apply(values, Composed(cfg, groups.inside(), groups.options), undecided)
        replaced.drop(cfg, self.command.lines)
        compose.note_overrides(cfg, overrides)
        if not self.command.is_sweep:
            compose.settle_directory(cfg)
        found = self._faults_of(cfg, values)
        return cfg, faults + [fault for fault in found if fault.key.split(".")[0] not in undecided]

    def _wrong_sweep(self, override: Override) -> Fault | None:
        key, _, values = str(override.input_line).partition("=")
        if not override.is_sweep_override():
            return None
        if self.command.is_sweep:
            must = "Hydra's own keys take one value"
            return Fault(key, values, must) if override.is_hydra_override() else None
        is_list = override.value_type is ValueType.SIMPLE_CHOICE_SWEEP and "." in key
        fix = "add -m to train with each" + (f", or write {key}=[{values}] for a list" if is_list else "")
        return Fault(key, values, "is more than one value", fix)

    def _compose(self, lines: Sequence[str]) -> tuple[DictConfig | None, list[Fault]]:
        """The configuration of those of `lines` that compose, and the faults of the others."""
        try:
            return self.command.load(lines), []
        except Exception as error:
            if not is_of_composition(error):
                raise
            first = error
        good, faults = list[str](), list[Fault]()
        for line in lines:
            try:
                self.command.load([*good, line])
                good.append(line)
            except Exception as error:
                faults.append(fault_of(error, OverridesParser.create().parse_override(line)))
        try:
            return self.command.load(good), faults
        except Exception:
            return None, [fault_of(first)]

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
                    compose.apply(override, composed.cfg)
                except HydraException as error:
                    faults.append(fault_of(error, override))
        is_sweep = self.command.is_sweep
        return faults if is_sweep else [f for f in faults if f.key.split(".")[0] not in undecided]

    def _no_mappings(self) -> Iterator[Fault]:
        """Options of the user's own whose file holds something else than keys and values, which Hydra leaves out."""
        for line in self.command.lines if self.command.args.config_dir else ():
            group, _, option = line.lstrip("+").partition("=")
            path = Path(self.command.args.config_dir, group, f"{option}.yaml")
            if path.is_file() and path.read_text().lstrip().startswith(("- ", "[")):
                yield Fault(group, option, f"{path} must hold keys and values")

    def _faults_of(self, cfg: DictConfig, values: Sequence[Override]) -> list[Fault]:
        """The faults of what is composed. Of a sweep only those of values that all its jobs have from the command."""
        if self.command.shows_only:
            return []
        typed, of_run = self.command.typed, cfg
        is_resumed = any(line.startswith("resume=") for line in typed)
        if self.command.is_sweep:
            of_run = copy.copy(cfg)
            of_run.resume = None  # a sweep's is its own
        with compose.as_current(cfg):
            wrong = [*self._no_mappings(), *checks.check(of_run)]
            untrusted = _foreign(cfg, self.trusted, said(typed) | ({"resume"} if is_resumed else set()), is_resumed)
            if not (untrusted or self.command.is_sweep):
                settle(cfg)
        if not self.command.is_sweep:
            return wrong + checks.of_a_sweep(self.command.lines) + untrusted
        given = {override.key_or_group for override in values if not override.is_sweep_override()}
        return [fault for fault in wrong if fault.key in given] + untrusted


def _joined(lines: Sequence[str]) -> tuple[list[str], list[Fault]]:
    """`lines` with what spaces around an = have parted put together, and a fault for each."""
    joined, faults, words = list[str](), list[Fault](), list(lines)
    while words:
        parts = [words.pop(0)]
        if "=" not in parts[0] and words and words[0].startswith("="):
            parts.append(words.pop(0))
        if parts[-1].endswith("=") and words and "=" not in words[0]:
            parts.append(words.pop(0))
        joined.append("".join(parts))
        if len(parts) > 1:
            faults.append(Fault(" ".join(parts), MISSING, "has spaces around =", f"write {joined[-1]}"))
    return joined, faults


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
        return Fault(
            line,
            MISSING,
            "is no override",
            f"write mode={line}" if line in get_args(ranges.Mode) else "write KEY=VALUE",
        )
    reason = str(error).splitlines()[0]
    fix = f"""a text with special characters is quoted: '{key}="{value}"'"""
    if value.startswith("~/"):
        reason, fix = "the shell puts no home in the place of ~ after =", f"write {key}=$HOME{value[1:]}"
    if "NoneType is incompatible" in reason:
        reason, fix = "Hydra's functions take no null", f"list the values: {key}={value.partition('(')[2].rstrip(')')}"
    return Fault(key, value, f"cannot be read: {reason}", fix)


def _is_choice(override: Override, groups: Groups) -> bool:
    return override.key_or_group in groups and not isinstance(override.value(), dict)
