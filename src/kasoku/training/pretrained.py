"""Weights from a file: a run's checkpoint, any of Lightning's, a plain state dict, safetensors; all or what fits.

Names may differ by what stands in front: `net.` of a LightningModule, `module.` of DDP, `model.` of another project,
`_orig_mod.` of torch.compile. The pair of prefixes is taken under which the most names meet.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from kasoku.faults import ConfigError, Fault
from kasoku.training.checkpoints import opened

log = logging.getLogger("kasoku")

Load = Literal["strict", "matching"]
State = Mapping[str, Tensor]

TRAINED_WITH = "give the model= and data= it was trained with, or model.load=matching for what fits"
FIRST_CHOICE = ("state_dict", "model", "model_state_dict", "module", "net")  # of several state dicts in a file
SHOWN = 4  # names in a line of the table
SHARE = 0.05  # of the names that a prefix must have to be looked at: all pairs of prefixes are


@dataclass
class Match:
    """The names of a module's weights held against those of a file.

    Args:
        taken: by the module's name, the file's name of what is loaded.
        missing: of the module, and not in the file: left as they are.
        reshaped: of both, with the shapes there and here: left as they are.
        unused: of the file, and not in the module.
    """

    taken: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def load(module: nn.Module, path: Path, how: Load = "strict", key: str = "checkpoint") -> Match:
    """Give `module` the weights in `path`, and say in the log which were loaded and which not.

    Args:
        module: keeps its own where nothing is loaded.
        path: .safetensors, or what torch.load(weights_only=True) reads.
        how: "strict": each weight of the module is in the file and each of the file in the module. "matching": those
            whose names and shapes are in both.
        key: of the configuration, for what is wrong.

    Raises:
        ConfigError: the file cannot be read, does not fit, or has nothing that fits.
    """
    state = read_state(path, key)
    match = matched(module.state_dict(), state)
    if how == "strict" and (faults := misfits(match, key, path)):
        raise ConfigError(*faults[:1])
    if not match.taken:
        must = f"has no weight that fits: {' '.join(list(state)[:SHOWN])} there"
        raise ConfigError(Fault(key, path, must, f"the model has {' '.join(list(module.state_dict())[:SHOWN])}"))
    module.load_state_dict({name: state[there] for name, there in match.taken.items()}, strict=False)
    for line in table(match, state, path):
        log.info("%s", line)
    return match


def read_state(path: Path, key: str) -> State:
    """The state dict in a file.

    Raises:
        ConfigError: there is none, or more than one and none under a usual name.
    """
    content = _safetensors(path, key) if path.suffix == ".safetensors" else opened(path, key)
    if isinstance(content, Mapping) and _is_state(content):
        return content
    inside = content if isinstance(content, Mapping) else {}
    found = {str(name): part for name, part in inside.items() if isinstance(part, Mapping) and _is_state(part)}
    chosen = [name for name in FIRST_CHOICE if name in found] or list(found)
    if not chosen:
        raise ConfigError(Fault(key, path, "holds no state dict, which is names with their tensors"))
    if len(chosen) > 1 and chosen[0] not in FIRST_CHOICE:
        must = f"holds {len(found)} state dicts: {' '.join(found)}"
        raise ConfigError(Fault(key, path, must, "save the one that is meant in a file of its own"))
    return found[chosen[0]]


def matched(own: State, state: State) -> Match:
    """The names of `own` and `state` that mean the same weight, under the prefixes that make the most of them meet."""
    there = {name.replace("_orig_mod.", ""): name for name in state}
    strip, add = max(_prefixes(own, there), key=lambda pair: _fit(own, state, there, *pair))
    match = Match()
    renamed = {add + name.removeprefix(strip): full for name, full in there.items() if name.startswith(strip)}
    for name, tensor in own.items():
        full = renamed.pop(name, None)
        if full is None:
            match.missing.append(name)
        elif not _fits(tensor, state[full]):
            match.reshaped[name] = (tuple(state[full].shape), tuple(tensor.shape))
        else:
            match.taken[name] = full
    left = set(renamed.values())
    match.unused = [full for name, full in there.items() if full in left or not name.startswith(strip)]
    return match


def table(match: Match, state: State, path: Path) -> list[str]:
    """A line for what was loaded, and one for each reason why something was not."""
    size = sum(state[there].numel() for there in match.taken.values())
    lines = [f"{path.name}: {len(match.taken)} tensors loaded, {size:,} numbers{_renaming(match)}"]
    shapes = [f"{name} {list(there)} there, {list(here)} here" for name, (there, here) in match.reshaped.items()]
    reasons = {"not in the file": match.missing, "of another shape": shapes, "not in the model": match.unused}
    for reason, names in reasons.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines += [f"  {len(names)} {reason}: {'; '.join(names[:SHOWN])}{more}"] if names else []
    return lines


def _renaming(match: Match) -> str:
    name, there = next(iter(match.taken.items()))
    return "" if name == there else f", {there} as {name}"


def misfits(match: Match, key: str, path: Path) -> list[Fault]:
    """The faults of weights that the file lacks, or has besides, or has in another shape."""
    faults = [Fault(key, path, f"holds {name}, which the model lacks", TRAINED_WITH) for name in match.unused]
    for name, (there, here) in match.reshaped.items():
        faults.append(Fault(key, path, f"{name} is {there} there and {here} in the model", TRAINED_WITH))
    return faults + [Fault(key, path, f"lacks {name}, which the model has", TRAINED_WITH) for name in match.missing]


def _prefixes(own: State, there: Mapping[str, str]) -> list[tuple[str, str]]:
    """Prefixes that may be taken from the names in the file, and put before them; nothing at all is the first."""
    return [(strip, add) for strip in _starts(there) for add in _starts(own)]


def _starts(names: Mapping[str, Any]) -> list[str]:
    """The first parts of names, up to three, that no less than SHARE of them have, and before them ""."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(1, min(4, len(parts))):
            start = ".".join(parts[:depth]) + "."
            counts[start] = counts.get(start, 0) + 1
    return ["", *(start for start, count in counts.items() if count >= SHARE * len(names))]


def _fit(own: State, state: State, there: Mapping[str, str], strip: str, add: str) -> tuple[int, int]:
    pairs = [(add + name.removeprefix(strip), full) for name, full in there.items() if name.startswith(strip)]
    met = [(name, full) for name, full in pairs if name in own]
    return sum(_fits(own[name], state[full]) for name, full in met), len(met)


def _fits(own: Tensor, other: Tensor) -> bool:
    return isinstance(own, UninitializedParameter | UninitializedBuffer) or own.shape == other.shape


def _is_state(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _safetensors(path: Path, key: str) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        fix = "install it: pip install 'kasoku[safetensors]'"
        raise ConfigError(Fault(key, path, "needs the package safetensors", fix)) from error
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(Fault(key, path, f"cannot be read: {error}")) from error
