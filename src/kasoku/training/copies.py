"""Copies of a module, also of one that keeps tensors with a graph."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from kasoku.faults import ConfigError, Fault
from kasoku.optim.flow import mapped, tensors

M = TypeVar("M", bound=nn.Module)


def copied(module: M, needed_by: str) -> M:
    """A deep copy of `module`.

    Raises:
        ConfigError: something that it holds cannot be copied; `needed_by` is the key that asks for the copy.
    """
    with detached(module, needed_by):
        return copy.deepcopy(module)


@contextmanager
def detached(module: nn.Module, needed_by: str) -> Iterator[None]:
    """Inside the block no attribute of `module` hangs on a graph, so that copy.deepcopy takes it.

    torch refuses to copy results of a computation: the weight that the older torch.nn.utils.weight_norm computes of its
    parameters, a hidden state that was kept. They are back afterwards.

    Raises:
        ConfigError: what the block copies holds something else that cannot be copied.
    """
    kept: list[tuple[nn.Module, str, Any]] = []
    for inner in module.modules():
        for name, value in vars(inner).items():
            if name not in ("_parameters", "_modules") and not all(tensor.is_leaf for tensor in tensors(value)):
                kept.append((inner, name, value))
    for inner, name, value in kept:
        vars(inner)[name] = mapped(Tensor.detach, value)
    try:
        yield
    except (TypeError, RuntimeError, NotImplementedError) as error:
        must = f"cannot be copied, which {needed_by} needs: {error}"
        raise ConfigError(Fault("model", type(module).__name__, must, f"do without {needed_by}")) from error
    finally:
        for inner, name, value in kept:
            vars(inner)[name] = value
