"""What is wrong with the `scheduler` and `warmup` of a configuration: their shapes, lengths, and the run they need."""

import functools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kasoku import schedules, warmups
from kasoku.config.trust import TARGET, locate
from kasoku.durations import Clock, to_steps
from kasoku.faults import ConfigError, Fault, check_call, has_lengths

PURE = (schedules.__name__, warmups.__name__)
DRIVEN = ("momentum", "weight_decay")  # nodes of their own inside `scheduler`
INSTRUCTIONS = (TARGET, "_partial_", "_convert_", "_recursive_", "_args_")
UNTUNED = "untuned"  # a length that the optimizer decides
ENDLESS = (None, -1)


class Curve(NamedTuple):
    """A pure function that a configuration names, and the settings it gives."""

    prefix: str
    function: Callable[..., float]
    settings: dict[str, Any]


def check_curves(values: Mapping[str, Any]) -> list[Fault]:
    """Every fault of the schedule, of what it drives besides the lr, and of the warmup."""
    faults: list[Fault] = []
    curves = list(_curves(values, faults))
    for curve in curves:
        faults += _wrong_settings(curve)
    trainer = values.get("trainer") or {}
    if faults or not isinstance(trainer, Mapping):
        return faults
    if trainer.get("max_steps") in ENDLESS and trainer.get("max_epochs") in ENDLESS:
        is_meant = trainer.get("max_epochs") == -1 or trainer.get("max_time") is not None
        return [fault for curve in curves for fault in _needs_horizon(curve)] if is_meant else []
    return list(_unfitting(curves, trainer.get("max_steps")))


def _curves(values: Mapping[str, Any], faults: list[Fault]) -> Iterator[Curve]:
    """The pure functions among the nodes; a `_target_` that does not exist is added to `faults`."""
    scheduler = values.get("scheduler")
    nodes = {"scheduler.": scheduler, "warmup.": values.get("warmup")}
    if isinstance(scheduler, Mapping):
        nodes |= {f"scheduler.{name}.": scheduler.get(name) for name in DRIVEN}
    for prefix, node in nodes.items():
        if isinstance(node, Mapping) and str(node.get(TARGET)).rpartition(".")[0] in PURE:
            try:
                function = locate(prefix + TARGET, node[TARGET], PURE)
            except ConfigError as error:
                faults += error.faults
            else:
                yield Curve(prefix, function, _settings(node))


def _settings(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in node.items()
        if name not in INSTRUCTIONS and not (name in DRIVEN and (value is None or isinstance(value, Mapping)))
    }


def _wrong_settings(curve: Curve) -> list[Fault]:
    is_warmup = curve.function.__module__ == warmups.__name__
    given = functools.partial(curve.function, *([0] if is_warmup else [0, 0]))  # the step, and the total of a schedule
    settings = {name: value for name, value in curve.settings.items() if value != UNTUNED}
    return check_call(given, settings, curve.prefix)


def _needs_horizon(curve: Curve) -> Iterator[Fault]:
    fix = "give trainer.max_steps or trainer.max_epochs"
    if typing.get_type_hints(curve.function).get("total") is int:
        must = "needs to know how many steps the run has, which max_time alone does not tell"
        yield Fault(curve.prefix.rstrip("."), curve.function.__name__, must, fix)
    for name, value in curve.settings.items():
        if str(value).endswith("%"):
            yield Fault(curve.prefix + name, value, "a share of a run whose length is not known", fix)


def _unfitting(curves: Sequence[Curve], max_steps: object) -> Iterator[Fault]:
    """Lengths and shapes that do not fit each other, or a run of `max_steps`, as far as that shows without the data."""
    total = max_steps if isinstance(max_steps, int) and max_steps > 0 else None
    in_steps = {curve.prefix: steps for curve in curves if (steps := _in_steps(curve, Clock(total))) is not None}
    warm = in_steps.get("warmup.", {}).get("length", 0)
    if total is not None and warm > total:
        length = next(curve.settings["length"] for curve in curves if curve.prefix == "warmup.")
        must = f"is {warm} steps, and must not be longer than the run of {total} steps"
        yield Fault("warmup.length", length, must, "shorten it, or train longer")
        return
    for prefix, function, settings in curves:
        if prefix in in_steps and prefix != "warmup.":
            left = None if total is None else max(1, total - warm)
            for name, must in schedules.check_shape(function, in_steps[prefix], left, settings):
                yield Fault(prefix + name, settings[name], must)


def _in_steps(curve: Curve, clock: Clock) -> dict[str, Any] | None:
    """The settings with their lengths in steps, None where the run does not know enough yet."""
    hints = typing.get_type_hints(curve.function, include_extras=True)
    try:
        return {
            name: _steps(value, clock) if has_lengths(hints[name]) else value for name, value in curve.settings.items()
        }
    except ValueError:
        return None


def _steps(value: Any, clock: Clock) -> Any:
    if value is None:
        return None
    return [to_steps(item, clock) for item in value] if isinstance(value, list) else to_steps(value, clock)
