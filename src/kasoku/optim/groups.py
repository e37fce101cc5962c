"""Parameter groups: which lr and weight decay each parameter of a network is trained with."""

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from kasoku.faults import MISSING, ConfigError, Fault, check_call, nearest
from kasoku.optim.depth import EMBEDDINGS, NORMS, depths

KEY = "optimizer.groups."
ONE_LR = "has no effect: this optimizer has one lr for all parameters"


@dataclass(frozen=True)
class Rule:
    """Multiplies lr and weight decay of the parameters whose name matches a glob, or a regular expression "re:..."."""

    match: str
    lr: Annotated[float, Gt(0)] = 1.0
    weight_decay: Annotated[float, Ge(0)] = 1.0


class Setting(NamedTuple):
    """What parameters of one group have in common; `rank` is the place of the kind among the kinds."""

    rank: int
    kind: str
    scale: float
    weight_decay: float


class Row(NamedTuple):
    """One line of the table of the groups."""

    name: str
    tensors: int
    parameters: int
    lr: float
    weight_decay: float


class Groups:
    """How the parameters of a network are split into groups.

    Args:
        no_decay: no weight decay on biases, norms, embeddings and whatever else has fewer than two dimensions.
        layer_decay: lr x layer_decay ^ (blocks above), 1 for the head (`kasoku.optim.depth.depths`). Clark et al. 2020,
            arXiv 2003.10555.
        rules: mappings with `match` and the multipliers `lr` and `weight_decay`; where several match, all multiply.
        frozen: patterns of the parameters that are not trained.
        kinds: for optimizers that treat parameters in several ways, what gives each parameter's kind by name;
            the groups carry it as `kind`.
        one_lr: the optimizer has one lr for all parameters; settings that ask for several are refused.

    Raises:
        ConfigError: a rule is not one.
    """

    def __init__(
        self,
        no_decay: bool = True,
        layer_decay: Annotated[float, Interval(gt=0, le=1)] | None = None,
        rules: Sequence[Mapping[str, Any]] = (),
        frozen: Sequence[str] = (),
        kinds: Callable[[nn.Module], Mapping[str, str]] | None = None,
        one_lr: bool = False,
    ):
        given = {"no_decay": no_decay, "layer_decay": layer_decay, "one_lr": one_lr}
        faults = check_call(Groups, given, KEY)
        faults += [fault for i, rule in enumerate(rules) for fault in _faults(rule, f"{KEY}rules[{i}].")]
        faults += [fault for pattern in frozen for fault in _unreadable(KEY + "frozen", pattern)]
        if one_lr and layer_decay not in (None, 1):
            faults.append(Fault(KEY + "layer_decay", layer_decay, ONE_LR, "set it to null"))
        if one_lr and any(rule.get("lr", 1) != 1 for rule in rules if isinstance(rule, Mapping)):
            faults.append(Fault(KEY + "rules", list(rules), ONE_LR, "leave lr out of the rules"))
        if faults:
            raise ConfigError(*faults)
        self.no_decay = no_decay
        self.layer_decay = layer_decay
        self.rules = tuple(Rule(**rule) for rule in rules)
        self.frozen = tuple(frozen)
        self.kinds = kinds

    def split(self, module: nn.Module, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """The parameter groups of `module` for an optimizer, with `name`, `params`, `lr`, `weight_decay` (and `kind`).

        Parameters with equal settings share a group, so that fused and foreach kernels take them at once. The group at
        the plain lr with the most parameters comes first. Frozen parameters get requires_grad=False.

        Raises:
            ConfigError: a pattern matches no parameter, or nothing is left to train.
        """
        self._check_patterns([name for name, _ in module.named_parameters()])
        for name, parameter in module.named_parameters():
            if any(matches(pattern, name) for pattern in self.frozen):
                parameter.requires_grad_(False)
        members: dict[Setting, list[Tensor]] = defaultdict(list)
        settings = self._settings(module, weight_decay)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                members[settings[name]].append(parameter)
        if not members:
            raise ConfigError(Fault(KEY + "frozen", list(self.frozen), "leaves no parameter to train"))
        groups = [_group(setting, params, lr) for setting, params in _sorted(members)]
        _name(groups, lr)
        check_complete(module, groups)
        return groups

    def _settings(self, module: nn.Module, weight_decay: float) -> dict[str, Setting]:
        """The setting of each parameter by name."""
        kinds = self.kinds(module) if self.kinds else {}
        order = list(dict.fromkeys(kinds.values()))
        undecayed = not_decayed(module) if self.no_decay else set()
        scales = self._layer_scales(module)
        settings = {}
        for name, parameter in module.named_parameters():
            scale, decay = scales[name], 0.0 if id(parameter) in undecayed else weight_decay
            for rule in self.rules:
                if matches(rule.match, name):
                    scale, decay = scale * rule.lr, decay * rule.weight_decay
            kind = kinds.get(name, "")
            settings[name] = Setting(order.index(kind) if kind else 0, kind, scale, decay)
        return settings

    def _layer_scales(self, module: nn.Module) -> dict[str, float]:
        levels = depths(module)
        head = max(levels.values(), default=0)
        decay = 1.0 if self.layer_decay is None else self.layer_decay
        return {name: decay ** (head - level) for name, level in levels.items()}

    def _check_patterns(self, names: Sequence[str]) -> None:
        given = [(f"{KEY}rules[{i}].match", rule.match) for i, rule in enumerate(self.rules)]
        given += [(f"{KEY}frozen", pattern) for pattern in self.frozen]
        faults = [
            Fault(key, pattern, "matches no parameter", _nearest(pattern, names))
            for key, pattern in given
            if not any(matches(pattern, name) for name in names)
        ]
        if faults:
            raise ConfigError(*faults)


def matches(pattern: str, name: str) -> bool:
    """Whether a parameter's whole name matches a glob, or the regular expression after "re:"."""
    if pattern.startswith("re:"):
        return re.fullmatch(pattern[3:], name) is not None
    return fnmatch.fnmatchcase(name, pattern)


def _nearest(pattern: str, names: Sequence[str]) -> str:
    prefixes = {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
    few = f"parameters are {' '.join(names[:6])}{' ...' if len(names) > 6 else ''}"
    return nearest(pattern, [*names, *(f"{prefix}.*" for prefix in sorted(prefixes))]) or few


def not_decayed(module: nn.Module) -> set[int]:
    """The ids of the parameters of norms and embeddings, and of all that have fewer than two dimensions."""
    special = [inner for inner in module.modules() if isinstance(inner, NORMS + EMBEDDINGS)]
    ids = {id(p) for inner in special for p in inner.parameters(recurse=False)}
    return ids | {id(p) for p in module.parameters() if p.ndim < 2}


def check_complete(module: nn.Module, groups: Iterable[Mapping[str, Any]]) -> None:
    """Check that each trainable parameter of `module` is in exactly one of `groups`.

    Raises:
        ValueError: it names the parameters that are missing, are there twice, or are none of the module's.
    """
    grouped = Counter(id(p) for group in groups for p in group["params"])
    trainable = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    missing = [name for key, name in trainable.items() if key not in grouped]
    twice = [trainable.get(key, "?") for key, count in grouped.items() if count > 1]
    foreign = len(grouped.keys() - trainable.keys())
    if missing or twice or foreign:
        raise ValueError(f"parameter groups: missing {missing}, twice {twice}, {foreign} not trainable ones of the net")


def table(module: nn.Module, groups: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows of the table of `groups`, best an optimizer's `param_groups`; frozen parameters last, at lr 0."""
    rows = []
    for group in groups:
        lr = float(group.get("initial_lr", group["lr"]))
        rows.append(Row(group["name"], *_size(group["params"]), lr, float(group["weight_decay"])))
    still = [p for p in module.parameters() if not p.requires_grad]
    return [*rows, Row("frozen", *_size(still), 0.0, 0.0)] if still else rows


def _size(parameters: Sequence[Tensor]) -> tuple[int, int]:
    return len(parameters), sum(p.numel() for p in parameters)


def _sorted(members: Mapping[Setting, list[Tensor]]) -> list[tuple[Setting, list[Tensor]]]:
    """By kind, the plain lr before others, the larger before the smaller."""
    return sorted(members.items(), key=lambda item: (item[0].rank, item[0].scale != 1, -_size(item[1])[1]))


def _group(setting: Setting, params: list[Tensor], lr: float) -> dict[str, Any]:
    group = {"params": params, "lr": lr * setting.scale, "weight_decay": setting.weight_decay}
    return group | ({"kind": setting.kind} if setting.kind else {})


def _name(groups: list[dict[str, Any]], lr: float) -> None:
    """Give each group a name that says its settings, such as `no_decay` or `muon_decay_lr0.5`."""
    strongest = max(group["weight_decay"] for group in groups)
    for group in groups:
        decay, scale = group["weight_decay"], group["lr"] / lr
        decayed = "no_decay" if not decay else "decay" if decay == strongest else f"decay{decay:.3g}"
        kind = [group["kind"]] if "kind" in group else []
        group["name"] = "_".join([*kind, decayed, *([f"lr{scale:.3g}"] if group["lr"] != lr else [])])
    if len(groups) == 1:
        groups[0]["name"] = "all"


def _faults(rule: Any, prefix: str) -> list[Fault]:
    if not isinstance(rule, Mapping):
        return [Fault(prefix[:-1], rule, "must be a mapping, as {match: 'net.stem.*', lr: 0.1}")]
    faults = check_call(Rule, rule, prefix)
    if "match" not in rule:
        hint = "give a glob over parameter names, as 'net.stem.*'"
        faults.append(Fault(prefix + "match", MISSING, "is missing", hint))
    return faults or _unreadable(prefix + "match", rule["match"])


def _unreadable(key: str, pattern: object) -> list[Fault]:
    if not isinstance(pattern, str):
        return [Fault(key, pattern, "must be a text: a glob, or a regular expression as re:...")]
    try:
        matches(pattern, "")
    except re.error as error:
        return [Fault(key, pattern, f"is no regular expression: {error}")]
    return []
