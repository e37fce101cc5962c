"""The lr of what an orthogonalising optimizer leaves to Adam, by role and fan-in: for any width of the net.

An entry moves by about its lr a step under Adam. A gain or a bias is a number of its own, and so is an entry of a table
that is looked up: how large a good step is does not depend on the net's width. The outputs of the head are sums over
its inputs: what moves them by an equal amount is an lr that falls with 1 / inputs (G. Yang et al. 2022, arXiv
2203.03466; modded-nanogpt's tuned 0.004 at 768 inputs is 3 / inputs). The constants are from `python -m bench sooner`.
"""

from collections.abc import Collection

from torch import nn

from kasoku.optim.muon import kinds
from kasoku.optim.roles import Role, roles

VECTORS = 0.04  # the lr that all multipliers are of
EMBEDDINGS = 0.1
HEAD = 4.0  # over its inputs
MOST = 0.1  # of few inputs


def by_role(module: nn.Module, head: Collection[str] = ()) -> dict[str, float]:
    """Multipliers of the lr of vectors by the parameter's name; `head`: the names of the head's parameters.

    1 for vectors, 2.5 for embeddings, 100 / inputs for a head, at most 2.5, and likewise for matrices that Muon does
    not take, such as kernels of grouped convolutions. Those that it takes have 1: their lr is another one.
    """
    named, kind = dict(module.named_parameters()), kinds(module, head)
    rest = {name: role for name, role in roles(module, head).items() if kind[name] != "muon"}
    return {name: _rate(role, named[name]) / VECTORS for name, role in rest.items()}


def _rate(role: Role, parameter: nn.Parameter) -> float:
    if role == "vectors":
        return VECTORS
    if role == "embeddings":
        return EMBEDDINGS
    return min(MOST, HEAD * parameter.size(0) / parameter.numel())
