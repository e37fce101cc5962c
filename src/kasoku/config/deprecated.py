"""Keys that have another name now: the old one still works for a while, and a line says the new one.

They are renamed where they are read, in the words of a command and in each file, so that nothing else knows them. What
a run or a sweep has stored is renamed without a word.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf, open_dict

from kasoku.faults import MISSING, ConfigError, Fault


@dataclass(frozen=True)
class Deprecated:
    """A key that was renamed.

    Args:
        old, new: dotted keys.
        until: the version in which `old` goes.
        why: a sentence, without a full stop at its end.
    """

    old: str
    new: str
    until: str
    why: str

    def __str__(self) -> str:
        return f"{self.old} is {self.new} now: {self.why}; the old name goes with version {self.until}"


TABLE: tuple[Deprecated, ...] = ()

_SAID: set[str] = set()


def lines(words: Sequence[str], table: Sequence[Deprecated] | None = None, stored: bool = False) -> list[str]:
    """The overrides among `words` with their new keys; each old one that was typed, and not `stored`, is said.

    Raises:
        ConfigError: a key was typed under both of its names.

    >>> entry = Deprecated("optimizer.rate", "optimizer.lr", "0.3", "so torch calls it")
    >>> lines(["optimizer.rate=0.1", "seed=1"], [entry], stored=True)
    ['optimizer.lr=0.1', 'seed=1']
    """
    table = TABLE if table is None else table
    typed, found = {_key(word) for word in words}, list[str]()
    for word in words:
        entry = next((one for one in table if _is_at(_key(word), one.old)), None)
        if entry is not None and not stored:
            if any(_is_at(key, entry.new) for key in typed):
                raise ConfigError(_both(entry, word))
            say(entry)
        found.append(word if entry is None else word.replace(entry.old, entry.new, 1))
    return found


def move(node: DictConfig, package: str = "", where: str = "", table: Sequence[Deprecated] | None = None) -> None:
    """Give the keys of `node`, which stands at `package` in the configuration, their new names.

    `where` names the file that it was read from; "": it was stored, and nothing is said.

    Raises:
        ConfigError: a key stands there under both names, or its new place is outside of `package`.
    """
    start = f"{package}." if package else ""
    for entry in TABLE if table is None else table:
        old, new = entry.old.removeprefix(start), entry.new.removeprefix(start)
        if not entry.old.startswith(start) or not _holds(node, old):
            continue
        if not entry.new.startswith(start):
            raise ConfigError(Fault(entry.old, MISSING, f"{where}: {entry}", f"write {entry.new} in its place"))
        if where and _holds(node, new):
            raise ConfigError(_both(entry, entry.old, where))
        _rename(node, old, new)
        if where:
            say(entry, f"{where}: ")


def say(entry: Deprecated, before: str = "") -> None:
    """Say on stderr, once, what a key is called now."""
    text = f"{before}{entry}"
    if text not in _SAID:
        _SAID.add(text)
        print(text, file=sys.stderr)


def _key(word: str) -> str:
    return "" if word.startswith("-") else word.lstrip("+~").partition("=")[0]


def _is_at(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _both(entry: Deprecated, given: str, where: str = "") -> Fault:
    place = f"in {where} " if where else ""
    return Fault(given, MISSING, f"stands {place}beside {entry.new}, its new name", f"leave {entry.old} out")


def _holds(node: DictConfig, key: str) -> bool:
    above, _, name = key.rpartition(".")
    parent = OmegaConf.select(node, above, throw_on_resolution_failure=False) if above else node
    return isinstance(parent, DictConfig) and name in list(parent)


def _rename(node: DictConfig, old: str, new: str) -> None:
    above, _, name = old.rpartition(".")
    with open_dict(node):
        parent = OmegaConf.select(node, above) if above else node
        value = parent._get_node(name)
        del parent[name]
        OmegaConf.update(node, new, value, force_add=True)
