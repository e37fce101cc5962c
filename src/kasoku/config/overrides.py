"""Overrides held against the composed configuration: is there such a group, option or key?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from omegaconf import DictConfig, ListConfig, OmegaConf

from kasoku.config import ranges
from kasoku.config.compose import Groups
from kasoku.config.hydra_errors import typed
from kasoku.config.trust import TARGET
from kasoku.config.unread import NODES
from kasoku.faults import Fault, closest, unknown

COLLECTIONS = ("callbacks", "logger", "model.metrics")  # each key of theirs is one of any number
COMPLETE = ("kasoku", "hydra", "hydra_plugins")  # packages of whose classes the files name each argument
OPEN = "race.strategies."  # keys that the command may add to


def choose(override: Override, groups: Groups) -> tuple[str | None, list[Fault]]:
    """The faults of an override that chooses an option of a group, and what to compose with.

    That is the override as it stands if it has no fault; else one with the option that was probably meant, so that the
    rest of the command can be judged; or None.
    """
    group, line, value = override.key_or_group, str(override.input_line), override.value()
    if override.is_delete():
        return line, []
    if override.is_force_add():
        fix = f"write {line.lstrip('+')}"
        return line.lstrip("+"), [Fault(f"++{group}", value, "an option is chosen without +", fix)]
    if isinstance(value, list) and group in NODES:
        fix = f"to train with each of them: -m {group}={','.join(map(str, value))}"
        return None, [Fault(group, value, "must be one option", fix)]
    there = groups.options(group)
    wrong = {_name(option): option for option in options_of(override) if option is None or _name(option) not in there}
    if not wrong:
        return None if override.is_sweep_override() else line, []
    what = "no such option, the options are"
    faults = [unknown(group, option, name, there, what) for name, option in wrong.items()]
    meant = closest(next(iter(wrong)), there)
    return f"{group}={meant}" if meant else None, faults


def opened(argv: Sequence[str]) -> list[str]:
    """`argv` with each race.strategies.NAME=[override, ...] as Hydra reads it: a new key, its overrides quoted.

    >>> opened(["race.strategies.mine=[optimizer=muon,scheduler=wsd]", "seed=1"])
    ['++race.strategies.mine=["optimizer=muon","scheduler=wsd"]', 'seed=1']
    """
    return [_opened(word) if word.startswith(OPEN) else word for word in argv]


def _opened(line: str) -> str:
    key, _, value = line.partition("=")
    if not (value.startswith("[") and value.endswith("]")):
        return f"++{line}"
    words = _split(value[1:-1])
    quoted = [word if word[:1] in ("'", '"') else f"'{word}'" if '"' in word else f'"{word}"' for word in words]
    return f"++{key}=[{','.join(quoted)}]"


def _split(text: str) -> list[str]:
    """The parts of `text` between its commas, but for those inside brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        quote = ("" if sign == quote else quote) if quote else sign if sign in "'\"" else ""
        depth += 0 if quote else (sign in "[{(") - (sign in ")}]")
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def key_of(line: str) -> str:
    """The key of an override, without what adds or removes it."""
    return line.lstrip("+~").partition("=")[0]


def root(line: str) -> str:
    """The first part of an override's key."""
    return key_of(line).partition(".")[0].partition("@")[0]


def options_of(override: Override) -> list[Any]:
    """The options that an override names: one, those of a list, or those of a sweep over some."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [item.text if isinstance(item, QuotedString) else item for item in value.list]
    if override.is_sweep_override():
        return []
    return value if isinstance(value, list) else [value]


def _name(option: Any) -> str:
    return "none" if option is None else str(option).removesuffix(".yaml")


@dataclass(frozen=True)
class Composed:
    """A composed configuration, with Hydra's node, the groups that there are, and the options of one."""

    cfg: DictConfig
    groups: list[str]
    options: Callable[[str], list[str]]

    def wrong_key(self, override: Override) -> Fault | None:
        """The fault of an override whose key does not exist, or does where it is to be added."""
        key, value = typed(override)
        name = override.key_or_group
        parts = [name] if "/" in name else name.split(".")
        node: Any = self.cfg
        for depth, part in enumerate(parts):
            if not _holds(node, part):
                if (override.is_add() or override.is_force_add()) and ((depth and node is None) or _is_mapping(node)):
                    return None
                offer = _offer(node, parts[:depth], part, override)
                fault = self._unknown(key, value, node, parts[:depth], part, offer)
                collection = ".".join(parts[:depth])
                if collection not in COLLECTIONS or override.is_delete():
                    return fault
                if collection in self.groups and part in self.options(collection):
                    return replace(fault, fix=f"choose it first: {collection}={part}")
                return replace(fault, fix=f"{fault.fix} to add it, write {_added(override)}".strip())
            node = _inside(node, part)
        if override.is_add() and not isinstance(value, list | dict):
            return Fault(key, value, "this key is there already", f"write {str(override.input_line)[1:]}")
        return None

    def _unknown(self, key: str, value: object, node: Any, above: list[str], name: str, offer: str) -> Fault:
        if not above:
            names = sorted(str(root) for root in self.cfg if root not in (*self.groups, "hydra"))
            must = f"no such group or key, the groups are: {' '.join(self.groups)}; the keys are: {' '.join(names)}"
            return Fault(key, value, must, self._hint(name, [*self.groups, *names], ""))
        where = self._where(above)
        if not isinstance(node, DictConfig):
            return Fault(key, value, f"{where} is a value and has no keys")
        names = sorted(str(inner) for inner in node if not str(inner).startswith("_"))
        hint = f"to add it: +{key}={{...}}" if isinstance(value, dict) else self._hint(name, names, offer)
        return Fault(key, value, f"no such key, the keys of {where} are: {' '.join(names)}", hint)

    def _where(self, above: list[str]) -> str:
        choice = self.cfg.hydra.runtime.choices.get(above[0]) if len(above) == 1 else None
        return f"{above[0]}={choice}" if choice else ".".join(above)

    def _hint(self, name: str, siblings: list[str], offer: str) -> str:
        """The place of a key of this very name, or a near spelling beside it, or the `offer`, or one anywhere."""
        values = OmegaConf.to_container(self.cfg, resolve=False)
        deep_first = sorted(_leaves(values), key=lambda key: key.count("."), reverse=True)
        leaves = {key.rpartition(".")[2]: key for key in deep_first if not key.startswith("hydra.")}
        if name in leaves:
            return f"did you mean {leaves[name]}?"
        near = closest(name, siblings)
        if offer and (not near or name in ranges.TRAINER):
            return offer
        near = near or leaves.get(closest(name, leaves), "")
        return f"did you mean {near}?" if near else ""


def _offer(node: Any, above: list[str], name: str, override: Override) -> str:
    """The way to add a key to `node`, whose class may take more than its file says."""
    target = _inside(node, TARGET) if _is_mapping(node) else None
    if override.is_delete() or not isinstance(target, str) or target.split(".")[0] in COMPLETE:
        return ""
    if above == ["trainer"] and name in ranges.TRAINER:
        return f"to add it, write {_added(override)}"
    return f"if {target} takes it, write {_added(override)}"


def _added(override: Override) -> str:
    return f"+{str(override.input_line).lstrip('+')}"


def _is_mapping(node: Any) -> bool:
    return isinstance(node, DictConfig)


def _holds(node: Any, part: str) -> bool:
    if isinstance(node, ListConfig):
        return part.isdigit() and int(part) < len(node)
    return isinstance(node, DictConfig) and part in list(node)  # one that is ??? is no item, and may be given


def _inside(node: DictConfig | ListConfig, part: str) -> Any:
    return OmegaConf.select(node, part, throw_on_resolution_failure=False)


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    for name, item in node.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{name}.")
        elif not str(name).startswith("_"):
            yield f"{prefix}{name}"
