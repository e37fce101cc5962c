"""Configuration files as they stand in folders, by group: keys, comments, the classes that they name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.config.checks import INSTRUCTIONS
from kasoku.config.comments import comments, head
from kasoku.config.trust import TARGET


@dataclass
class Seen:
    """A key as the files have it: what nodes there name, what is inside, what is said of it, values."""

    targets: dict[str, None] = field(default_factory=dict)
    children: dict[str, "Seen"] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)  # by the `_target_` of the node that the key is in
    values: list[Any] = field(default_factory=list)
    is_mapping: bool = False

    @property
    def comment(self) -> str:
        """The comment that all files have; "" where they differ."""
        return next(iter(self.comments.values())) if len({*self.comments.values()}) == 1 else ""

    def look(self, node: Any, said: Mapping[str, str], prefix: str = "", owner: str = "") -> None:
        """Take in the value `node`, whose key is `prefix` in the comments `said`, of a node with the target `owner`."""
        if prefix in said:
            self.comments.setdefault(owner, said[prefix])
        if not isinstance(node, Mapping):
            self.values.append(node)
            return
        self.is_mapping = True
        if isinstance(node.get(TARGET), str) and "${" not in node[TARGET] and node[TARGET] != "???":
            self.targets[node[TARGET]] = None
        for name, item in node.items():
            if name not in INSTRUCTIONS and not (name == "defaults" and not prefix):
                child = self.children.setdefault(str(name), Seen())
                child.look(item, said, f"{prefix}.{name}".lstrip("."), str(node.get(TARGET, "")))


@dataclass
class Files:
    """The configuration files in some folders, by group; `root` holds what stands above the groups."""

    groups: dict[str, Seen] = field(default_factory=dict)
    root: Seen = field(default_factory=Seen)
    options: dict[str, dict[str, str]] = field(default_factory=dict)  # by group: option -> what its file says of itself
    whole: dict[str, list[str]] = field(default_factory=dict)  # by group: options for the whole configuration
    referred: set[str] = field(default_factory=set)  # the first parts of keys that an interpolation names

    def add(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*.yaml")):
            parts = path.relative_to(folder).with_suffix("").parts
            if len(parts) == 2 and not parts[1].startswith("_"):
                self.options.setdefault(parts[0], {})[parts[1]] = head(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.yaml")):
            self._look(path, path.relative_to(folder).with_suffix("").parts)

    def _look(self, path: Path, parts: Sequence[str]) -> None:
        text = path.read_text(encoding="utf-8")
        loaded = OmegaConf.load(path)
        if not isinstance(loaded, DictConfig):
            return
        node, said = OmegaConf.to_container(loaded), comments(text)
        self.referred |= set(re.findall(r"\$\{(\w+)", text))
        is_base = len(parts) == 1 and parts[0].startswith("_")
        group = parts[0].lstrip("_") if is_base or len(parts) > 1 else ""
        if group and not text.startswith("# @package _global_"):
            self.groups.setdefault(group, Seen()).look(node, said)
            return
        if group and not is_base:
            self.whole.setdefault(group, []).append(parts[-1])
        assert isinstance(node, dict)
        for name, item in node.items():
            if name in self.options:
                self.groups.setdefault(str(name), Seen()).look(item, said, str(name))
            elif name != "defaults":
                self.root.children.setdefault(str(name), Seen()).look(item, said, str(name))
