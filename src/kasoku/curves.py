"""Warmup and schedule joined and fitted to a run: the one home of their rules, for a recipe and for what checks it.

Conventions: s optimizer steps were taken, the run has T, the warmup W; the schedule sees (s - W, T - W). During the
warmup the schedule stands at its first value, so that the joint is continuous whatever that value is. Pure Python.
"""

import inspect
import typing
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kasoku import schedules, warmups
from kasoku.durations import HIDDEN, Clock, Unknown, to_steps
from kasoku.faults import MISSING, ConfigError, Fault
from kasoku.signatures import check_call, has_lengths

Factor = Callable[[int], float]
Bound = partial  # a callable with its settings bound, as `_partial_: true` makes it

UNTUNED = "untuned"  # a warmup's length that the optimizer decides


class NotKnown(ConfigError):
    """A length or a schedule needs a fact of the run that its clock does not know: total, epoch, samples or tokens."""

    def __init__(self, fact: str, fault: Fault):
        self.fact = fact
        super().__init__(fault)


@dataclass(frozen=True)
class Curves:
    """The factors of a run: that of the lr, and those of other settings that are driven.

    Args:
        schedule: a function of `kasoku.schedules` with its shape bound; None where something else follows the warmup.
        warmup: a function of `kasoku.warmups` with its shape and `length` bound.
        drives: schedules of other settings, by name: "momentum" and "weight_decay". They have no warmup.
        ramps: warmups of other settings, by name: "momentum". They begin with the first step, and multiply a drive.
        untuned: steps that the length "untuned" stands for; None where it is not known (yet).
    """

    schedule: Bound[float] | None = field(default_factory=lambda: partial(schedules.constant))
    warmup: Bound[float] = field(default_factory=lambda: partial(warmups.none, length=0))
    drives: Mapping[str, Bound[float]] = field(default_factory=dict)
    untuned: int | None = None
    ramps: Mapping[str, Bound[float]] = field(default_factory=dict)

    def faults(self) -> list[Fault]:
        """Every setting that is unknown, missing or out of its range, whatever the run."""
        parts = {**self._schedules(), "warmup.": self.warmup}
        classes = [no_function(prefix, part.func) for prefix, part in parts.items() if isinstance(part.func, type)]
        if not classes and self.warmup.func is not warmups.none and "length" not in self.warmup.keywords:
            return [Fault("warmup.length", MISSING, "must be given", "such as 5%; or choose warmup=none")]
        return classes or [fault for prefix, part in parts.items() for fault in _wrong_settings(part, prefix)]

    def misfits(self, clock: Clock, later: Container[str] = ()) -> list[Fault]:
        """Every fault of the curves in a run with this clock. Facts that will be known `later` are not missed."""
        of_warmup: tuple[Fault, ...] = ()
        warm = 0  # where its length is not known, the schedule has the whole run at most
        try:
            warm = self.warmup_length(clock)
        except ConfigError as error:
            of_warmup = () if _is_later(error, later) else error.faults
        faults: list[Fault] = []
        for name, ramp in self.ramps.items():
            try:
                _ramp_length(name, ramp, clock)
            except ConfigError as error:
                faults += () if _is_later(error, later) else error.faults
        for prefix, schedule in self._schedules().items():
            try:
                fitted(schedule, clock, warm, prefix)
            except ConfigError as error:
                faults += () if _is_later(error, later) else error.faults
        return [*faults, *of_warmup]

    def fit(self, clock: Clock) -> dict[str, Factor]:
        """The factor of the lr, and of each driven setting, as functions of the step.

        Raises:
            ConfigError: a length does not fit the run, or a schedule needs a horizon that the run does not have.
        """
        if faults := self.misfits(clock):
            raise ConfigError(*faults)
        length, ramps = self.warmup_length(clock), {"scheduler.": self.ramp(clock)}
        factors = {
            "lr" if prefix == "scheduler." else prefix.split(".")[1]: _joined(
                ramps.get(prefix, _one), length, fitted(schedule, clock, length, prefix)
            )
            for prefix, schedule in self._schedules().items()
        }
        for name, ramp in self.ramps.items():
            factors[name] = _product(_ramp(ramp, _ramp_length(name, ramp, clock)), factors.get(name, _one))
        return factors

    def ramp(self, clock: Clock) -> Factor:
        """The warmup alone: its factor at each step, 1 from its end on."""
        return _ramp(self.warmup, self.warmup_length(clock))

    def warmup_length(self, clock: Clock) -> int:
        """The warmup's length in optimizer steps.

        Raises:
            ConfigError: it is longer than the run, or the run does not know its unit.
        """
        given = self.warmup.keywords.get("length", 0)
        if given == UNTUNED and self.untuned is None:
            raise NotKnown(UNTUNED, Fault("warmup.length", given, "needs an optimizer with beta2", "give a length"))
        length = self.untuned if given == UNTUNED else given
        steps = _in_steps("warmup.length", length, clock)
        if clock.total is not None and steps > clock.total:
            must = f"is {steps} steps, and must not be longer than the run of {clock.total} steps"
            shorter = "lower beta2 in optimizer.betas" if given == UNTUNED else "shorten it"
            raise ConfigError(Fault("warmup.length", given, must, f"{shorter}, or train longer"))
        return steps

    def _schedules(self) -> dict[str, Bound[float]]:
        own = {} if self.schedule is None else {"scheduler.": self.schedule}
        return own | {f"scheduler.{name}.": schedule for name, schedule in self.drives.items()}


def fitted(schedule: Bound[float], clock: Clock, warmup: int, prefix: str) -> Factor:
    """`schedule` as a function of the steps since the warmup's end, its lengths turned into steps.

    Raises:
        ConfigError: its shape does not fit the steps that the warmup leaves.
        NotKnown: it needs what the clock does not know.
    """
    hints = typing.get_type_hints(schedule.func, include_extras=True)
    shape = {
        name: _in_steps(prefix + name, value, clock) if has_lengths(hints.get(name)) else value
        for name, value in schedule.keywords.items()
    }
    # A warmup as long as the run leaves the schedule no step; its first value still shapes the ramp.
    total = None if clock.total is None else max(1, clock.total - warmup)
    if wrong := schedules.check_shape(schedule.func, shape, total, schedule.keywords):
        raise ConfigError(*(Fault(prefix + name, schedule.keywords.get(name), must) for name, must in wrong))
    if total is None and hints.get("total", int) is int:
        name = schedule.func.__name__
        hidden = HIDDEN if clock.has_length else "and this data has no length"
        must = f"needs to know how many steps the run has, {hidden}"
        raise NotKnown("total", Fault(prefix.rstrip("."), name, must, "give trainer.max_steps"))
    return lambda step: schedule.func(step, total, **shape)


def _product(one: Factor, other: Factor) -> Factor:
    return lambda step: one(step) * other(step)


def _ramp(warmup: Bound[float], length: int) -> Factor:
    warm = partial(warmup.func, **{name: value for name, value in warmup.keywords.items() if name != "length"})
    return lambda step: warm(step, length) if step < length else 1.0


def _ramp_length(name: str, ramp: Bound[float], clock: Clock) -> int:
    """The length of the warmup of a setting; it may be longer than the run, which then ends on the way."""
    return in_steps(f"optimizer.tricks.{name}_warmup", ramp.keywords["length"], clock)


def no_function(prefix: str, kind: type) -> Fault:
    """The fault of a class in the place of a function of the step, as those of torch.optim.lr_scheduler are."""
    key = prefix.rstrip(".")
    name, what = ("warmup", "factor(step, length)") if key == "warmup" else ("schedule", "factor(step, total)")
    must = f"is a class, and a {name} is a function here: {what}"
    group = key.partition(".")[0]
    return Fault(key, kind.__name__, must, f"choose a {group}= of the same curve, or write the function")


def _wrong_settings(part: Bound[Any], prefix: str) -> list[Fault]:
    settings = {name: value for name, value in part.keywords.items() if value != UNTUNED}
    parameters = inspect.signature(part.func).parameters.values()
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    missing = [name for name in needed if name not in part.keywords]
    return [*check_call(part.func, settings, prefix), *(Fault(prefix + n, MISSING, "must be given") for n in missing)]


def _is_later(error: ConfigError, later: Container[str]) -> bool:
    return isinstance(error, NotKnown) and error.fact in later


def _joined(ramp: Factor, length: int, decay: Factor) -> Factor:
    return lambda step: ramp(step) * decay(0) if step < length else decay(step - length)


def _one(step: int) -> float:
    return 1.0


def _in_steps(key: str, value: Any, clock: Clock) -> Any:
    if value is None:
        return None
    if not isinstance(value, int | str | float):
        return [_in_steps(key, item, clock) for item in value]
    return in_steps(key, value, clock)


def in_steps(key: str, length: Any, clock: Clock) -> int:
    """The `length` given at `key` in optimizer steps.

    Raises:
        ConfigError: it cannot be read.
        NotKnown: its unit needs what the clock does not know.
    """
    try:
        return to_steps(length, clock)
    except Unknown as error:
        raise NotKnown(error.fact, Fault(key, length, str(error))) from None
    except ValueError as error:
        raise ConfigError(Fault(key, length, str(error))) from None
