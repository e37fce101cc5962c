"""A class of one's own in the place of another: `model.net._target_=mine.Net model.net.hidden=64`, or so in a file.

The keys that stand in the node belong to the class that is replaced: they go, and what the command or the file gives
the new one need not be among them. What fits it is judged by its signature, once it is imported to be built.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from kasoku.config.trust import TARGET

# null in a file: taken from the data and the task
FROM_DATA = ("input_shape", "num_classes", "num_outputs", "num_labels", "target_mean", "target_std", "task")
SCALING = ("scale_lr", "reference_batch_size", "scale_steps", "reference_steps")
OF_EVERY_OPTIMIZER = ("groups", "tricks", *SCALING, "find_lr", "search")  # conf/_optimizer.yaml
OF_THE_RUN = ("recipe", "load")  # keys of a model that are none of its arguments
WHOLE = ("trainer", "hydra")  # their keys are those of Lightning's Trainer and of Hydra, whatever subclass takes them


def adding(argv: Sequence[str]) -> list[str]:
    """`argv` with ++ before what it sets inside the nodes that it replaces, where Hydra would look for an old key."""
    nodes = given(argv)
    return [f"++{word.lstrip('+')}" if _is_inside(word, nodes) else word for word in argv]


def given(lines: Sequence[str]) -> dict[str, set[str]]:
    """The nodes whose `_target_` is among the overrides `lines`, and the names that these set in each."""
    pairs = [(key.lstrip("+"), value) for key, value in map(_parted, lines) if key and not key.startswith(("-", "~"))]
    mappings = {key: names for key, value in pairs if TARGET in (names := _names(value))}
    nodes = {key.removesuffix(f".{TARGET}") for key, _ in pairs if key.endswith(f".{TARGET}")} | mappings.keys()
    inside = {node: {_first(key, node) for key, _ in pairs if key.startswith(f"{node}.")} for node in nodes}
    return {node: names | mappings.get(node, set()) for node, names in inside.items()}


def drop(cfg: DictConfig, lines: Sequence[str]) -> None:
    """Take out of `cfg` what the classes that `lines` replaced were given by their files.

    What the data fills in stays, and what the project reads itself; so do the parts of a model (its net, its loss):
    the new module may ask for one by name.
    """
    for key, names in given(lines).items():
        _keep(cfg, key, {*names, *FROM_DATA})


@dataclass(frozen=True)
class Layer:
    """One of the files that a configuration is composed of, in their order.

    Attributes:
        path: its group and option.
        parent: the file whose defaults list names it.
        nodes: each mapping that it sets, by its dotted key.
    """

    path: str
    parent: str
    nodes: Mapping[str, Mapping[str, object]]


def drop_of_files(cfg: DictConfig, layers: Sequence[Layer]) -> None:
    """Take out of `cfg`, which is composed of `layers`, what a class was given whose node another layer replaced.

    A file that names another one in its own defaults list inherits the keys of that one.
    """
    parents = {layer.path: layer.parent for layer in layers}
    for key in dict.fromkeys(key for layer in layers for key in layer.nodes):
        written: Layer | None = None  # where the present class is named
        names, is_replaced = set[str](), False
        for layer in layers:
            node = layer.nodes.get(key, {})
            if TARGET in node:
                if (
                    written
                    and written.nodes[key][TARGET] != node[TARGET]
                    and layer.path not in _above(written, parents)
                ):
                    names, is_replaced = set(), True
                written = layer
            names |= {str(name) for name in node}
        if is_replaced:
            _keep(cfg, key, names)


def _above(layer: Layer, parents: Mapping[str, str]) -> Iterator[str]:
    """The files that name `layer` in their defaults lists, directly or by others."""
    path: str | None = layer.parent
    while path and path != parents.get(path):
        yield path
        path = parents.get(path)


def mappings(values: DictConfig) -> dict[str, Mapping[str, object]]:
    """Each mapping in `values` by its dotted key; what they refer to is left as it is written."""
    found: dict[str, Mapping[str, object]] = {}
    todo: list[tuple[str, object]] = [("", OmegaConf.to_container(values, resolve=False))]
    while todo:
        key, node = todo.pop()
        if isinstance(node, dict):
            found[key] = node
            todo += [(f"{key}.{name}".strip("."), item) for name, item in node.items()]
    return found


def _keep(cfg: DictConfig, key: str, names: set[str]) -> None:
    """Leave in the node `key` the `names`, what the data fills in, what the project reads, and the parts of a model."""
    node = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
    if not isinstance(node, DictConfig) or key.split(".")[0] in WHOLE:
        return
    kept = {*names, *{"optimizer": OF_EVERY_OPTIMIZER, "model": OF_THE_RUN}.get(key, ())}
    values = dict(OmegaConf.to_container(node, resolve=False))  # type: ignore[arg-type]
    with open_dict(node):
        for name in list(node):
            is_part = key == "model" and isinstance(values[name], dict)
            is_of_data = name in FROM_DATA and values[name] is None
            if not (str(name).startswith("_") or name in kept or is_part or is_of_data):
                del node[name]


def _is_inside(word: str, nodes: Mapping[str, object]) -> bool:
    key, value = _parted(word)
    key = key.lstrip("+")
    return any(key.startswith(f"{node}.") or (key == node and value.startswith("{")) for node in nodes)


def _parted(line: str) -> tuple[str, str]:
    key, equals, value = line.partition("=")
    return (key, value) if equals else ("", "")


def _names(value: str) -> set[str]:
    """The names in an override's value that is a mapping, as in model.net={_target_:mine.Net,hidden:64}."""
    if not (value.startswith("{") and TARGET in value):
        return set()
    try:
        found = OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        return set()
    return {str(name) for name in found} if isinstance(found, dict) else set()


def _first(key: str, node: str) -> str:
    return key.removeprefix(f"{node}.").split(".")[0]
