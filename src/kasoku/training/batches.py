"""The entries of a batch: the inputs of the net, by place or by name, and the targets; and the output that is meant."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from kasoku.faults import MISSING, ConfigError, Fault, nearest

Entry = str | int
LOSS = "loss"


class Inputs(NamedTuple):
    """Arguments of a net: net(*args, **named)."""

    args: tuple[Any, ...]
    named: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """The places or names of inputs, targets and the output that counts; null: as follows.

    | batch | the net is called with | targets |
    |---|---|---|
    | (x, y) | x | y |
    | (x1, x2, y) | x1, x2 | y |
    | ((x1, x2), y), ({"a": x1, "b": x2}, y) | the same by place, by name; the whole where the net takes one | y |
    | {...} | the entries that its forward names | `y` |
    | x alone | x | none: the net returns its loss |

    Args:
        x: an entry; or several: [0, 1] by place, [left, right] by these names, {a: left, b: right} by others.
        y: the entry of the targets. x=0, y=0 of batches (x, label): an autoencoder.
        output: of a net that returns a dict or a tuple: the entry that loss and metrics see. null: what is there
            besides the loss.
    """

    x: Entry | Sequence[Entry] | Mapping[str, Entry] | None = None
    y: Entry | None = None
    output: Entry | None = None

    def split(self, batch: Any, net: nn.Module) -> tuple[Inputs, Any]:
        """The arguments of `net`, and the targets (None: there are none).

        Raises:
            ConfigError: there is no such entry, or the entries do not fit what the net takes.
        """
        if self.x is None and isinstance(batch, tuple | list) and len(batch) > 1:
            return _of_places(self._all_but_y(batch), net), batch[-1]
        y = None if self.y is None else _entry(batch, self.y, "batch.y")
        if self.x is not None:
            return self._chosen(batch, net), y
        if isinstance(batch, Mapping):
            return self._named(batch, net), y
        return Inputs(tuple(batch) if isinstance(batch, tuple | list) else (batch,), {}), y

    def outputs(self, given: Any) -> tuple[Tensor | None, Any]:
        """The loss that the net has put into what it returned, or None, and its outputs."""
        if isinstance(given, Tensor):
            if self.output is not None:
                must = "is for a net that returns a dict or a tuple, this one returns a tensor"
                raise ConfigError(Fault("batch.output", self.output, must, "leave it out"))
            return None, given
        if not isinstance(given, Mapping):
            return None, given if self.output is None else _entry(given, self.output, "batch.output")
        rest = {name: value for name, value in given.items() if name != LOSS}
        if self.output is not None:
            return given.get(LOSS), _entry(rest, self.output, "batch.output")
        return given.get(LOSS), next(iter(rest.values())) if len(rest) == 1 else rest or None

    def _all_but_y(self, batch: Sequence[Any]) -> Sequence[Any]:
        if self.y is not None:
            must = "says where the targets are, and nothing says where the inputs are"
            raise ConfigError(Fault("batch.y", self.y, must, "give both: batch.x=0 batch.y=1"))
        return batch[:-1]

    def _chosen(self, batch: Any, net: nn.Module) -> Inputs:
        if isinstance(self.x, str | int):
            return _spread(_entry(batch, self.x, "batch.x"), net)
        if isinstance(self.x, Mapping):
            return Inputs((), {name: _entry(batch, entry, "batch.x") for name, entry in self.x.items()})
        entries = {entry: _entry(batch, entry, "batch.x") for entry in self.x or ()}
        named = {entry: value for entry, value in entries.items() if isinstance(entry, str)}
        return Inputs(tuple(value for entry, value in entries.items() if entry not in named), named)

    def _named(self, batch: Mapping[str, Any], net: nn.Module) -> Inputs:
        """The entries that `net` names; the only one besides the targets where it takes one by another name."""
        parameters = _parameters(net)
        others = [name for name in batch if name != self.y]
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        named = {name: batch[name] for name in batch if name in parameters or (takes_all and name in others)}
        lacking = [p.name for p in parameters.values() if _is_required(p) and p.name not in named]
        if not lacking:
            return Inputs((), named)
        if len(lacking) == len(others) == 1 and not named:
            return Inputs((batch[others[0]],), {})
        must = f"{type(net).__name__} takes {' '.join(lacking)}, batches are dicts of {' '.join(map(str, batch))}"
        raise ConfigError(Fault("batch.x", self.x, must, "say which: batch.x=NAME, [NAME,NAME] or {PARAMETER:NAME}"))


def called(net: nn.Module, inputs: Inputs) -> Any:
    """The result of `net` called with `inputs`.

    Raises:
        ConfigError: it takes others.
    """
    try:
        return net(*inputs.args, **inputs.named)
    except TypeError:
        if _binds(net, *inputs.args, **inputs.named):
            raise
        given = [*(f"one by place ({type(value).__name__})" for value in inputs.args), *map(str, inputs.named)]
        must = (
            f"{type(net).__name__} takes {' '.join(_parameters(net)) or 'nothing'}, a batch gives it {', '.join(given)}"
        )
        raise ConfigError(Fault("batch.x", MISSING, must, "batch.x= says which entries of a batch it gets")) from None


def size_of(batch: Any) -> int:
    """The samples of a batch: the length of the first tensor in it."""
    first = _first_tensor(batch)
    return len(first) if first is not None and first.ndim else 1


def _first_tensor(batch: Any) -> Tensor | None:
    if isinstance(batch, Tensor):
        return batch
    inner = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    return next((found for item in inner if (found := _first_tensor(item)) is not None), None)


def _of_places(inputs: Sequence[Any], net: nn.Module) -> Inputs:
    if len(inputs) == 1:
        return _spread(inputs[0], net)
    if _binds(net, *inputs):
        return Inputs(tuple(inputs), {})
    must = (
        f"a batch has {len(inputs) + 1} entries, {type(net).__name__} takes {' '.join(_parameters(net)) or 'nothing'}"
    )
    raise ConfigError(
        Fault("batch.x", MISSING, must, "say which are for the net and which the targets: batch.x=0 batch.y=1")
    )


def _spread(x: Any, net: nn.Module) -> Inputs:
    """Several inputs one by one, where `net` takes as many."""
    if isinstance(x, Mapping) and _binds(net, **x):
        return Inputs((), x)
    if isinstance(x, tuple | list) and _binds(net, *x):
        return Inputs(tuple(x), {})
    return Inputs((x,), {})


def _entry(batch: Any, entry: Entry, key: str) -> Any:
    try:
        return batch if isinstance(batch, Tensor) and entry == 0 else batch[entry]
    except (KeyError, IndexError, TypeError):
        names = [str(name) for name in batch] if isinstance(batch, Mapping) else []
        holds = f"the entries are: {' '.join(names)}" if names else f"it is {_shape_of(batch)}"
        raise ConfigError(Fault(key, entry, f"no such entry, {holds}", nearest(str(entry), names))) from None


def _shape_of(batch: Any) -> str:
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")


def _binds(net: nn.Module, *args: Any, **named: Any) -> bool:
    try:
        inspect.signature(net.forward).bind(*args, **named)
    except (TypeError, ValueError):
        return False
    return True


def _parameters(net: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(net.forward).parameters


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind in (
        parameter.POSITIONAL_OR_KEYWORD,
        parameter.KEYWORD_ONLY,
    )
