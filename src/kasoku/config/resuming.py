"""resume=DIR puts the stored command of that run, or with -m of that sweep, before the present one."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku import home
from kasoku.config import compose, deprecated
from kasoku.config.checks import is_of_a_sweep
from kasoku.config.directory import checked_overrides, overrides_of
from kasoku.config.lines import override_of, text_of
from kasoku.config.overrides import root
from kasoku.config.places import faults_of_links
from kasoku.faults import ConfigError, Fault, show

RESUME = "resume="


def with_stored_overrides(argv: Sequence[str]) -> list[str]:
    """`argv`, if it has resume=DIR, with the run's own overrides before it and its directory as hydra.run.dir.

    With -m, DIR is a sweep's.

    What `argv` overrides comes later and wins, so that a resume changes on purpose what it names and nothing else.

    Raises:
        ConfigError: no run is in DIR, or the command names what a resume takes from there: directory and weights.
    """
    flags, overrides = compose.parted(argv)
    given = [text_of(override) for override in overrides if override.startswith(RESUME)]
    if not given or given[-1] in (None, ""):
        return list(argv)
    directory, is_sweep = Path(str(given[-1])), compose.is_sweep(argv)
    here = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    if faults := [*_elsewhere(overrides, here, directory), *_other_weights(overrides), *faults_of_links(directory)]:
        raise ConfigError(*faults)
    stored = overrides_of_sweep(directory) if is_sweep else overrides_of(directory)
    quoted = override_of("resume", str(directory))
    rest = [quoted if override.startswith(RESUME) else override for override in overrides]
    kept = [override for override in rest if not override.startswith(f"{here}=")]
    return [*flags, *stored, *kept, override_of(here, str(directory))]


def _elsewhere(overrides: Sequence[str], here: str, directory: Path) -> Iterator[Fault]:
    for override in overrides:
        text = text_of(override) if override.startswith(f"{here}=") else None
        if text is not None and Path(text).resolve() != directory.resolve():
            yield Fault(here, text, f"resume goes on in its own directory, {directory}", "leave one of the two out")


def _other_weights(overrides: Sequence[str]) -> Iterator[Fault]:
    for override in overrides:
        if override.startswith("checkpoint=") and (text := text_of(override)):
            must = "resume goes on from the run's own last.ckpt"
            yield Fault("checkpoint", text, must, "leave resume= out to start a new run from these weights")


def overrides_of_sweep(directory: Path) -> list[str]:
    """The overrides that the sweep in `directory` was started with, and the name of its study.

    Raises:
        ConfigError: no sweep is there.
    """
    path = directory / "sweep.json"
    if not path.is_file():
        must = "holds no sweep.json, so no sweep is there" if directory.is_dir() else "there is no such folder"
        raise ConfigError(Fault("resume", directory, must, "give the directory of a sweep, as sweeps/train/..."))
    try:
        stored = json.loads(path.read_text())
        overrides = stored["overrides"]
        study = [f"sweeper.study={stored['study']}"] if "study" in stored else []
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(Fault("resume", path, f"cannot be read: {error}")) from None
    lines = checked_overrides(overrides, path)
    if home.WORKER in os.environ:  # it was launched, and launches nothing
        lines = [line for line in lines if root(line) != "launcher"]
    return [*lines, *study]


@dataclass(frozen=True)
class Change:
    """A key whose value differs between the run as it was and as it is to go on."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.key}: {show(self.old)} -> {show(self.new)}"


def changes(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> list[Change]:
    """The changes that the resumed run makes on purpose: keys that the new command names.

    Raises:
        ConfigError: something else changed since (a file in conf/), or the optimizer itself, whose state cannot be
            carried over.
    """
    stored: Any = OmegaConf.load(directory / "config.yaml")
    deprecated.move(stored)
    before, now = _leaves(stored), _leaves(cfg)
    found = [Change(key, before.get(key), now.get(key)) for key in sorted({*before, *now}) if _differ(key, before, now)]
    named = [override.lstrip("+~").split("=")[0] for override in overrides[len(overrides_of(directory)) :]]
    unnamed = [change for change in found if not any(_covers(name, change.key) for name in named)]
    silent = [change for change in unnamed if change.key in before]  # a key that is new since has its default
    faults = [
        Fault(change.key, change.new, f"was {show(change.old)} in this run", f"give it: {change.key}=...")
        for change in silent
    ]
    if "optimizer._target_" in now and now["optimizer._target_"] != before.get("optimizer._target_"):
        must = f"the state in the checkpoint is that of {before.get('optimizer._target_')}"
        fix = f"to start a new run from its weights: checkpoint={directory}/checkpoints/last.ckpt without resume="
        faults = [Fault("optimizer", now["optimizer._target_"], must, fix)]
    if faults:
        raise ConfigError(*faults)
    return found


def _differ(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return key != "resume" and not is_of_a_sweep(key) and before.get(key) != now.get(key)


def _covers(name: str, key: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _leaves(cfg: Any) -> dict[str, Any]:
    """Dotted key -> value as written, interpolations unresolved."""
    return dict(_walk(OmegaConf.to_container(cfg, resolve=False), ""))


def _walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _walk(value, f"{key}.{name}".lstrip("."))
    else:
        yield key, node
