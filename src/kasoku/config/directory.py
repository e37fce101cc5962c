"""A run's directory: claimed by one run alone, given back untouched if the run is refused."""

import glob
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kasoku import home
from kasoku.faults import ConfigError, Fault
from kasoku.files import create_text, write_text

HEAD = "# overrides: "
NEXT = "config.next.yaml"  # of a resume that has not begun to train


def claim(directory: Path, config: str, overrides: Sequence[str], resumed: bool = False) -> None:
    """Make `directory` this run's own by writing its config.yaml, headed by the command's overrides.

    That of a run which is resumed stands until `confirm`.

    Raises:
        ConfigError: another run has it, or it cannot be written.
    """
    path = directory / (NEXT if resumed else "config.yaml")
    overrides = _latest(overrides)
    text = f"# {home.typed(*overrides)}\n{HEAD}{json.dumps(list(overrides))}\n{config}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (write_text if resumed else create_text)(path, text)
    except FileExistsError:
        fix = f"choose another, or go on with it: resume={directory}"
        raise ConfigError(Fault("hydra.run.dir", directory, "a run is there already", fix)) from None
    except OSError as error:
        raise ConfigError(Fault("hydra.run.dir", directory, f"cannot be written: {error.strerror}")) from None


def confirm(directory: Path) -> None:
    """Put what was claimed for a resume in the place of config.yaml: the run goes on."""
    (directory / NEXT).replace(directory / "config.yaml")


def withdraw(directory: Path) -> None:
    """Forget what was claimed for a resume, if it was not confirmed."""
    (directory / NEXT).unlink(missing_ok=True)


def of_this_start(directory: Path) -> Path:
    """The configuration that rank 0 has written for the further ranks: that of a resume, or config.yaml."""
    of_resume = directory / NEXT
    return of_resume if of_resume.exists() else directory / "config.yaml"


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
    return read_overrides(path)


def read_overrides(path: Path) -> list[str]:
    """The overrides in the head of a config.yaml.

    Raises:
        ConfigError: it has none, or what stands there are no overrides.
    """
    lines = [line for line in path.read_text().splitlines() if line.startswith(HEAD)]
    if not lines:
        raise ConfigError(Fault("resume", path, f"must begin with the line '{HEAD}[...]'"))
    try:
        stored = json.loads(lines[0].removeprefix(HEAD))
    except json.JSONDecodeError as error:
        raise ConfigError(Fault("resume", path, f"cannot be read: {error}")) from None
    return checked_overrides(stored, path)


def checked_overrides(stored: object, path: Path) -> list[str]:
    """`stored` if it is a list of overrides. Raises ConfigError for anything else, a flag of the command above all."""
    if not isinstance(stored, list) or not all(isinstance(line, str) for line in stored):
        raise ConfigError(Fault("resume", path, "must hold its overrides as a list of texts"))
    if flags := [line for line in stored if line.startswith("-") or not ("=" in line or line.startswith("~"))]:
        raise ConfigError(Fault("resume", path, f"holds {flags[0]}, which is no KEY=VALUE"))
    return stored


def last_checkpoint(directory: Path) -> Path:
    """The checkpoint that the run in `directory` is gone on from: the newest that its callbacks keep of its state.

    That is checkpoints/last.ckpt, which an interrupted run leaves, or what else `callbacks.last` calls it.
    """
    usual = directory / "checkpoints" / "last.ckpt"
    found = [path for folder, name in _kept(directory) for path in folder.glob(f"{name}.ckpt") if path.is_file()]
    return max([usual, *found] if usual.is_file() else found, key=lambda path: path.stat().st_mtime_ns, default=usual)


def _kept(directory: Path) -> Iterator[tuple[Path, str]]:
    """Folder and name, with * for what is filled in, of the checkpoints that follow no metric."""
    path = directory / "config.yaml"
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    for node in (content.get("callbacks") or {}).values():
        if isinstance(node, dict) and str(node.get("_target_")).endswith("Checkpoint") and not node.get("monitor"):
            name = re.sub(r"\{.*?\}", "*", glob.escape(str(node.get("filename") or "{epoch}-{step}")))
            yield Path(node.get("dirpath") or directory / "checkpoints"), name


def give_back(directory: Path) -> None:
    """Remove what a refused run left in `directory`, and the folders that it leaves empty, but not the present one.

    Checkpoints and results are never touched: where there are any, the folder stays as it is.
    """
    if not (directory / "result.json").exists() and not (directory / "checkpoints").exists():
        for name in ("config.yaml", "metrics.csv", "train.log"):
            (directory / name).unlink(missing_ok=True)
    for folder in (directory, *list(directory.parents)[:2]):
        if Path.cwd().is_relative_to(folder.absolute()):
            return
        try:
            folder.rmdir()
        except OSError:
            return
