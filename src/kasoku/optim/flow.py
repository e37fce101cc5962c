"""The flow of data through a net, read off the autograd graph of one call: the order in which its parameters are used.

Registration tells the order of a net only by habit. The graph knows what was computed of what, whoever called it:
layers, attention's functions, parameters that a forward uses itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kasoku.optim.weights import LAYERS


class Use(NamedTuple):
    """The places of a parameter's first and last use among the operations of a call."""

    first: int
    last: int


@dataclass(frozen=True)
class Flow:
    """The flow in a call.

    Args:
        outputs: for each output the uses of the parameters, by name, that it was computed of.
        ends: the names of the linear layers and convolutions whose result passes no other one on its way to an output.
    """

    outputs: tuple[Mapping[str, Use], ...] = ()
    ends: frozenset[str] = frozenset()

    @property
    def first(self) -> dict[str, int]:
        """The place of the first use of each parameter that an output depends on."""
        found: dict[str, int] = {}
        for uses in self.outputs:
            for name, use in uses.items():
                found[name] = min(use.first, found.get(name, use.first))
        return found

    def last(self, names: Iterable[str]) -> set[str]:
        """For each output the one of `names` that was used last on the way to it.

        Not one that another output with a later one depends on too: the state of a layer inside that is handed out
        beside the answer makes that layer no last one.
        """
        names = set(names)
        ends = [max((n for n in uses if n in names), key=lambda n: uses[n].last, default="") for uses in self.outputs]
        pairs = list(zip(ends, self.outputs, strict=True))
        return {end for end in ends if end and all(end == other or end not in uses for other, uses in pairs)}


def observe(module: nn.Module, call: Callable[[], Any]) -> Flow:
    """The flow in `call()`, which calls `module` or a part of it and returns tensors, in whatever containers.

    The module is in evaluation mode inside. Weights, buffers, modes, requires_grad and torch's random number generators
    are afterwards as they were.
    """
    with _undisturbed(module), _noted(module) as calls:
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        nodes = [tensor.grad_fn for tensor in tensors(call()) if tensor.grad_fn is not None]
        return Flow(tuple(_uses(node, names) for node in nodes), _ends(nodes, calls))


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in `value`: itself, or those in its lists, tuples, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
        return
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type | Mapping):
        parts = [getattr(value, name) for name in value.__dataclass_fields__]
    for part in parts:
        yield from tensors(part)


def mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with its tensors changed, in lists, tuples and mappings of the same kind; anything else as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return type(value)((name, mapped(change, item)) for name, item in value.items())  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        items = [mapped(change, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every part has its own mode back afterwards."""
    before = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for inner, training in before:
            inner.training = training


def _nodes(start: Any) -> Iterator[Any]:
    """The operations on the way to `start`, itself among them, in any order."""
    seen, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        yield node
        new = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= new
        waiting += new


def _uses(output: Any, names: Mapping[int, str]) -> dict[str, Use]:
    """The uses of parameters on the way to `output`: the operations that take them in, in the order of the call."""
    found: dict[str, Use] = {}
    for node in _nodes(output):
        for child, _ in node.next_functions:
            name = names.get(id(getattr(child, "variable", None)))
            if name is not None:
                place = node._sequence_nr()
                use = found.get(name, Use(place, place))
                found[name] = Use(min(use.first, place), max(use.last, place))
    return found


def _ends(outputs: Iterable[Any], calls: Mapping[Any, str]) -> frozenset[str]:
    """Those of the layers that were called, by the operation that gave their result, which lead to no other one."""
    nodes = {node for output in outputs for node in _nodes(output) if not hasattr(node, "variable")}
    directly, through = set(outputs), set[Any]()  # reached from an output without, and with, a layer in between
    for node in sorted(nodes, key=lambda node: node._sequence_nr(), reverse=True):  # from the outputs on
        children = {child for child, _ in node.next_functions if child is not None}
        if node in through or node in calls:
            through |= children
        if node in directly and node not in calls:
            directly |= children
    return frozenset(name for node, name in calls.items() if node in directly - through)


@contextmanager
def _noted(module: nn.Module) -> Iterator[dict[Any, str]]:
    """Inside the block the calls of linear layers and convolutions: their names by the operations of their results."""
    calls: dict[Any, str] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: calls.update({tensor.grad_fn: name for tensor in tensors(output)})

    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LAYERS)]
    handles = [layer.register_forward_hook(note(name)) for name, layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    parameters = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices), evaluating(module), torch.enable_grad():
        try:
            for parameter, _ in parameters:
                # A frozen one is on the graph too: it may be unfrozen later.
                parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
            yield
        finally:
            for parameter, required in parameters:
                parameter.requires_grad_(required)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
