"""The ranges that an optimizer's own file gives under `search`, for the search options that take them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kasoku.config.overrides import key_of
from kasoku.config.tree import plain
from kasoku.faults import ConfigError, Fault
from kasoku.search.space import Parameter, Space, read_node
from kasoku.signatures import violated

GROUP = "optimizer"
NODE = "optimizer.search"
EXAMPLE = "tag(log,interval(1e-4,1e-1))"

Ranges = Mapping[str, Any]  # a key of the optimizer -> its values in Hydra's override grammar, or None


def is_range(line: str) -> bool:
    """True if the override `line` gives such a range: a trial has no use for it."""
    return f"{key_of(line)}.".startswith(f"{NODE}.")


def names_of(cfg: DictConfig, arguments: Sequence[str]) -> list[str]:
    """The keys of an optimizer that `search.of_optimizer` names.

    Raises:
        ConfigError: it is no list of names, or lacks one that the command gives a range for.
    """
    names: Any = plain(cfg.search)[0].get("of_optimizer") or []
    if must := violated(list[str], names):
        raise ConfigError(Fault("search.of_optimizer", names, must))
    given = {key_of(line): line.partition("=")[2] for line in arguments if is_range(line)}
    known = {NODE, *(f"{NODE}.{name}" for name in names)}
    must = f"search={cfg.hydra.runtime.choices.search} takes no range of it"
    faults = [Fault(key, value, must, _taking(key, names)) for key, value in given.items() if key not in known]
    if faults:
        raise ConfigError(*faults)
    return names


def _taking(key: str, names: Sequence[str]) -> str:
    return f"add search=lr, lr_wd or search.of_optimizer=[{','.join([*names, key.removeprefix(f'{NODE}.')])}]"


def composing(cfg: DictConfig, loader: ConfigLoader, arguments: Sequence[str]) -> Callable[[str], Ranges]:
    """A function that gives an optimizer's ranges, as its file and `arguments` have them; `cfg` is composed already.

    An interval on the command line is a sweep to Hydra, which leaves it out of what it composes.
    """
    parser = OverridesParser.create()
    lines = [line for line in arguments if is_range(line) or not f"{key_of(line)}.".startswith(f"{GROUP}.")]
    swept = {
        key_of(line): line for line in arguments if is_range(line) and parser.parse_override(line).is_sweep_override()
    }
    given = {key.removeprefix(f"{NODE}."): line.partition("=")[2] for key, line in swept.items()}

    def ranges_of(option: str) -> Ranges:
        chosen, name = cfg.hydra.runtime.choices[GROUP], cfg.hydra.job.config_name
        overrides = [*cfg.hydra.overrides.hydra, *lines, f"{GROUP}={option}"]
        of_it = cfg if option == chosen else loader.load_configuration(name, overrides, RunMode.MULTIRUN)
        node = OmegaConf.select(of_it, NODE)
        return {**(plain(node)[0] if isinstance(node, DictConfig) else {}), **given}

    return ranges_of


def add(space: Space, names: Iterable[str], fixed: Iterable[str], ranges_of: Callable[[str], Ranges]) -> Space:
    """`space` with the ranges `names` of every optimizer in it, but of keys that it has already or that are `fixed`.

    Raises:
        ConfigError: an optimizer has no range of a name, or one that is no space.
    """
    there = {parameter.key for parameter in space.parameters} | {key_of(line) for line in fixed}
    if not (names := [name for name in names if f"{GROUP}.{name}" not in there]):
        return space
    faults, own = list[Fault](), dict(space.when.get(GROUP, {}))
    for option in space.options(GROUP):
        of_space = own.get(option, ())
        missing = [name for name in names if f"{GROUP}.{name}" not in {parameter.key for parameter in of_space}]
        own[option] = (*_parameters(option, missing, ranges_of(option), faults), *of_space)
    if faults:
        raise ConfigError(*faults)
    return replace(space, when={GROUP: own} | {group: node for group, node in space.when.items() if group != GROUP})


def _parameters(option: str, names: Sequence[str], ranges: Ranges, faults: list[Fault]) -> list[Parameter]:
    given = {f"{NODE}.{name}": ranges[name] for name in names if ranges.get(name) is not None}
    unreadable = list[Fault]()
    read = read_node(given, f" ({option})", (), unreadable)
    faults += [_no_range(option, name) for name in names if ranges.get(name) is None]
    faults += [replace(fault, must=f"{fault.must} ({GROUP}={option})") for fault in unreadable]
    return [replace(p, key=_outside(p.key), name=_outside(p.name)) for p in read]


def _no_range(option: str, name: str) -> Fault:
    fix = f"give one in its file, search: {{{name}: '{EXAMPLE}'}}, or here, {NODE}.{name}='{EXAMPLE}'"
    return Fault(f"{NODE}.{name}", None, f"{GROUP}={option} has no range for a sweep to draw from", fix)


def _outside(key: str) -> str:
    """optimizer.search.lr -> optimizer.lr"""
    return key.replace(NODE, GROUP, 1)
