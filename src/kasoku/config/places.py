"""Places that a configuration writes to: the run's own directory, and others only as the command line itself says.

A configuration can come from somebody else: an experiment, a folder of options, the directory of a run or a sweep. What
it says about files must not lead out of the directory that the person at the command line gave or was told of.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from kasoku.faults import Fault

TARGET = "_target_"
WRITERS = ("pytorch_lightning", "lightning", "kasoku.training")  # their classes write where an argument says
DOWNLOADERS = ("kasoku.data.cifar10.CIFAR10",)
PLACE = re.compile(r"(^|_)(dir|dirpath|directory|path|filepath|file|root|folder|location|uri|url)$")
INNER = ("sub_dir",)  # below another argument's place
# Absolute, of a home, on a drive, or a URL; and an interpolation that would be resolved only when it is used.
ELSEWHERE = re.compile(r"[~/\\]|[A-Za-z]:[/\\]|[A-Za-z][\w+.-]+:[/.~\\]|.*\$\{", re.DOTALL)
OF_WANDB = re.compile(r"(offline-)?run-\d+_\d+-")
WORD = re.compile(r"[\w.,:=+@-]*")
OF_LAUNCHERS = ("kind", "cluster", "num_cpus", "num_gpus")

Said = Collection[str]


def said(lines: Sequence[str]) -> frozenset[str]:
    """The dotted keys that the overrides `lines` set: of a mapping those of its values, of a list KEY and KEY.* too."""
    found: set[str] = set()
    for line in lines:
        try:
            override = OverridesParser.create().parse_override(line)
        except HydraException:  # said elsewhere
            continue
        if not override.is_delete():
            found |= _leaves(override.key_or_group, override.value())
    return frozenset(found)


def covers(said: Said, key: str) -> bool:
    """True if the command line itself gave `key` its value."""
    parts = key.split(".")
    return key in said or any(f"{'.'.join(parts[:n])}.*" in said for n in range(1, len(parts)))


def faults_of_places(values: Mapping[str, Any], directory: Path, said: Said) -> list[Fault]:
    """A fault for each value that has a class write outside of `directory`, and is not `said` on the command line."""
    found = [fault for key, value in _written(values) if (fault := _fault(key, value, directory))]
    found += [_download(key, node) for key, node in _nodes(values, "") if _downloads_elsewhere(node, directory)]
    found += [Fault(key, value, "is resolved only when it is used") for key, value in resolved_later(values)]
    if isinstance(values.get("resume"), str):
        found.append(Fault("resume", values["resume"], "is no key of a file", "give it on the command line"))
    return [fault for fault in found if not covers(said, fault.key)]


def faults_of_sweep(values: Mapping[str, Any], directory: Path, said: Said) -> list[Fault]:
    """The same for the storage and the launcher of a sweep in `directory`.

    A launcher hands texts on to a shell: of a file only plain words go there.
    """
    storage = (values.get("sweeper") or {}).get("storage")
    found = [] if storage is None or is_inside(directory, storage) else [outside("sweeper.storage", storage)]
    launcher = values.get("launcher")
    must = "from a file a launcher takes numbers and plain words alone"
    for key, value in _texts(launcher if isinstance(launcher, Mapping) else {}, "launcher."):
        if key == "launcher.address" and value not in ("auto", None):
            found.append(Fault(key, value, "from a file a launcher has no address", f"say so here: {key}=..."))
        elif isinstance(value, list) or (isinstance(value, str) and not WORD.fullmatch(value)):
            found.append(Fault(key, value, must, f"say so on the command line: {key}=..."))
    return [fault for fault in found if not covers(said, fault.key)]


def leads_out(text: str) -> bool:
    """True if `text`, taken for a path, is absolute, a URL, goes through .. or is resolved later."""
    return bool(ELSEWHERE.match(text)) or ".." in re.split(r"[/\\]", text)


def is_inside(directory: Path, text: object) -> bool:
    """True if `text` is a path in `directory`; a relative one counts from the present folder."""
    place, around = (Path(os.path.normpath(Path.cwd() / path)) for path in (str(text), directory))  # follows no link
    return "${" not in str(text) and place.is_relative_to(around)


def faults_of_links(directory: Path) -> list[Fault]:
    """A fault for each link in `directory` that leads out of it, and for each pipe, which would be waited for.

    W&B has such links to its log in the folder of each of its runs, which nothing writes to any more.
    """
    root, faults = directory.resolve(), []
    for folder, folders, files in os.walk(directory):
        if Path(folder).name == "wandb":
            folders[:] = [name for name in folders if Path(folder, name).is_symlink() or not OF_WANDB.match(name)]
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                must = f"leads out of it, to {path.resolve()}"
                faults.append(Fault("resume", path, must, "put there what it leads to"))
            elif path.exists() and not (path.is_file() or path.is_dir()):
                faults.append(Fault("resume", path, "is neither a file nor a folder", "remove it"))
    return faults


def outside(key: str, value: object) -> Fault:
    return Fault(key, value, "lies outside of the run's directory", f"to write there, say so here: {key}=...")


def _leaves(key: str, value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return {leaf for name, item in value.items() for leaf in _leaves(f"{key}.{name}", item)}
    return {key, f"{key}.*"} if isinstance(value, list) else {key}


def _written(node: Any, prefix: str = "", writes: bool = False) -> Iterator[tuple[str, Any]]:
    """Key and value of each text among the arguments of a class of WRITERS."""
    if isinstance(node, Mapping):
        if TARGET in node:
            writes = _is_under(node[TARGET], WRITERS)
        for name, item in node.items():
            if name != TARGET:
                yield from _written(item, f"{prefix}{name}.", writes)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _written(item, f"{prefix}{index}.", writes)
    elif writes and isinstance(node, str):
        yield prefix[:-1], node


def _fault(key: str, value: str, directory: Path) -> Fault | None:
    names = [name for name in key.split(".") if not name.isdigit()]
    is_place = names[-1] not in INNER and bool(PLACE.search(names[-1]))
    if is_inside(directory, value) and (is_place or Path(value).is_absolute()):
        return None
    return outside(key, value) if is_place or leads_out(value) or names[-1] == "_args_" else None


def resolved_later(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """An interpolation behind a backslash is a text when it is judged, and is resolved where that is composed again."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, item in items:
        if isinstance(item, str) and "${" in item:
            yield f"{prefix}{name}", item
        yield from resolved_later(item, f"{prefix}{name}.")


def _nodes(node: Any, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if TARGET in node:
            yield prefix, node
        for name, item in node.items():
            yield from _nodes(item, f"{prefix}{name}.")


def _downloads_elsewhere(node: Mapping[str, Any], directory: Path) -> bool:
    """True if data would be fetched into a folder that has none yet and is neither the run's nor below datasets/."""
    root = node.get("root")
    if node[TARGET] not in DOWNLOADERS or not isinstance(root, str):
        return False
    return not (is_inside(directory, root) or is_inside(Path("datasets"), root) or any(Path(root).glob("cifar-10-*")))


def _download(key: str, node: Mapping[str, Any]) -> Fault:
    must = "has no data yet, which would be downloaded into it"
    return Fault(f"{key}root", node["root"], must, f"to have that, say so here: {key}root=...")


def _texts(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, item in node.items():
        if isinstance(item, Mapping):
            yield from _texts(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def _is_under(name: object, packages: Sequence[str]) -> bool:
    return any(name == package or str(name).startswith(f"{package}.") for package in packages)
