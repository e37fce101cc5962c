"""The place of kasoku's conf, the name of its command, and those of its environment variables."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

TRUST = "KASOKU_TRUST"  # dotted names, parted by commas, that a _target_ may name besides those of conf/train.yaml
RANK_OF = "KASOKU_RANK_OF"  # the run's directory, for the further ranks that Lightning starts with the same command
TRIAL = "KASOKU_TRIAL"  # set in a trial: its further ranks take part in the decision to stop
STORAGE = "KASOKU_STORAGE"  # the storage that a worker joins: a command line, with a password, is for everybody to read
PROJECT = "KASOKU_PROJECT"  # what the project of the present folder adds to the command, for its own processes
WORKER = "KASOKU_WORKER"  # set in a worker: the token that ends it when the study shows it

FOLDER_FLAGS = {  # of Hydra, by their long and short names
    "--config-dir": "--config-dir",
    "-cd": "--config-dir",
    "--config-name": "--config-name",
    "-cn": "--config-name",
    "--config-path": "--config-path",
    "-cp": "--config-path",
}

_PACKAGE = Path(__file__).parent


def conf_dir() -> Path:
    """The folder of train.yaml: inside an installed package, at the top of a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "conf"


def program() -> str:
    """The words that a person types to start the command: python train.py, kasoku, or python -m kasoku."""
    if _is_module():
        return "python -m kasoku"
    is_installed = conf_dir().is_relative_to(_PACKAGE)
    return "kasoku" if is_installed or Path(sys.argv[0]).stem == "kasoku" else "python train.py"


def typed(*words: str) -> str:
    """The command with these words as it can be typed here: with what is trusted, and where configurations are.

    What the project of the present folder says anyway is left out.
    """
    project = json.loads(os.environ.get(PROJECT, "{}"))
    names = [name for name in os.environ.get(TRUST, "").split(",") if name not in ("", *project.get("trust", ()))]
    before = f"{TRUST}={shlex.quote(','.join(names))} " if names else ""
    flags = folder_flags(sys.argv[1:])
    flags = project["typed"] if project and flags == project["flags"] else flags
    return f"{before}{program()} {shlex.join([*flags, *words])}"


def folder_flags(argv: Sequence[str]) -> list[str]:
    """The flags among the words `argv` that say where configurations are, each as one word."""
    found = {}
    for word, after in zip(argv, [*argv[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name in FOLDER_FLAGS:
            found[FOLDER_FLAGS[name]] = value if equals else after
    return [f"{name}={value}" for name, value in found.items()]


def without_folder_flags(argv: Sequence[str]) -> list[str]:
    """The other words of `argv`."""
    is_value = [False, *(word in FOLDER_FLAGS for word in argv)]
    others = zip(argv, is_value, strict=False)
    return [word for word, value in others if not value and word.partition("=")[0] not in FOLDER_FLAGS]


def command() -> list[str]:
    """The words with which another process starts this very command."""
    return [sys.executable, "-m", "kasoku"] if _is_module() else [sys.executable, str(Path(sys.argv[0]).absolute())]


def shown(path: Path) -> str:
    """`path` from here, if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _is_module() -> bool:
    return Path(sys.argv[0]) == _PACKAGE / "__main__.py"
