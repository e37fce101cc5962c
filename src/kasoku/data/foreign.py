"""Data of one's own, of any kind that torch and Lightning know, as a LightningDataModule."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, IterableDataset

from kasoku.data.exact import made_exact
from kasoku.data.folders import PARTS
from kasoku.data.module import DataModule
from kasoku.data.wrapped import INEXACT, Loaders, Numbered, Options
from kasoku.faults import ConfigError, Fault
from kasoku.signatures import check_call

log = logging.getLogger("kasoku")

KINDS = "a LightningDataModule, or a Dataset, an IterableDataset or a DataLoader of torch"
EXACT = "data.order=exact makes it exact"

Kind = Literal["module", "loader", "stream", "numbered", ""]


def kind_of(made: object) -> Kind:
    """The kind of data that `made` is; "" for none of KINDS. Whatever has `len` and `[number]` is a Dataset."""
    if isinstance(made, pl.LightningDataModule):
        return "module"
    if isinstance(made, DataLoader):
        return "loader"
    if isinstance(made, IterableDataset):
        return "stream"
    is_numbered = hasattr(type(made), "__len__") and hasattr(type(made), "__getitem__")
    return "numbered" if is_numbered and not isinstance(made, str | bytes | Mapping) else ""


def datamodule(made: Any, options: Mapping[str, Any], name: str) -> pl.LightningDataModule:
    """The LightningDataModule around `made`, which `name` names: a dataset or DataLoader, or several by part.

    Several are a mapping, by the names of `kasoku.data.folders.PARTS`, or a tuple (train, val, test).

    Args:
        options: those of Options; `val` and `test`, datasets or DataLoaders too.

    Raises:
        ConfigError: `made` is no data, or an option does not fit it.
    """
    if isinstance(made, DataModule):
        return made  # in an exact order as it is
    if kind_of(made) == "module":
        return _module(made, options, name)
    parts = _parts(made) | {part: options[part] for part in ("val", "test") if options.get(part) is not None}
    settings = {key: value for key, value in options.items() if key not in PARTS}
    faults = [*check_call(Options, settings, "data."), *_faults(parts, name)]
    if faults:
        raise ConfigError(*faults)
    given = Options(**settings)
    if "val" not in parts and (kind_of(parts["train"]) != "numbered" or not given.val_fraction):
        log.info("data: nothing to validate with; give data.val, a dataset or DataLoader")
    if kind_of(parts["train"]) == "numbered":
        return Numbered(parts, given)
    data = Loaders(parts, given)
    if given.order == "exact":
        return made_exact(data, given.seed)
    advice = EXACT if kind_of(parts["train"]) == "loader" else "an IterableDataset has no numbered samples"
    log.info("data: the order of %s is its own: %s; %s", name, INEXACT, advice)
    return data


def _module(data: pl.LightningDataModule, options: Mapping[str, Any], name: str) -> pl.LightningDataModule:
    faults = [
        Fault(f"data.{key}", value, f"is for data around a Dataset, and {name} is a LightningDataModule")
        for key, value in options.items()
        if key not in ("order", "seed")
    ]
    given = {key: value for key, value in options.items() if key in ("order", "seed")}
    if faults := [*faults, *check_call(Options, given, "data.")]:
        raise ConfigError(*faults)
    if Options(**given).order == "exact":
        return made_exact(data, Options(**given).seed)
    log.info("data: the order of %s is its own: %s; %s", name, INEXACT, EXACT)
    return data


def _parts(made: Any) -> dict[str, Any]:
    if isinstance(made, Mapping):
        found = {part: [made[key] for key in made if str(key).casefold() in names] for part, names in PARTS.items()}
        return {part: values[0] for part, values in found.items() if len(values) == 1}
    if isinstance(made, tuple) and all(isinstance(part, Dataset | DataLoader) for part in made):
        return dict(zip(PARTS, made, strict=False))
    return {"train": made}


def _faults(parts: Mapping[str, Any], name: str) -> list[Fault]:
    if "train" not in parts:
        return [Fault("data", name, "must have one part that is called train")]
    wrong = {part: made for part, made in parts.items() if not kind_of(made) or kind_of(made) == "module"}
    faults = [
        Fault(_key(part), name, f"must make {KINDS}, and {type(made).__name__} is none") for part, made in wrong.items()
    ]
    empty = [part for part, made in parts.items() if kind_of(made) == "numbered" and not len(made)]
    return faults + [Fault(_key(part), name, "has no samples") for part in empty]


def _key(part: str) -> str:
    return "data" if part == "train" else f"data.{part}"
