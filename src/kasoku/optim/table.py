"""The table of the parameter groups: what is trained, at which lr and weight decay, and what is not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from kasoku.optim.patterns import matches


class Row(NamedTuple):
    """One line of the table of the groups."""

    name: str
    tensors: int
    parameters: int
    lr: float
    weight_decay: float


def table(
    module: nn.Module, groups: Iterable[Mapping[str, Any]], later: Mapping[str, int | str] | None = None
) -> list[Row]:
    """The rows of the table of `groups`, ideally an optimizer's `param_groups`; what is not trained last, at lr 0.

    Args:
        later: by pattern, the length after which frozen parameters are to be trained.
    """
    groups = list(groups)
    rows = [
        Row(
            str(group.get("name", i)),
            *_size(group["params"]),
            float(group.get("initial_lr", group.get("lr", 0))),
            float(group.get("weight_decay", 0)),
        )
        for i, group in enumerate(groups)
    ]
    grouped = {id(p) for group in groups for p in group["params"]}
    still: dict[str, list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if id(parameter) not in grouped or not parameter.requires_grad:
            still.setdefault(_why(name, parameter, later or {}), []).append(parameter)
    return [*rows, *(Row(why, *_size(parameters), 0.0, 0.0) for why, parameters in sorted(still.items()))]


def named_groups(module: nn.Module, optimizers: Sequence[Optimizer]) -> list[dict[str, Any]]:
    """The parameter groups of all `optimizers`, each with a name of its own.

    With several optimizers it begins with the part of `module` that the optimizer trains, or the optimizer's class.
    """
    if len(optimizers) == 1:
        groups = optimizers[0].param_groups
        return [group | {"name": group.get("name", "all" if len(groups) == 1 else i)} for i, group in enumerate(groups)]
    names = {id(p): name.partition(".")[0] for name, p in module.named_parameters()}
    found: list[dict[str, Any]] = []
    for optimizer in optimizers:
        parts = {names.get(id(p), "") for group in optimizer.param_groups for p in group["params"]}
        part = parts.pop() if len(parts) == 1 else type(optimizer).__name__
        for i, group in enumerate(optimizer.param_groups):
            own = group.get("name", i if len(optimizer.param_groups) > 1 else "all")
            found.append(group | {"name": part if own == "all" else f"{part}_{own}"})
    counts = Counter(group["name"] for group in found)
    return [g | ({"name": f"{g['name']}_{i}"} if counts[g["name"]] > 1 else {}) for i, g in enumerate(found)]


def _why(name: str, parameter: Tensor, later: Mapping[str, int | str]) -> str:
    lengths = [length for pattern, length in later.items() if matches(pattern, name)]
    return "untrained" if parameter.requires_grad else f"frozen until {lengths[0]}" if lengths else "frozen"


def _size(parameters: Sequence[Tensor]) -> tuple[int, int]:
    return len(parameters), sum(p.numel() for p in parameters)
