"""The data of a run: the LightningDataModule that `data._target_` makes, or one around the dataset that it makes."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from kasoku.command.make import INSTRUCTIONS, Maker, is_node
from kasoku.data.foreign import datamodule
from kasoku.data.module import DataModule
from kasoku.data.wrapped import Options
from kasoku.faults import Fault, unknown
from kasoku.signatures import check_call

PARTS = ("val", "test")
OPTIONS = (*PARTS, *(field.name for field in fields(Options)))  # of data around a dataset


def make_data(maker: Maker, node: DictConfig, seed: int) -> pl.LightningDataModule | None:
    """The data that `node` describes; None where it is at fault, which is noted.

    The keys that the target does not take are those of `kasoku.data.wrapped.Options`, and `val` and `test`, each a node
    that makes a dataset or DataLoader.
    """
    given: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    target = maker.locate(given, "data")
    if target is None or _is_whole(target):
        return maker.make(given, "data")
    taken = inspect.signature(target).parameters
    options = {name: given.pop(name) for name in OPTIONS if name in given and name not in taken}
    plain = {name: value for name, value in options.items() if not is_node(value)}
    faults = [*_strange(given, taken), *check_call(Options, {n: plain[n] for n in plain.keys() - PARTS}, "data.")]
    if faults:
        maker.faults += faults
        return None
    known = len(maker.faults)
    made = maker.make(given, "data")
    nodes = {name: maker.make(value, f"data.{name}") for name, value in options.items() if is_node(value)}
    if len(maker.faults) > known:
        return None
    return maker.attempt(lambda: datamodule(made, {"seed": seed} | plain | nodes, str(node["_target_"])))


def _is_whole(target: Callable[..., Any]) -> bool:
    """True for kasoku's own data, and what derives from it: the class takes all of its keys itself."""
    return inspect.isclass(target) and issubclass(target, DataModule)


def _strange(given: DictConfig, taken: Mapping[str, inspect.Parameter]) -> list[Fault]:
    """The faults of the keys that neither the target nor the data around it takes."""
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return []
    names = dict.fromkeys([*taken, *OPTIONS])
    strange = [str(name) for name in given if name not in taken and name not in INSTRUCTIONS]
    return [unknown(f"data.{name}", given[name], name, names, "no such key, the keys are") for name in strange]
