"""A project of one's own: kasoku new DIR

Writes a small one into the new folder DIR: conf with a net, data and a task, the code of them, tests, a Makefile. It
trains at once: cd DIR && kasoku
"""

import keyword
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kasoku import home
from kasoku.command import schema
from kasoku.faults import ConfigError, Fault

USAGE = "usage: kasoku new DIR"
HIDDEN = {"gitignore": ".gitignore", "vscode": ".vscode"}  # by their names in the template

_TEMPLATE = Path(__file__).parents[1] / "template"


def main(arguments: Sequence[str]) -> int:
    """Write the project `arguments[0]`, and say how to go on; 0, or 2 where it cannot be.

    Raises:
        ConfigError: there is something already, or the folder's name is none that Python can import.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        is_asked = list(arguments) in (["-h"], ["--help"])
        print(__doc__ if is_asked else USAGE)
        return 0 if is_asked else 2
    folder = Path(arguments[0])
    written = write(folder)
    written += schema.write(folder, trusts=True)[0]
    for path in written:
        print(path)
    print(f"train it with: cd {shlex.quote(str(folder))} && {home.program()}")
    return 0


def write(folder: Path) -> list[Path]:
    """Write the project into `folder`, which is new or empty; the files.

    Raises:
        ConfigError: there is something already, it cannot be written, or its name is none that Python can import.
    """
    name = folder.resolve().name
    package = package_of(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(Fault("new", folder, "is there already, and not empty", "give another folder"))
    try:
        return [_write(path, folder, name, package) for path in sorted(_TEMPLATE.rglob("*")) if _is_part(path)]
    except OSError as error:
        raise ConfigError(Fault("new", folder, f"cannot be written: {error.strerror}")) from None


def package_of(name: str) -> str:
    """The package of a project that is called `name`: my-net -> my_net.

    Raises:
        ConfigError: there is none of that name, or it is taken.
    """
    package = re.sub(r"[-. ]+", "_", name).lower()
    taken = {*sys.stdlib_module_names, "kasoku", "torch", "tests", "conf", "numpy", "hydra", "lightning", "wandb"}
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", package) or keyword.iskeyword(package):
        must = "must be a name that Python can import, of ASCII letters, digits, - and _, the first no digit"
        raise ConfigError(Fault("new", name, must))
    if package in taken:
        raise ConfigError(Fault("new", name, "would hide another package of that name", f"such as my-{name}"))
    return package


def _is_part(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc"


def _write(path: Path, folder: Path, name: str, package: str) -> Path:
    parts = path.relative_to(_TEMPLATE).parts
    file = folder.joinpath(*(HIDDEN.get(part, part.replace("PACKAGE", package)) for part in parts))
    file.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8").replace("PACKAGE", package).replace("NAME", name)
    file.write_text(text, encoding="utf-8")
    return file
