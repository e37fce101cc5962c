"""The plan of a network's training: the settings of each parameter, and the groups that they make."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from kasoku.faults import ConfigError, Fault

KEY = "optimizer.groups."


class Setting(NamedTuple):
    """The settings that the parameters of one group share; `rank` is the place of the kind among the kinds."""

    rank: int
    kind: str
    scale: float
    weight_decay: float


@dataclass(frozen=True)
class Plan:
    """The setting of each parameter by its id, at the base lr `lr`; what of it is trained, and when, is told later."""

    lr: float
    settings: Mapping[int, Setting]
    frozen: Sequence[str] = ()
    one_lr: bool = False

    def groups(self, parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
        """The groups of those of `parameters` that require a gradient.

        Raises:
            ConfigError: none is left.
        """
        groups = self._split(p for p in parameters if p.requires_grad)
        if not groups:
            raise ConfigError(Fault(KEY + "frozen", list(self.frozen), "leaves no parameter to train"))
        if len(groups) == 1:
            groups[0]["name"] = "all"
        return groups

    def added(self, group: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
        """The groups of parameters that come in after `step` steps as the one `group`, whose lr is a base lr.

        Its lr multiplies what the plan gives each parameter; what else `group` sets holds for all of them.
        """
        given = group["params"]
        params = [given] if isinstance(given, Tensor) else list(given)
        if not all(id(p) in self.settings for p in params):
            return [dict(group) | {"params": params, "name": f"from{step}"}]
        ratio = 1.0 if self.one_lr else group["lr"] / self.lr
        further = {key: value for key, value in group.items() if key not in ("params", "lr")}
        parts = self._split(params)
        for part in parts:
            label = f"{part['name']}_" if len(parts) > 1 else ""
            part |= {"lr": part["lr"] * ratio, "name": f"{label}from{step}"} | further
        return parts

    def _split(self, parameters: Iterable[Tensor]) -> list[dict[str, Any]]:
        members: dict[Setting, list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            members[self.settings[id(parameter)]].append(parameter)
        groups = [_group(setting, params, self.lr) for setting, params in _sorted(members)]
        strongest = max((setting.weight_decay for setting in members), default=0.0)
        for group in groups:
            group["name"] = _name(group, self.lr, strongest)
        return groups


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


def _sorted(members: Mapping[Setting, list[Tensor]]) -> list[tuple[Setting, list[Tensor]]]:
    """By kind, the plain lr before others, the larger before the smaller."""
    return sorted(
        members.items(), key=lambda item: (item[0].rank, item[0].scale != 1, -sum(p.numel() for p in item[1]))
    )


def _group(setting: Setting, params: list[Tensor], lr: float) -> dict[str, Any]:
    group = {"params": params, "lr": lr * setting.scale, "weight_decay": setting.weight_decay}
    return group | ({"kind": setting.kind} if setting.kind else {})


def _name(group: Mapping[str, Any], lr: float, strongest: float) -> str:
    """A name that says the settings of a group, such as `no_decay` or `muon_decay_lr0.5`."""
    decay, scale = group["weight_decay"], group["lr"] / lr
    decayed = "no_decay" if not decay else "decay" if decay == strongest else f"decay{decay:.3g}"
    kind = [group["kind"]] if "kind" in group else []
    return "_".join([*kind, decayed, *([f"lr{scale:.3g}"] if group["lr"] != lr else [])])
