"""The first batch of a kind, looked at closely: what does not fit is said before a step is taken."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from traceback import walk_tb
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from kasoku.faults import ConfigError, Fault
from kasoku.training.batches import Inputs
from kasoku.training.broadcasting import Broadcast, refused
from kasoku.training.pairing import described
from kasoku.training.tasks import Task

LIBRARIES = ("torch", "torchmetrics")


def first_loss(loss: nn.Module, task: Task, outputs: Any, y: Any, classes: int | None) -> Tensor:
    """The loss of paired outputs and targets.

    Raises:
        ConfigError: the targets are not what the task takes, the loss broadcasts, fails, or is no single number.
    """
    both = isinstance(outputs, Tensor) and isinstance(y, Tensor)
    if both and (faults := list(task.faults(outputs, y, loss, classes))):
        raise ConfigError(*faults)
    with said("model.loss", loss, outputs, y):
        value = _unless_broadcast(loss, outputs, y) if both else loss(outputs, y)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shown = f"{list(value.shape)} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        fix = "it must be a loss of (outputs, targets) with reduction mean or sum"
        raise ConfigError(Fault("model.loss", loss._get_name(), f"must give one number, gives {shown}", fix))
    return value


def fits(net: nn.Module, inputs: Inputs) -> AbstractContextManager[None]:
    """Turns an error of torch inside the block into a fault of the net, with the shapes of its inputs."""

    def fault(line: str) -> Fault:
        given = [x for x in (*inputs.args, *inputs.named.values()) if isinstance(x, Tensor)]
        shapes = ", ".join(f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}" for x in given)
        must = f"does not fit the data, its inputs are {shapes}: {line}"
        return Fault("model.net", net._get_name(), must, "choose another model or data")

    return _refused_by_libraries(fault)


def said(key: str, owner: nn.Module, outputs: Any, y: Any) -> AbstractContextManager[None]:
    """Turns an error of torch or torchmetrics inside the block into a fault of `key`, with both shapes."""
    return _refused_by_libraries(lambda line: Fault(key, owner._get_name(), f"{line}; {described(outputs, y)}"))


@contextmanager
def _refused_by_libraries(fault: Callable[[str], Fault]) -> Iterator[None]:
    """Makes the `fault` of the first line of an error; one in the user's own code is left as it is."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if not _is_of_libraries(error.__traceback__):
            raise
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(fault(line)) from error


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Inside the block `module` evaluates; afterwards each part is in the mode in which it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def _unless_broadcast(loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, y: Tensor) -> Tensor:
    try:
        with refused(outputs, y):
            if outputs.ndim > 1 and y.ndim and 1 < len(y) == outputs.shape[1]:
                loss(outputs[:-1], y[:-1])  # as many outputs as samples: either axis would fit
            return loss(outputs, y)
    except Broadcast as error:
        name = loss._get_name() if isinstance(loss, nn.Module) else "loss"
        must = f"compares them element by element, which must be of one shape, {described(outputs, y)}"
        fix = "shape the net's outputs as the targets, or choose the task that pairs them"
        raise ConfigError(Fault("model.loss", name, must, fix)) from error


def _is_of_libraries(traceback: TracebackType | None) -> bool:
    names = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(traceback)]
    return all(name == __name__ or name.split(".")[0] in (*LIBRARIES, "kasoku") for name in names)
