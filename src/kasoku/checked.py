"""Constructors that check their arguments by their own annotations."""

import functools
from collections.abc import Callable
from typing import ParamSpec

from kasoku.faults import ConfigError, check_call

P = ParamSpec("P")


def checked(prefix: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate an `__init__`: an argument that its annotation does not allow raises ConfigError of `prefix` + its name.

    >>> class Net:
    ...     @checked("model.net.")
    ...     def __init__(self, *, hidden: int):
    ...         self.hidden = hidden
    >>> Net(hidden="wide")
    Traceback (most recent call last):
    kasoku.faults.ConfigError: wrong configuration:
      model.net.hidden=wide: must be a whole number
    """

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(init)
        def checking(*args: P.args, **kwargs: P.kwargs) -> None:
            if faults := check_call(init, kwargs, prefix):
                raise ConfigError(*faults)
            init(*args, **kwargs)

        return checking

    return decorate
