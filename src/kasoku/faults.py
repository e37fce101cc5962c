"""What is wrong with a configuration, said so that it can be put right: the key, the value, what must hold, the fix.

A callable states what its arguments must satisfy in its own signature, with the standard metadata of
`annotated_types`:  `gamma: Annotated[float, Interval(gt=0, le=1)]`,  `every: Annotated[int, Unit("steps"), Ge(1)]`.
`check_call` reads the signature and returns every fault, so that they are reported together.
"""

import difflib
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at

from kasoku import durations

MOST_LINES = 10
LONGEST_VALUE = 80


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # stays the one object through pickle and copy


MISSING: Any = _Missing()


@dataclass(frozen=True)
class Fault:
    """One wrong thing: `key` as the user types it, the `value` got, what `must` hold, and what to do about it.

    A `value` of MISSING stands for no value at all.

    >>> print(Fault("optimizer.lr", -1, "must be a positive finite number"))
    optimizer.lr=-1: must be a positive finite number
    """

    key: str
    value: object
    must: str
    fix: str = ""

    def __str__(self) -> str:
        given = self.key if self.value is MISSING else f"{self.key}={show(self.value)}"
        return f"{given}: {self.must}" + (f"; {self.fix}" if self.fix else "")


class ConfigError(ValueError):
    """A configuration or an input file is wrong. Holds every fault found; exit code 2 on the command line."""

    def __init__(self, *faults: Fault):
        self.faults = faults
        super().__init__(*faults)

    def __str__(self) -> str:
        return report(self.faults)


def report(faults: Sequence[Fault]) -> str:
    """The message for `faults`: a head, and one line for each of at most MOST_LINES."""
    lines = [f"  {' '.join(str(fault).split())}" for fault in faults[:MOST_LINES]]
    if len(faults) > MOST_LINES:
        lines[-1:] = [f"  ... and {len(faults) - MOST_LINES + 1} more"]
    head = "wrong configuration:" if len(faults) == 1 else f"wrong configuration, {len(faults)} faults:"
    return "\n".join([head, *lines])


def show(value: object) -> str:
    """`value` as a user would type it on the command line; a text that would be read as something else is quoted.

    >>> show(None), show([1, True]), show("3ep"), show("0.1")
    ('null', '[1,true]', '3ep', "'0.1'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(show, value)) + "]"
    text = str(value)
    if len(text) > LONGEST_VALUE and "/" not in text:  # the end of a path is what tells
        text = f"{text[:LONGEST_VALUE]}..."
    return f"'{text}'" if isinstance(value, str) and _reads_as_other(value) else text


def _reads_as_other(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return text.strip().lower() in ("", "null", "true", "false")


def nearest(word: str, options: Iterable[str]) -> str:
    """'did you mean X?', or nothing where no option is close to `word` or an abbreviation of it.

    >>> nearest("nestrov", ["adam", "nesterov"]), nearest("learning_rate", ["eps", "lr"]), nearest("abc", ["lr"])
    ('did you mean nesterov?', 'did you mean lr?', '')
    """
    close = closest(word, options)
    return f"did you mean {close}?" if close else ""


def closest(word: str, options: Iterable[str]) -> str:
    """The option that is an abbreviation of `word`, most like it, or a part of it, or the reverse; "" if none is."""
    options = list(options)
    close = [option for option in options if word == _initials(option) or option == _initials(word)]
    close += difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    close += [option for option in options if min(len(word), len(option)) > 1 and (option in word or word in option)]
    return close[0] if close else ""


def _initials(name: str) -> str:
    parts = [part for part in name.split("_") if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else ""


def unknown(key: str, value: object, name: str, options: Iterable[str], what: str) -> Fault:
    """The fault of a `name` that is none of `options`, `what` saying what they are."""
    options = sorted(options)
    return Fault(key, value, f"{what}: {' '.join(options) or 'none'}", nearest(name, options))


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
    hints = _hints(target)
    faults = []
    for name, value in values.items():
        if name in names:
            if name in hints and (must := violated(hints[name], value)):
                faults.append(Fault(prefix + name, value, must))
        elif not swallows:
            faults.append(unknown(prefix + name, value, name, names, "no such key, the keys are"))
    return faults


def _hints(target: Callable[..., object]) -> dict[str, Any]:
    while isinstance(target, functools.partial):
        target = target.func
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}  # annotations of other packages that need names imported for type checking only


def is_length(hint: object) -> bool:
    """Whether an annotation stands for a number of optimizer steps."""
    return any(isinstance(m, at.Unit) and m.unit == "steps" for m in getattr(hint, "__metadata__", ()))


def has_lengths(hint: object) -> bool:
    """Whether an annotation is, or is made of, numbers of optimizer steps: `Steps`, `Steps | None`, `list[Steps]`."""
    return is_length(hint) or any(map(has_lengths, get_args(hint)))


def violated(hint: Any, value: object) -> str:
    """What `value` must be to satisfy the annotation `hint`, or nothing if it does.

    Reads None, bool, int, float, str, Literal, unions, sequences, lengths, and Annotated with the bounds of
    `annotated_types`; a `Predicate` is worded by its function's docstring. Any other annotation accepts everything.

    >>> violated(Annotated[float, at.Interval(gt=0, le=1)], 1.5)
    'must be a finite number > 0 and <= 1'
    """
    wanted = _wanted(hint, value)
    return f"must be {wanted}" if wanted else ""


def _wanted(hint: Any, value: object) -> str:
    """What is wanted instead of `value`, as a noun; nothing if `value` satisfies `hint`."""
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
    if origin in (list, tuple, Sequence):
        return _wanted_sequence(hint, value)
    return _NOUNS[hint] if hint in _NOUNS and not _is_a(hint, value) else ""


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


def _wanted_range(hint: Any, value: object) -> str:
    kind, *metadata = get_args(hint)
    bounds = [bound for m in metadata for bound in (m if isinstance(m, at.GroupedMetadata) else [m])]
    wrong = _wanted(kind, value)
    if not wrong and all(_holds(bound, value) for bound in bounds):
        return ""
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
    wanted = [_wanted(member, value) for member in get_args(hint)]
    return " or ".join(dict.fromkeys(wanted)) if all(wanted) else ""


def _wanted_sequence(hint: Any, value: object) -> str:
    members = [m for m in get_args(hint) if m is not Ellipsis]
    fixed = get_origin(hint) is tuple and Ellipsis not in get_args(hint)
    if isinstance(value, str) or not isinstance(value, Sequence) or (fixed and len(value) != len(members)):
        return f"a list of {len(members)} values" if fixed else "a list, such as [1,2]"
    members = members if fixed else members * len(value)
    for member, item in zip(members, value, strict=False):
        if wanted := _wanted(member, item):
            return f"a list in which each is {wanted}, {show(item)} is not"
    return ""
