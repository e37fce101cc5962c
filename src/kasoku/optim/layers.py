"""The layers of a network: how deep each parameter lies, and which ones are the head.

The order is that of the data, where a `Flow` tells it, and else that in which the layers were registered.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from torch import nn

from kasoku.optim.flow import Flow
from kasoku.optim.weights import CONTAINERS, EMBEDDINGS, LAYERS, NORMS, is_bare, layer_of, owned, spared


def head(module: nn.Module, flow: Flow | None = None) -> set[str]:
    """The names of the parameters of the head: of the layer that each output is computed by last.

    Layers side by side that nothing follows are all of the head, as the two of a distilled DeiT. A weight tied to an
    embedding is its own layer. In a trained child that the flow does not reach (a GAN's critic), and where there is no
    flow, it is the linear layer or convolution that was registered last.
    """
    reached = set(flow.first) if flow else set()
    ends = flow.last(_factors(module)) | _of_layers(module, flow.ends) if flow else set()
    trained = [child for child in module.children() if any(p.requires_grad for p in child.parameters())]
    unseen = [child for child in trained if not reached & _names(module, child)] if ends else [module]
    ends |= {name for part in unseen for name in _registered_last(module, part)}
    layers = {layer_of(name) for name, owner, _ in owned(module) if name in ends and _is_layer(owner, name)}
    return ends | {name for name, _ in module.named_parameters() if layer_of(name) in layers}


def depths(module: nn.Module, flow: Flow | None = None, top: Collection[str] = ()) -> dict[str, int]:
    """The depth of each parameter by name: 0 at the input, largest at the head.

    The depth counts the blocks of the network in the order in which data passes them, or in which they were registered
    where there is no flow. A block is a module inside the trunk; the trunk is the network itself, its containers, and
    whatever holds a list of composite blocks (a ResNet's stages, a GPT's list of layers). A norm lies as deep as the
    block before it, embeddings side by side are one block, and parameters of the trunk itself (a position embedding)
    lie at depth 0. A shared parameter counts where it is used first. Blocks that hold parameters named in `top` are the
    topmost, all at one depth.
    """
    names = {id(p): name for name, p in module.named_parameters()}
    found: dict[int, int] = {}
    depth, previous, was_top = -1, None, False
    for is_top, block in _ordered(module, flow.first if flow else {}, top):
        own = [p for p in block.parameters() if id(p) not in found]
        if not own:
            continue
        if depth < 0 or not (_joins(block, previous) or (is_top and was_top)):
            depth += 1
        previous, was_top = block, is_top
        found.update((id(p), depth) for p in own)
    return {name: found.get(key, 0) for key, name in names.items()}


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of `module` in the order in which they were registered."""
    for child in module.children():
        if type(child) in CONTAINERS or _is_trunk(child) or _is_wrapped(module, child):
            yield from blocks(child)
        else:
            yield child


def _ordered(module: nn.Module, first: Mapping[str, int], top: Collection[str]) -> list[tuple[bool, nn.Module]]:
    """The blocks by their first use, and whether they are topmost.

    A block that was not seen stays behind the one that was registered before it. What several blocks share, as a head
    tied to an embedding, makes none of them topmost.
    """
    inside = [(block, _names(module, block)) for block in blocks(module)]
    counts = Counter(name for _, names in inside for name in names)
    ends = {name for name in top if counts[name] == 1}
    placed: list[tuple[bool, int, nn.Module]] = []
    place = -1
    for block, names in inside:
        place = min((first[name] for name in names if name in first), default=place)
        placed.append((bool(names & ends), place, block))
    return [(is_top, block) for is_top, _, block in sorted(placed, key=lambda item: item[:2])]


def _names(module: nn.Module, part: nn.Module) -> set[str]:
    inside = {id(p) for p in part.parameters()}
    return {name for name, p in module.named_parameters() if id(p) in inside}


def _factors(module: nn.Module) -> set[str]:
    """The names of weights and of embeddings, which a head may be tied to."""
    plain = spared(module)
    return {
        name
        for name, owner, p in owned(module)
        if p.ndim > 1 and (name not in plain or isinstance(owner, EMBEDDINGS + LAYERS))
    }


def _of_layers(module: nn.Module, layers: Collection[str]) -> set[str]:
    return {name for layer in layers for name in _names(module, module.get_submodule(layer))}


def _is_layer(owner: nn.Module, name: str) -> bool:
    """True if the other parameters of `owner` go with its weight `name`, as a bias does."""
    return not is_bare(owner, name) or sum(p.ndim > 1 for p in owner.parameters(recurse=False)) == 1


def _registered_last(module: nn.Module, part: nn.Module) -> list[str]:
    """The names in `module` of the parameters of the last linear layer or convolution inside `part`."""
    layers = [layer for layer in part.modules() if isinstance(layer, LAYERS)]
    return sorted(_names(module, layers[-1])) if layers else []


def _is_trunk(module: nn.Module) -> bool:
    """True if somewhere inside there is a list of two or more blocks that have layers of their own."""
    lists = [inner for inner in module.modules() if type(inner) in CONTAINERS]
    return any(sum(_is_composite(child) for child in inner.children()) > 1 for inner in lists)


def _is_composite(module: nn.Module) -> bool:
    return type(module) not in CONTAINERS and any(_count(child) for child in module.children())


def _is_wrapped(parent: nn.Module, child: nn.Module) -> bool:
    """True if `child` is all there is in `parent`, as the net of a LightningModule is, and has layers of its own."""
    return _is_composite(child) and _count(parent) == _count(child)


def _count(module: nn.Module) -> int:
    return sum(1 for _ in module.parameters())


def _joins(block: nn.Module, previous: nn.Module | None) -> bool:
    return isinstance(block, NORMS) or (isinstance(block, EMBEDDINGS) and isinstance(previous, EMBEDDINGS))
