"""A project of one's own: the folder of its conf and the packages it trusts, named by a file in the present folder.

    kasoku.toml                   pyproject.toml
    conf = "conf"                 [tool.kasoku]
    trust = ["my_package"]        conf = "conf"
                                  trust = ["my_package"]

It is read once, when the command starts, and in the present folder alone: a configuration cannot name another, and
whoever starts a command in a folder means its files, as with make.
"""

import json
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasoku import home
from kasoku.faults import MISSING, ConfigError, Fault, unknown

OWN, SHARED = "kasoku.toml", "pyproject.toml"
KEYS = ("conf", "trust")


@dataclass(frozen=True)
class Project:
    """A project's file: the folder `conf` with configurations of its own, and the dotted names that it trusts."""

    file: Path
    conf: str | None = None
    trust: tuple[str, ...] = ()


def enter() -> None:
    """Let the command have what the present folder's project says, as if it were typed; what is typed comes first.

    A train.yaml in the folder of one's own conf, typed or the project's, takes the place of kasoku's, which it can name
    in its `defaults:` as kasoku.

    Raises:
        ConfigError: the file is wrong.
    """
    project = read(Path.cwd()) or Project(Path())
    typed = home.folder_flags(sys.argv[1:])
    flags = typed or ([f"--config-dir={project.conf}"] if project.conf else [])
    added = _with_own_train(flags)
    if added != typed:
        sys.argv[1:] = [*added, *home.without_folder_flags(sys.argv[1:])]
    given = [name for name in os.environ.get(home.TRUST, "").split(",") if name.strip()]
    if names := list(dict.fromkeys([*given, *project.trust])):
        os.environ[home.TRUST] = ",".join(names)
    os.environ[home.PROJECT] = json.dumps({"trust": project.trust, "flags": added, "typed": typed})


def _with_own_train(flags: list[str]) -> list[str]:
    """`flags` where the folder of a train.yaml comes first, and kasoku's own conf behind it."""
    name, _, folder = flags[0].partition("=") if len(flags) == 1 else ("", "", "")
    if name != "--config-dir" or not Path(folder, "train.yaml").is_file():
        return flags
    return [f"--config-path={Path(folder).absolute()}", f"--config-dir={home.conf_dir()}"]


def read(folder: Path) -> Project | None:
    """The project whose file lies in `folder`; None where there is none.

    Raises:
        ConfigError: it cannot be read, has another key, a folder that is not there or a name that is none; or there are
            two of them.
    """
    own, shared = folder / OWN, folder / SHARED
    of_shared = _content(shared).get("tool", {}).get("kasoku") if shared.is_file() else None
    if own.is_file() and of_shared is not None:
        raise ConfigError(Fault(OWN, MISSING, f"says what [tool.kasoku] of {SHARED} says too", "keep one of the two"))
    if own.is_file():
        return _project(own, _content(own), OWN)
    return _project(shared, of_shared, f"{SHARED}: tool.kasoku") if of_shared is not None else None


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(Fault(path.name, MISSING, f"cannot be read: {error}")) from None


def _project(file: Path, content: dict[str, Any], where: str) -> Project:
    others = [key for key in content if key not in KEYS]
    faults = [unknown(f"{where}.{key}", content[key], key, KEYS, "no such key, the keys are") for key in others]
    conf, trust = content.get("conf"), content.get("trust", [])
    if conf is not None and not (isinstance(conf, str) and (file.parent / conf).is_dir()):
        fix = "it holds configurations of your own: conf/model/NAME.yaml"
        faults.append(Fault(f"{where}.conf", conf, "must be a folder beside the file", fix))
    if not _are_names(trust):
        faults.append(Fault(f"{where}.trust", trust, 'must be a list of dotted names, such as ["my_package"]'))
    if faults:
        raise ConfigError(*faults)
    return Project(file, conf, tuple(trust))


def _are_names(trust: object) -> bool:
    if not isinstance(trust, list):
        return False
    return all(isinstance(name, str) and all(map(str.isidentifier, name.split("."))) for name in trust)
