"""A checkpoint from somebody else: plain values, which Lightning acts upon once it goes on from it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kasoku.config.places import leads_out
from kasoku.faults import ConfigError, Fault

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def refuse_places(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError where the checkpoint read from `path` has a callback remove files that are not its own.

    ModelCheckpoint removes the files that its state names, if they seem to lie in its folder: through .. all do.
    """
    states = checkpoint.get("callbacks") or {}
    if found := [text for state in states.values() for text in _paths(state) if _strays(text)]:
        raise ConfigError(Fault("resume", path, f"names {found[0]} as a checkpoint of the run, which leads out of it"))


def _paths(state: Any) -> Iterator[str]:
    if isinstance(state, Mapping):
        yield from (state[name] for name in PATHS if isinstance(state.get(name), str))
        best = state.get("best_k_models")
        yield from (text for text in (best if isinstance(best, Mapping) else ()) if isinstance(text, str))


def _strays(text: str) -> bool:
    return leads_out(text.lstrip("/")) if Path(text).is_absolute() else leads_out(text)
