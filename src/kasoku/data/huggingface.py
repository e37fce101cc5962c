"""A dataset of Hugging Face's `datasets` from disk, whose samples are dicts of tensors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kasoku.faults import ConfigError, Fault, unknown
from kasoku.files import kind


def from_disk(path: str | None, columns: list[str] | None = None) -> Any:
    """The dataset that `save_to_disk` wrote into the folder `path`, or a mapping of several by part; memory-mapped.

    Samples are dicts of tensors by column. The names of the one ClassLabel column, if there is one, are its `classes`.

    Args:
        columns: those that the samples have; None: all.

    Raises:
        ConfigError: naming `data.path`, `data.columns`, or `data` where the package is missing.
    """
    if path is None:
        raise ConfigError(Fault("data.path", None, "must name a folder that save_to_disk wrote", "data.path=FOLDER"))
    if (noun := kind(Path(path))) != "folder":
        raise ConfigError(Fault("data.path", path, "there is no such folder" if noun == "nothing" else f"is a {noun}"))
    found = _loaded(path)
    if isinstance(found, Mapping):
        return {name: _formatted(dataset, columns) for name, dataset in found.items()}
    return _formatted(found, columns)


def _loaded(path: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        fix = "pip install datasets"
        raise ConfigError(Fault("data", "huggingface", f"needs a package ({error})", fix)) from error
    try:
        return datasets.load_from_disk(path)
    except Exception as error:  # damaged files fail in any way
        must = f"must be a folder that save_to_disk wrote ({type(error).__name__}: {error})"
        raise ConfigError(Fault("data.path", path, must)) from error


def _formatted(dataset: Any, columns: Sequence[str] | None) -> Any:
    names = dataset.column_names
    if strange := [name for name in columns or () if name not in names]:
        what = "no such column, the columns are"
        raise ConfigError(*(unknown("data.columns", columns, name, names, what) for name in strange))
    formatted = dataset.with_format("torch", columns=list(columns or names))
    labels = [feature.names for feature in dataset.features.values() if type(feature).__name__ == "ClassLabel"]
    if len(labels) == 1:
        formatted.classes = labels[0]
    return formatted
