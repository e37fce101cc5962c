"""Trust: the callables that a configuration may name.

A configuration can come from somebody else (an experiment, a run's config.yaml), and a `_target_` in it is a call of
Python code. So a `_target_` is called only if it is trusted: if it lies under one of the dotted names that the file
conf/train.yaml lists as `trust`, or under one that the environment variable KASOKU_TRUST adds. What a composed
configuration says about `trust` does not count.
"""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku import home
from kasoku.config.tree import plain
from kasoku.faults import ConfigError, Fault, nearest

TARGET = "_target_"
# Roots of the packages below which trust is for what a configuration is made of, and not for all that can be called.
LIBRARIES = (
    "kasoku",
    "torch",
    "torchmetrics",
    "pytorch_lightning",
    "lightning",
    "pytorch_optimizer",
    "schedulefree",
    "hydra",
    "hydra_plugins",
    "logging",
)
FUNCTIONS = (
    "kasoku.schedules",
    "kasoku.warmups",
    "kasoku.optim",
    "kasoku.nets",
    "torch.nn.functional",
    "torchmetrics.functional",
)


def trusted(conf_dir: Path | str) -> tuple[str, ...]:
    """The dotted names that `conf_dir`/train.yaml, as it lies on disk, and KASOKU_TRUST trust."""
    listed = OmegaConf.select(OmegaConf.load(Path(conf_dir) / "train.yaml"), "trust") or []
    added = os.environ.get(home.TRUST, "").split(",")
    return (*listed, *(name.strip() for name in added if name.strip()))


def open_present_folder() -> None:
    """Let what KASOKU_TRUST names be imported from the present folder too.

    It comes last in the path, so that no file in it takes the place of an installed package or of Python's own.
    """
    if os.environ.get(home.TRUST) and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def faults_of_targets(cfg: DictConfig | Mapping[str, Any], trusted: Sequence[str]) -> list[Fault]:
    """A fault for each `_target_` in `cfg` whose name is not trusted. Imports nothing; `locate` looks closer.

    An interpolation counts as what it resolves to. One that cannot be resolved is `plain`'s fault to report.
    """
    values = plain(cfg)[0] if isinstance(cfg, DictConfig) else cfg
    faults = (distrusted(key, name, trusted) for key, name in targets(values))
    return [fault for fault in faults if fault]


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
        return _private(key, str(name), trusted)
    roots = {other.split(".")[0] for other in trusted}
    known = parts[0] in roots
    is_no_slip = known or _is_there(parts[0])
    meant = [] if is_no_slip else difflib.get_close_matches(parts[0], roots, n=1, cutoff=0.8)
    hint = f"did you mean {meant[0]}?" if meant else ""
    trust = f"to trust it on this machine: export {home.TRUST}={name if known else parts[0]}"
    return Fault(key, name, "is not trusted, and a _target_ runs code", hint or trust)


def _private(key: str, name: str, trusted: Sequence[str]) -> Fault | None:
    """The fault of a name with a private part below what is trusted: nobody meant that to be called from a file."""
    longest = max((prefix for prefix in trusted if _is_under(name, [prefix])), key=len)
    if not any(part.startswith("_") for part in name.removeprefix(longest).split(".")):
        return None
    return Fault(key, name, "has a private part", f"to trust it on this machine: export {home.TRUST}={name}")


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
    if name not in trusted and not _is_part(str(name), target, len(attributes)):
        must = "is neither a class nor a function that only computes"
        raise ConfigError(Fault(key, name, must, f"to trust it on this machine: export {home.TRUST}={name}"))
    return target


def _is_part(name: str, target: object, depth: int) -> bool:
    """True if `target` is a class, or a function that reads and writes nothing, or the user's own.

    Methods of a class, `depth` attributes below their module, can be anything: Lightning has some that remove folders.
    """
    if not _is_under(name, LIBRARIES):
        return True
    return depth == 1 and (inspect.isclass(target) or _is_under(name, FUNCTIONS))


def _is_under(name: str, trusted: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in trusted)


def _is_there(package: str) -> bool:
    """True if there is a package of that name; looks for it and does not import it."""
    try:
        return package in sys.modules or find_spec(package) is not None
    except (ImportError, ValueError):
        return False


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
    fix = f"is {parts[0]} installed, on PYTHONPATH, or in this folder?"
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
