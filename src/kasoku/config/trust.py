"""Which callables a configuration may name.

A configuration can come from somebody else (an experiment, a run's config.yaml), and a `_target_` in it is a call of
Python code. So a `_target_` is called only if it is trusted: if it lies under one of the dotted names that the file
conf/train.yaml lists as `trust`, or under one that the environment variable KASOKU_TRUST adds. What a composed
configuration says about `trust` does not count.
"""

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.config.plain import plain
from kasoku.faults import ConfigError, Fault, nearest

VARIABLE = "KASOKU_TRUST"
TARGET = "_target_"
OF_HYDRA = (
    "hydra._internal.core_plugins",
    "hydra.experimental.callbacks",
    "hydra_plugins",
    "colorlog.ColoredFormatter",
)
OF_LOGGING = ("Formatter", "StreamHandler", "FileHandler", "handlers.RotatingFileHandler")


def trusted(conf_dir: Path | str) -> tuple[str, ...]:
    """The dotted names that `conf_dir`/train.yaml, as it lies on disk, and KASOKU_TRUST trust."""
    listed = OmegaConf.select(OmegaConf.load(Path(conf_dir) / "train.yaml"), "trust") or []
    added = os.environ.get(VARIABLE, "").split(",")
    return (*listed, *(name.strip() for name in added if name.strip()))


def faults_of_targets(cfg: DictConfig | Mapping[str, Any], trusted: Sequence[str]) -> list[Fault]:
    """A fault for each `_target_` in `cfg` whose name is not trusted. Imports nothing; `locate` looks closer.

    An interpolation counts as what it resolves to. One that cannot be resolved is `plain`'s fault to report.
    """
    values = plain(cfg)[0] if isinstance(cfg, DictConfig) else cfg
    faults = (distrusted(key, name, trusted) for key, name in targets(values))
    return [fault for fault in faults if fault]


def faults_of_hydra(hydra: DictConfig, trusted: Sequence[str]) -> list[Fault]:
    """The same for Hydra's own node: its callbacks, sweeper, launcher and logging are called before all else."""
    allowed = (*trusted, *OF_HYDRA, *(f"logging.{name}" for name in OF_LOGGING))
    values = plain(hydra)[0]
    named = [*targets(values), *targets(values, "", "()")]
    for logging in ("job_logging", "hydra_logging"):
        named += targets(values.get(logging), f"{logging}.", "class")
    faults: list[Fault] = []
    for key, name in named:
        try:
            locate(f"hydra.{key}", name, allowed)
        except ConfigError as error:
            faults += error.faults
    return faults


def targets(node: Any, prefix: str = "", marker: str = TARGET) -> Iterator[tuple[str, Any]]:
    """The dotted key and the value of each `_target_`, or whatever the `marker` is, in `node` at any depth."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, item in items:
        if name == marker:
            yield f"{prefix}{name}", item
        yield from targets(item, f"{prefix}{name}.", marker)


def distrusted(key: str, name: object, trusted: Sequence[str]) -> Fault | None:
    """The fault of a `_target_` that is no dotted name, or not a trusted one."""
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return Fault(key, name, "must be the dotted name of a class or function, such as my_package.Net")
    if _is_under(str(name), trusted):
        return None
    roots = {other.split(".")[0] for other in trusted}
    known = parts[0] in roots
    hint = "" if known else nearest(parts[0], roots)
    trust = f"to trust it on this machine: export {VARIABLE}={name if known else parts[0]}"
    return Fault(key, name, "is not trusted, and a _target_ runs code", hint or trust)


def locate(key: str, name: object, trusted: Sequence[str]) -> Callable[..., Any]:
    """The callable of the `_target_` `name` at `key`, imported only if it is trusted.

    Both the name and the place of the definition must be trusted: a module of a trusted package that happens to hold
    `os` or `load` lends neither.

    Raises:
        ConfigError: `name` is not trusted, does not exist, cannot be imported or is no class or function.
    """
    if fault := distrusted(key, name, trusted):
        raise ConfigError(fault)
    module, attributes = _import(key, str(name))
    target = _attribute(key, str(name), module, attributes)
    if not callable(target):
        raise ConfigError(Fault(key, name, "is no class or function"))
    defined = f"{getattr(target, '__module__', None)}.{getattr(target, '__qualname__', None)}"
    if name not in trusted and not _is_under(defined, trusted):
        raise ConfigError(Fault(key, name, f"is {defined}, which is not trusted"))
    return target


def _is_under(name: str, trusted: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in trusted)


def _import(key: str, name: str) -> tuple[ModuleType, list[str]]:
    """The innermost module that `name` names, and the attributes that are left."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        path = ".".join(parts[:count])
        try:
            return importlib.import_module(path), parts[count:]
        except ModuleNotFoundError as error:
            if error.name is None or not _is_under(path, [error.name]):
                raise ConfigError(_broken(key, name, path, error)) from error
        except Exception as error:  # a user's module can fail in any way while it is imported
            raise ConfigError(_broken(key, name, path, error)) from error
    fix = f"is {parts[0]} installed, or on PYTHONPATH?"
    raise ConfigError(Fault(key, name, f"there is no module {parts[0]}", fix))


def _broken(key: str, name: str, path: str, error: Exception) -> Fault:
    return Fault(key, name, f"{path} cannot be imported: {type(error).__name__}: {error}")


def _attribute(key: str, name: str, module: ModuleType, attributes: Sequence[str]) -> Any:
    target: Any = module
    for attribute in attributes:
        holds = target is module or inspect.isclass(target)
        if not holds or not hasattr(target, attribute):
            names = [other for other in dir(target) if not other.startswith("_")]
            must = f"there is no {attribute} in {getattr(target, '__name__', target)}"
            raise ConfigError(Fault(key, name, must, nearest(attribute, names)))
        target = getattr(target, attribute)
    return target
