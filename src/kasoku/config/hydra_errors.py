"""Errors of Hydra, OmegaConf and the YAML reader, said as faults."""

import os
import re
from pathlib import Path
from traceback import walk_tb
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import InstantiationException, MissingConfigException

from kasoku import home
from kasoku.faults import MISSING, Fault, nearest, unknown

COMPOSERS = ("hydra", "omegaconf", "yaml", "antlr4")
NOT_THERE = re.compile(r"In '(.+?)': Could not load '(.+?)'")
PACKAGED = re.compile(r"In '(.+?)': Could not override '(\w+)@[\w.]+'")
NOT_OVERRIDDEN = re.compile(r"In '(.+?)': Could not override '/?([\w/]+)(?:@[\w.]+)?'")
OF_ALL = ("experiment/", "recipe/")  # files of keys of the whole configuration, and of no part
CHOSEN_TWICE = re.compile(r"Multiple values for ([\w/]+)\.|([\w/]+) appears more than once in the final defaults list")
NOT_CHOSEN = re.compile(r"You must specify '(.+?)'")


def is_of_composition(error: BaseException) -> bool:
    """True if `error` was raised while a configuration was read and composed, and not by what it builds."""
    if isinstance(error, InstantiationException):
        return False
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    own = [frame.f_globals.get("__name__", "").split(".")[0] in COMPOSERS for frame in frames]
    task = next((i for i, frame in enumerate(frames) if frame.f_code.co_name == "run_job"), len(frames))
    return all(own[task:]) and (own[-1:] == [True] or _file_read(error) is not None)


def fault_of(error: BaseException, override: Override | None = None) -> Fault:
    """The fault that `error` reports, of the file or the `override` that caused it."""
    if isinstance(error, yaml.MarkedYAMLError):
        return _in_file(error)
    if isinstance(error, MissingConfigException) and error.options:
        return _no_option(error, override)
    text = _text(error)
    if in_file := _in_defaults(text):
        return in_file
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        must = "there is no such primary configuration in the folder"
        return Fault("--config-name", Path(error.missing_cfg_file).name, must)
    if chosen := NOT_CHOSEN.match(text):
        options = " ".join(text.split("\t")[1:])
        return Fault(chosen[1], MISSING, f"nothing is chosen, the options are: {' '.join(options.split())}")
    if override is not None:
        return Fault(*typed(override), *_must_and_fix(text, override))
    file, key = _file_read(error), getattr(error, "full_key", None)
    where = _shown(file) if file else str(key or "the configuration")
    return Fault(where, MISSING, f"cannot be composed: {text.splitlines()[0]}")


def _in_defaults(text: str) -> Fault | None:
    """The fault of a file's defaults list, if `text` is about one."""
    if missing := NOT_THERE.match(text):
        return Fault(f"{missing[1]}.yaml", MISSING, f"its defaults list names {missing[2]}, and there is no such file")
    if packaged := PACKAGED.match(text):
        must = f"overrides {packaged[2]}, which is outside of its own group"
        return Fault(f"{packaged[1]}.yaml", MISSING, must, _fix_of_package(packaged[1], packaged[2]))
    if unmatched := NOT_OVERRIDDEN.match(text):
        file, group = unmatched.groups()
        groups = [folder.name for folder in home.conf_dir().iterdir()]
        own, _, name = group.rpartition("/")
        if own == file.partition("/")[0] and name in groups:
            must = f"overrides {group} for want of a / before {name}"
            return Fault(f"{file}.yaml", MISSING, must, f"write {_as_override(file, name)}")
        meant = nearest(group, groups)
        fix = meant or f"to choose one anew, leave the word override out: /{group}: OPTION"
        return Fault(f"{file}.yaml", MISSING, f"its defaults list overrides {group}, of which nothing is chosen", fix)
    return None


def _fix_of_package(file: str, group: str) -> str:
    """The line that lets `file` override an option of another `group`."""
    if file.startswith(OF_ALL):
        return "begin the file with the line # @package _global_"
    return f"write {_as_override(file, group)}"


def _as_override(file: str, group: str) -> str:
    """The line of a defaults list that overrides `group`; a file of a part has to leave its own package for it."""
    place = "" if file.startswith(OF_ALL) else f"@_global_.{group}"
    return f"override /{group}{place}: OPTION"


def typed(override: Override) -> tuple[str, object]:
    """The key as it was typed, with its + or ~, and the value; MISSING if there is none."""
    key, equals, text = str(override.input_line).partition("=")
    value = text if override.is_sweep_override() else override.value()
    return key, value if equals else MISSING


def _must_and_fix(text: str, override: Override) -> tuple[str, str]:
    line = str(override.input_line)
    if "No match in the defaults list" in text and not override.is_delete():
        return "nothing of this group is chosen so far", f"write +{line}"
    twice = CHOSEN_TWICE.match(text)
    if twice and (group := twice[1] or twice[2]) != override.key_or_group:
        return f"its defaults list chooses {group}, which is chosen already", f"write there override /{group}: OPTION"
    if text.startswith("Multiple values for"):
        return "an option of this group is chosen already", f"write {line.lstrip('+')}"
    return f"cannot be applied: {' '.join(text.partition(chr(10) * 2)[0].split())}", ""


def _in_file(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    where = f"{_shown(mark.name)}:{mark.line + 1}" if mark else "a YAML file"
    problem = str(error.problem or error.context)
    if r"\t" in problem:
        return Fault(where, MISSING, "a tab is no indentation in YAML", "use spaces")
    if problem.startswith("found duplicate key"):
        return Fault(where, MISSING, f"the key {problem.split()[-1]} stands twice", "remove one")
    return Fault(where, MISSING, f"is no YAML: {problem}")


def _no_option(error: MissingConfigException, override: Override | None) -> Fault:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    is_elsewhere = override is not None and override.key_or_group != group
    where = f"as {override.input_line} has it: " if override is not None and is_elsewhere else ""
    return unknown(group, option, option, error.options or (), f"{where}no such option, the options are")


def _text(error: BaseException) -> str:
    cause = error.__cause__
    return str(error).strip() or (str(cause).strip() if cause else "") or type(error).__name__


def _file_read(error: BaseException) -> str | None:
    """The YAML file that Hydra was reading when `error` was raised."""
    files = (frame.f_locals.get("full_path") for frame, _ in walk_tb(error.__traceback__) if _reads(frame))
    return next(files, None)


def _reads(frame: Any) -> bool:
    return frame.f_code.co_name == "load_config" and "full_path" in frame.f_locals


def _shown(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
