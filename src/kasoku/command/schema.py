"""Completion in editors: kasoku schema DIR

Writes JSON Schemas of the configuration files of the project in DIR into DIR/.vscode/kasoku, and names them in
DIR/.vscode/settings.json, where the YAML extension of VS Code (redhat.vscode-yaml) finds them: keys and choices are
completed, hovering explains them, wrong keys and values are underlined. Start it again after a change of your classes.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kasoku import home
from kasoku.command.schemas import Schemas
from kasoku.config import project, trust
from kasoku.faults import ConfigError, Fault
from kasoku.files import write_text

USAGE = "usage: kasoku schema DIR"
FOLDER, SETTINGS, BESIDE = ".vscode/kasoku", ".vscode/settings.json", ".vscode/settings.kasoku.json"
KEY = "yaml.schemas"


def main(arguments: Sequence[str]) -> int:
    """Write the schemas of the project in `arguments[0]`, and say where they are; 0, or 2 where it cannot be.

    Raises:
        ConfigError: there is no folder of configurations.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        is_asked = list(arguments) in (["-h"], ["--help"])
        print(__doc__ if is_asked else USAGE)
        return 0 if is_asked else 2
    folder = Path(arguments[0])
    written, said = write(folder)
    print(f"{len(written)} schemas are in {folder / FOLDER}")
    print(said)
    return 0


def write(folder: Path, trusts: bool | None = None) -> tuple[list[Path], str]:
    """Write the schemas of the project in `folder` and its settings; the files, and a sentence about the settings.

    Args:
        trusts: whether what the project's own file trusts is imported; None: where it is the present folder.

    Raises:
        ConfigError: there is no folder of configurations, or nothing can be written.
        CannotWrite: the disk is full.
    """
    conf = _conf(folder)
    own = project.read(folder)
    names = trust.trusted(home.conf_dir())
    if own is not None and (folder.resolve() == Path.cwd() if trusts is None else trusts):
        names = (*names, *own.trust)
        sys.path.append(str(folder.resolve()))
    schemas = Schemas(home.conf_dir(), conf, names)
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(Fault("schema", folder, f"cannot be written: {error.strerror}")) from None
    written = []
    for name, schema in schemas.all().items():
        written.append(folder / FOLDER / f"{name}.json")
        write_text(written[-1], json.dumps(schema, indent=1) + "\n")
    return written, _name_them(folder, _patterns(folder, conf, schemas))


def _conf(folder: Path) -> Path:
    """The folder of the project's own configurations."""
    if not folder.is_dir():
        raise ConfigError(Fault("schema", folder, "there is no such folder"))
    own = project.read(folder)
    conf = folder / (own.conf if own and own.conf else "conf")
    if not conf.is_dir():
        must = "has no folder conf, nor a kasoku.toml that names another"
        raise ConfigError(Fault("schema", folder, must, f"for a new project: {home.program()} new DIR"))
    return conf


def _patterns(folder: Path, conf: Path, schemas: Schemas) -> dict[str, list[str]]:
    """The globs of the files, from the project's folder on, by the schema that is theirs."""
    place = conf.resolve().relative_to(folder.resolve()) if conf.resolve().is_relative_to(folder.resolve()) else conf
    return {
        f"./{FOLDER}/{name}.json": [
            f"!{place}/{glob[1:]}" if glob.startswith("!") else f"{place}/{glob}" for glob in globs
        ]
        for name, globs in schemas.globs().items()
    }


def _name_them(folder: Path, patterns: dict[str, list[str]]) -> str:
    """Merge `patterns` into the settings of the folder; where they are no plain JSON they stay as they are."""
    path = folder / SETTINGS
    settings = _read(path)
    if settings is None:
        write_text(folder / BESIDE, json.dumps({KEY: patterns}, indent=2) + "\n")
        return f"{path} has comments, or is no JSON, and stays as it is: copy what {folder / BESIDE} has into it"
    kept = {name: globs for name, globs in settings.get(KEY, {}).items() if not name.startswith(f"./{FOLDER}/")}
    write_text(path, json.dumps(settings | {KEY: kept | patterns}, indent=2, ensure_ascii=False) + "\n")
    return f"{path} names them"


def _read(path: Path) -> dict[str, Any] | None:
    """The settings in `path`, {} where there are none; None where they cannot be read without a loss."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get(KEY, {}), dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping; ValueError where a key stands twice, of which json would keep one."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
