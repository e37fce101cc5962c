"""resume=DIR: the command of the run, or of the sweep with -m, that is gone on with, in front of the present one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.faults import ConfigError, Fault, show
from kasoku.training.directory import overrides_of


def with_stored_overrides(argv: Sequence[str]) -> list[str]:
    """`argv`, if it has resume=DIR, with the run's own overrides before it and its directory as hydra.run.dir.

    With -m, DIR is a sweep's.

    What `argv` overrides comes later and wins, so that a resume changes on purpose what it names and nothing else.

    Raises:
        ConfigError: no run is in DIR.
    """
    given = [argument.removeprefix("resume=") for argument in argv if argument.startswith("resume=")]
    if not given or given[-1] in ("", "null"):
        return list(argv)
    directory = Path(given[-1])
    flags = [argument for argument in argv if argument.startswith("-")]
    rest = [argument for argument in argv if argument not in flags]
    if _multirun(argv):
        return [*flags, *overrides_of_sweep(directory), *rest, f"hydra.sweep.dir={directory}"]
    return [*flags, *overrides_of(directory), *rest, f"hydra.run.dir={directory}"]


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
        return [*stored["overrides"], *([f"sweeper.study={stored['study']}"] if "study" in stored else [])]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(Fault("resume", path, f"cannot be read: {error}")) from None


def _multirun(argv: Sequence[str]) -> bool:
    return any(argument in ("-m", "--multirun") for argument in argv)


@dataclass(frozen=True)
class Change:
    """A key whose value differs between the run as it was and as it is to go on."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.key}: {show(self.old)} -> {show(self.new)}"


def changes(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> list[Change]:
    """What the resumed run changes on purpose: keys that the new command names.

    Raises:
        ConfigError: something else changed since (a file in conf/), or the optimizer itself, whose state cannot be
            carried over.
    """
    before, now = _leaves(OmegaConf.load(directory / "config.yaml")), _leaves(cfg)
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
    return key != "resume" and before.get(key) != now.get(key)


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
