"""State that each of several processes has of its own, gathered for a checkpoint and handed back."""

from collections.abc import Sequence
from typing import Any

import torch.distributed as dist


def of_all(value: Any) -> list[Any]:
    """`value` of every process, by rank. All processes must call it."""
    if not _several():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def own(values: Sequence[Any]) -> Any:
    """This process's part of what `of_all` gathered; the first one's where there were fewer processes then."""
    rank = dist.get_rank() if _several() else 0
    return values[rank] if rank < len(values) else values[0]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
