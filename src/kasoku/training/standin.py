"""A stand-in for an object that is not there yet: what is asked of it is noted, to be asked of the object later."""

from collections.abc import Callable, Iterator
from typing import Any

Act = Callable[[Any], Any]


class Standin:
    """Notes every call, and every attribute or item that is set, as a function of the object it stands in for.

    Whatever it is asked for is another stand-in: of an attribute, an item, or what a noted call will have returned.

    >>> acts = []
    >>> run = Standin(acts.append)
    >>> run.config.update({"width": 3})
    <Standin>
    >>> class Run:
    ...     config = {}
    >>> [act(Run) for act in acts], Run.config
    ([None], {'width': 3})
    """

    def __init__(self, note: Callable[[Act], Any], find: Act = lambda real: real):
        object.__setattr__(self, "_note", note)
        object.__setattr__(self, "_find", find)

    def __getattr__(self, name: str) -> "Standin":
        if name.startswith("__"):
            raise AttributeError(name)  # of a protocol: it is no iterator, no array, ...
        return Standin(self._note, lambda real: getattr(self._find(real), name))

    def __getitem__(self, key: Any) -> "Standin":
        return Standin(self._note, lambda real: self._find(real)[key])

    def __call__(self, *args: Any, **kwargs: Any) -> "Standin":
        returned: list[Any] = []
        self._note(lambda real: returned.append(self._find(real)(*args, **kwargs)))
        return Standin(self._note, lambda real: returned[0])

    def __setattr__(self, name: str, value: Any) -> None:
        self._note(lambda real: setattr(self._find(real), name, value))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._note(lambda real: self._find(real).__setitem__(key, value))

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __repr__(self) -> str:
        return "<Standin>"
