"""A run's directory: claimed by one run alone, given back untouched if the run is refused."""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from kasoku.faults import ConfigError, Fault
from kasoku.files import write_text

HEAD = "# overrides: "


def claim(directory: Path, config: str, overrides: Sequence[str], resumed: bool = False) -> None:
    """Make `directory` this run's own by writing its config.yaml, headed by the command's overrides.

    Raises:
        ConfigError: another run has it, or it cannot be written.
    """
    path = directory / "config.yaml"
    overrides = _latest(overrides)
    text = f"# python train.py {shlex.join(overrides)}\n{HEAD}{json.dumps(list(overrides))}\n{config}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not resumed:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        write_text(path, text)
    except FileExistsError:
        fix = f"choose another, or go on with it: resume={directory}"
        raise ConfigError(Fault("hydra.run.dir", directory, "a run is there already", fix)) from None
    except OSError as error:
        raise ConfigError(Fault("hydra.run.dir", directory, f"cannot be written: {error.strerror}")) from None


def _latest(overrides: Sequence[str]) -> list[str]:
    """`overrides` without those that a later one of the same key replaces."""
    last = {override.split("=")[0]: i for i, override in enumerate(overrides)}
    return [override for i, override in enumerate(overrides) if last[override.split("=")[0]] == i]


def overrides_of(directory: Path) -> list[str]:
    """The overrides that the run in `directory` was started with.

    Raises:
        ConfigError: no run is there.
    """
    path = directory / "config.yaml"
    if not directory.is_dir():
        raise ConfigError(
            Fault("resume", directory, "no such directory", "give the directory of a run, as runs/train/...")
        )
    if not path.is_file():
        raise ConfigError(Fault("resume", directory, "holds no config.yaml, so no run is there"))
    lines = [line for line in path.read_text().splitlines() if line.startswith(HEAD)]
    if not lines:
        raise ConfigError(Fault("resume", path, f"must begin with the line '{HEAD}[...]'"))
    return json.loads(lines[0].removeprefix(HEAD))


def give_back(directory: Path) -> None:
    """Remove what a refused run left in `directory`, and the folders that it leaves empty.

    Checkpoints and results are never touched: where there are any, the folder stays as it is.
    """
    if not (directory / "result.json").exists() and not (directory / "checkpoints").exists():
        for name in ("config.yaml", "metrics.csv", "train.log"):
            (directory / name).unlink(missing_ok=True)
    for folder in (directory, *list(directory.parents)[:2]):
        try:
            folder.rmdir()
        except OSError:
            return
