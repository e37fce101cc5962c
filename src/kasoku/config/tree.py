"""A composed configuration as plain dictionaries, with what is missing or cannot be resolved as faults."""

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kasoku.faults import MISSING, Fault

DEEPEST = 40  # a node that refers to one around it would go on for ever
_LEFT_OUT = object()


def plain(cfg: DictConfig) -> tuple[dict[str, Any], list[Fault]]:
    """`cfg` with every interpolation resolved, as dictionaries, lists and values, and a fault for each that cannot be.

    Keys at fault are left out, so that what remains can be checked as well. So is Hydra's own node.
    """
    faults: list[Fault] = []
    names = [name for name in cfg if name != "hydra"]
    items = {name: _child(cfg, name, str(name), faults) for name in names}
    return {str(name): item for name, item in items.items() if item is not _LEFT_OUT}, faults


def _plain(node: Any, prefix: str, faults: list[Fault]) -> Any:
    if not isinstance(node, DictConfig | ListConfig):
        return node
    if node._is_none():
        return None
    names = range(len(node)) if isinstance(node, ListConfig) else list(node)
    items = {name: _child(node, name, f"{prefix}{name}", faults) for name in names}
    kept = {name: item for name, item in items.items() if item is not _LEFT_OUT}
    return list(kept.values()) if isinstance(node, ListConfig) else kept


def _child(node: DictConfig | ListConfig, name: Any, key: str, faults: list[Fault]) -> Any:
    if OmegaConf.is_missing(node, name):
        faults.append(Fault(key, "???", "must be given", f"add {key}=VALUE"))
    elif key.count(".") >= DEEPEST:
        outermost = ".".join(key.split(".")[:2])
        faults.append(Fault(outermost, MISSING, "refers to a node that refers back to it"))
    else:
        try:
            return _plain(node[name], f"{key}.", faults)
        except OmegaConfBaseException as error:
            written = node._get_node(name)
            faults.append(unresolved(key, getattr(written, "_value", lambda: None)(), error))
    return _LEFT_OUT


def unresolved(key: str, written: object, error: OmegaConfBaseException) -> Fault:
    """The fault of an interpolation, `written` as in the file or on the command line."""
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0]).strip('"')
    return Fault(key, written, f"cannot be resolved: {reason}")
