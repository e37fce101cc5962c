"""Keys that nothing reads: they would be ignored without a word."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.config import ranges
from kasoku.config.trust import TARGET
from kasoku.faults import MISSING, Fault, unknown

Values = Mapping[str, Any]

NODES = ("task", "data", "model", "optimizer", "scheduler", "warmup", "trainer")
OTHERS = (
    "target",
    "batch",
    "export",
    "logger",
    "callbacks",
    "recipe",
    "experiment",
    "sweeper",
    "search",
    "race",
    "launcher",
    "trust",
)
ROOT_KEYS = (*ranges.ROOT, *NODES, *OTHERS)

MODEL = ("net", "loss", "metrics", *ranges.MODEL)  # the parts of a model that has no _target_ of its own
OTHER_WORDS = {  # arguments of Lightning's Trainer that the run gives itself, and how they are given here
    "logger": "choose logger=NAME",
    "callbacks": "choose callbacks=NAME, or add one: +callbacks.mine._target_=my_package.Mine",
    "default_root_dir": "give hydra.run.dir",
}


def roots(values: Values, cfg: DictConfig) -> Iterator[Fault]:
    """Faults of the keys at the root. The user's own are those referred to."""
    text = OmegaConf.to_yaml(cfg)
    for key in sorted(values.keys() - set(ROOT_KEYS)):
        if not re.search(rf"\$\{{[^}}]*\b{re.escape(key)}\b", text):
            must = "no such key, nothing reads it"
            yield Fault(key, values[key], must, _place_of(key, values) or f"leave it out, or refer to it: ${{{key}}}")
    if isinstance(values.get("experiment"), Mapping) and values["experiment"]:
        must = f"nothing reads its keys {' '.join(values['experiment'])}"
        yield Fault("experiment", MISSING, must, "begin the file with the line # @package _global_")


def _place_of(key: str, values: Values) -> str:
    near = difflib.get_close_matches(key, ROOT_KEYS, n=1, cutoff=0.7)
    inside = [f"{name}.{key}" for name in NODES if isinstance(values.get(name), Mapping) and key in values[name]]
    deeper = [f"logger.{name}.{key}" for name, node in (values.get("logger") or {}).items() if key in (node or {})]
    return next((f"did you mean {place}?" for place in (*inside, *deeper, *near)), "")


def model(node: Values) -> Iterator[Fault]:
    """Faults of a model without a class of its own: it is made of parts, and of nothing else."""
    if not node or TARGET in node:
        return
    if "net" not in node:
        yield Fault("model.net", MISSING, "must be given, or model._target_")
    elif not isinstance(node["net"], Mapping):
        yield Fault("model.net", node["net"], "must have a _target_, the class of the net")
    inside = node["net"] if isinstance(node.get("net"), Mapping) else {}
    for name in sorted(node.keys() - set(MODEL)):
        fault = unknown(f"model.{name}", node[name], name, MODEL, "no such key, the parts of a model are")
        yield replace(fault, fix=f"did you mean model.net.{name}?") if name in inside else fault


def trainer(node: Values) -> Iterator[Fault]:
    """Faults of arguments of Lightning's Trainer that the run gives itself."""
    for name, fix in OTHER_WORDS.items():
        if name in node:
            yield Fault(f"trainer.{name}", node[name], "is set by the run and would be ignored", fix)
