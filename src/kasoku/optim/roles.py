"""The role of each parameter in its net, which its learning rate depends on more than on anything else."""

from collections.abc import Collection
from typing import Literal

from torch import nn

from kasoku.optim.weights import spared

Role = Literal["vectors", "head", "embeddings", "matrices"]


def roles(module: nn.Module, head: Collection[str]) -> dict[str, Role]:
    """The role of each parameter of `module` by name.

    "vectors" have one dimension or none: biases, gains, scales. "head": the matrix of the layer that the output comes
    from, whether tied to an embedding or not; its parameters' names are `head`. "embeddings": the other tables that
    weight decay spares, of tokens and positions. "matrices": all the rest, kernels among them.
    """
    plain = spared(module)
    return {name: _role(name, p, name in head, name in plain) for name, p in module.named_parameters()}


def _role(name: str, parameter: nn.Parameter, is_head: bool, is_plain: bool) -> Role:
    if parameter.ndim < 2:
        return "vectors"
    return "head" if is_head else "embeddings" if is_plain else "matrices"
