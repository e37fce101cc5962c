"""Calls judged by the signature before they are made: unknown names, types, ranges, lengths.

A callable states what its arguments must satisfy with the standard metadata of `annotated_types`:
`gamma: Annotated[float, Interval(gt=0, le=1)]`,  `every: Annotated[int, Unit("steps"), Ge(1)]`. pydantic reads the
same, but its import and first adapter take 0.85 s, twice what the whole answer to a misspelt option takes.
"""

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Literal, ParamSpec, TypeGuard, Union, get_args, get_origin

import annotated_types as at

from kasoku import durations
from kasoku.faults import ConfigError, Fault, nearest, show, unknown

P = ParamSpec("P")

_JUDGED: ContextVar[tuple[Callable[..., object], ...]] = ContextVar("judged", default=())


@contextmanager
def judged(*targets: Callable[..., object]) -> Iterator[None]:
    """Inside the block calls of `targets` count as judged: constructors need not look at the same values again."""
    token = _JUDGED.set((*_JUDGED.get(), *targets))
    try:
        yield
    finally:
        _JUDGED.reset(token)


def check_call(
    target: Callable[..., object], values: Mapping[str, object], prefix: str = "", strict: bool = False
) -> list[Fault]:
    """Every fault of calling `target(**values)`: unknown names, types, and ranges that its annotations state.

    Keys in the faults are `prefix` + name. A value for a parameter in `Unit("steps")` may be any length that
    `durations.parse` reads. Parameters without an annotation accept everything. With `strict`, a name that only
    `**kwargs` would take is unknown too: there it would be swallowed.
    """
    parameters = inspect.signature(target).parameters
    swallows = not strict and any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters.values() if p.kind in kinds and p.name != "params"]  # an optimizer's are code's
    known = hints(target)
    faults = []
    for name, value in values.items():
        if name in names:
            if name in known and (must := violated(known[name], value)):
                faults.append(Fault(prefix + name, value, must))
        elif not swallows:
            faults.append(unknown(prefix + name, value, name, names, "no such key, the keys are"))
    return faults


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
        names = list(inspect.signature(init).parameters)[1:]

        @functools.wraps(init)
        def checking(*args: P.args, **kwargs: P.kwargs) -> None:
            given = dict(zip(names, args[1:], strict=False)) | kwargs
            given.pop("params", None)  # an optimizer's are code's
            if type(args[0]) not in _JUDGED.get() and (faults := check_call(init, given, prefix)):
                raise ConfigError(*faults)
            init(*args, **kwargs)

        return checking

    return decorate


def hints(target: Callable[..., object]) -> dict[str, Any]:
    """The annotations of what `target` takes, by name; empty where they cannot be read."""
    while isinstance(target, functools.partial):
        target = target.func
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}  # annotations of other packages that need names imported for type checking only


def is_length(hint: object) -> bool:
    """True if an annotation stands for a number of optimizer steps."""
    return any(isinstance(m, at.Unit) and m.unit == "steps" for m in getattr(hint, "__metadata__", ()))


def has_lengths(hint: object) -> bool:
    """True if an annotation is, or is made of, numbers of optimizer steps: `Steps`, `Steps | None`, `list[Steps]`."""
    return is_length(hint) or any(map(has_lengths, get_args(hint)))


def violated(hint: Any, value: object) -> str:
    """The condition of the annotation `hint` that `value` fails, in words; "" if it holds.

    Reads None, bool, int, float, str, Literal, unions, sequences, lengths, and Annotated with the bounds of
    `annotated_types`; a `Predicate` is worded by its function's docstring. Any other annotation accepts everything.

    >>> violated(Annotated[float, at.Interval(gt=0, le=1)], 1.5)
    'must be a finite number > 0 and <= 1'
    """
    wanted = _wanted(hint, value)
    return f"must be {wanted}" if wanted else ""


def _wanted(hint: Any, value: object) -> str:
    """The noun for what `hint` wants instead of `value`; "" if `value` satisfies it."""
    origin = get_origin(hint)
    if is_length(hint):
        least: Any = next((m.ge for m in hint.__metadata__ if isinstance(m, at.Ge)), 0)
        return durations.violated(value, least).removeprefix("must be ")
    if origin is Annotated:
        return _wanted_range(hint, value)
    if origin is Literal:
        return _wanted_choice(get_args(hint), value)
    if origin in (Union, types.UnionType):
        return _wanted_union(hint, value)
    if origin in SEQUENCES:
        return _wanted_sequence(hint, value)
    return _NOUNS[hint] if hint in _NOUNS and not _is_a(hint, value) else ""


SEQUENCES = (list, tuple, Sequence)
_NOUNS = {
    float: "a finite number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    dict: "a mapping, such as {a:1}",
    type(None): "null",
}


def _is_a(kind: type, value: object) -> bool:
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _wanted_range(hint: Any, value: object) -> str:
    kind, *metadata = get_args(hint)
    bounds = [bound for m in metadata for bound in (m if isinstance(m, at.GroupedMetadata) else [m])]
    wrong = _wanted(kind, value)
    if not wrong and all(_holds(bound, value) for bound in bounds):
        return ""
    if wrong and get_origin(kind) in SEQUENCES and _is_list(value):  # of one of its items
        return wrong
    worded = [bound.func.__doc__ for bound in bounds if isinstance(bound, at.Predicate) and bound.func.__doc__]
    if worded:
        return worded[0]
    noun = wrong or _NOUNS.get(kind) or "a list"
    if bounds == [at.Gt(0)]:
        return noun.replace("a ", "a positive ", 1)
    return " ".join([noun, " and ".join(filter(None, map(_words, bounds)))]).strip()


def _holds(bound: object, value: Any) -> bool:
    match bound:
        case at.Gt(gt):
            return value > gt
        case at.Ge(ge):
            return value >= ge
        case at.Lt(lt):
            return value < lt
        case at.Le(le):
            return value <= le
        case at.MinLen(length):
            return len(value) >= length
        case at.Predicate(func):
            return bool(func(value))
    return True


def _words(bound: object) -> str:
    match bound:
        case at.Gt(gt):
            return f"> {gt}"
        case at.Ge(ge):
            return f">= {ge}"
        case at.Lt(lt):
            return f"< {lt}"
        case at.Le(le):
            return f"<= {le}"
        case at.MinLen(length):
            return f"at least {length} long"
    return ""


def _wanted_choice(choices: Sequence[object], value: object) -> str:
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return ""
    shown = [show(choice) for choice in choices]
    if len(choices) == 1:
        return shown[0]
    hint = nearest(str(value), [choice for choice in choices if isinstance(choice, str)])
    return f"one of {' '.join(shown)}" + (f", {hint}" if hint else "")


def _wanted_union(hint: Any, value: object) -> str:
    members = [m for m in get_args(hint) if m is not type(None) or not _is_list(value)]
    wanted = [_wanted(member, value) for member in members]
    return " or ".join(dict.fromkeys(wanted)) if all(wanted) else ""


def _wanted_sequence(hint: Any, value: object) -> str:
    members = [m for m in get_args(hint) if m is not Ellipsis]
    fixed = get_origin(hint) is tuple and Ellipsis not in get_args(hint)
    if _is_list(value) and not (fixed and len(value) != len(members)):
        each = members if fixed else members * len(value)
        wrong = ((_wanted(member, item), item) for member, item in zip(each, value, strict=False))
        return next((f"a list in which each is {wanted}, {show(item)} is not" for wanted, item in wrong if wanted), "")
    return f"a list of {len(members)} values" if fixed else "a list, such as [1,2]"
