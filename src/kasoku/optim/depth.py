"""How deep in a network each parameter lies: what layer-wise lr decay goes by."""

from collections.abc import Iterator

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def depths(module: nn.Module) -> dict[str, int]:
    """The depth of each parameter by name: 0 at the input, largest at the head.

    The depth counts the blocks of the network in the order in which they were registered. A block is a module inside
    the trunk; the trunk is the network itself, its containers, and whatever holds a list of composite blocks (a
    ResNet's stages, a GPT's list of layers). A norm lies as deep as the block before it, embeddings side by side are
    one block, and parameters of the trunk itself (a position embedding) lie at depth 0. A shared parameter counts
    where it is registered first.
    """
    found: dict[int, int] = {}
    depth, previous = -1, None
    for block in blocks(module):
        own = [p for p in block.parameters() if id(p) not in found]
        if not own:
            continue
        if depth < 0 or not _joins(block, previous):
            depth += 1
        previous = block
        found.update((id(p), depth) for p in own)
    return {name: found.get(id(p), 0) for name, p in module.named_parameters()}


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of `module` in the order in which they were registered."""
    for child in module.children():
        if type(child) in CONTAINERS or _is_trunk(child) or _is_wrapped(module, child):
            yield from blocks(child)
        else:
            yield child


def _is_trunk(module: nn.Module) -> bool:
    """Whether somewhere inside there is a list of two or more blocks that have layers of their own."""
    lists = [inner for inner in module.modules() if type(inner) in CONTAINERS]
    return any(sum(_is_composite(child) for child in inner.children()) > 1 for inner in lists)


def _is_composite(module: nn.Module) -> bool:
    return type(module) not in CONTAINERS and any(_count(child) for child in module.children())


def _is_wrapped(parent: nn.Module, child: nn.Module) -> bool:
    """Whether `child` is all there is in `parent`, as the net of a LightningModule is, and has layers of its own."""
    return _is_composite(child) and _count(parent) == _count(child)


def _count(module: nn.Module) -> int:
    return sum(1 for _ in module.parameters())


def _joins(block: nn.Module, previous: nn.Module | None) -> bool:
    return isinstance(block, NORMS) or (isinstance(block, EMBEDDINGS) and isinstance(previous, EMBEDDINGS))
