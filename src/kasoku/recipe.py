"""A recipe: optimizer, schedule, warmup and parameter groups, put together into what `configure_optimizers` returns.

    recipe = Recipe(
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
        schedule=partial(schedules.step, every="30%", gamma=0.1),
        warmup=partial(warmups.linear, length="5%"),
    )
    recipe.configure(net, Clock(total=500))        # parameter groups, optimizer, one scheduler stepping each step

Conventions: s optimizer steps were taken, the run has T, the warmup W; the schedule sees (s - W, T - W). During the
warmup the schedule stands at its first value, so that the joint is continuous whatever that value is.
"""

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from kasoku import schedules, warmups
from kasoku.durations import Clock, to_steps
from kasoku.faults import MISSING, ConfigError, Fault, check_call, has_lengths
from kasoku.optim.bridge import DrivenLR, Factor
from kasoku.optim.groups import Groups
from kasoku.optim.schedule_free import is_schedule_free

Bound = partial  # a callable with its settings bound, as `_partial_: true` makes it


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        optimizer: an optimizer class with its settings bound; `lr` among them.
        schedule: a function of `kasoku.schedules` (or `kasoku.optim.plateau.Plateau`) with its shape bound.
        warmup: a function of `kasoku.warmups` with its shape and `length` bound.
        groups: how the parameters are split into groups.
        drives: schedules of other settings, by name: "momentum" (or beta1) and "weight_decay".

    Raises:
        ConfigError: a setting is unknown or out of its range; all of them together.
    """

    optimizer: Bound[Optimizer]
    schedule: Bound[Any] = field(default_factory=lambda: partial(schedules.constant))
    warmup: Bound[float] = field(default_factory=lambda: partial(warmups.none, length=0))
    groups: Groups = field(default_factory=Groups)
    drives: Mapping[str, Bound[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = {"scheduler.": self.schedule, "warmup.": self.warmup}
        parts |= {f"scheduler.{name}.": schedule for name, schedule in self.drives.items()}
        faults = check_call(self.optimizer.func, self.optimizer.keywords, "optimizer.")
        for prefix, part in parts.items():
            settings = {name: value for name, value in part.keywords.items() if value != "untuned"}
            faults += check_call(part.func, settings, prefix) + _missing(part, prefix)
        if is_schedule_free(self.optimizer.func) and self.schedule.func is not schedules.constant:
            must = f"{self.optimizer.func.__name__} takes no schedule: its average of the weights replaces the decay"
            faults.append(Fault("scheduler", self.schedule.func.__name__, must, "use scheduler=constant"))
        if faults:
            raise ConfigError(*faults)

    @property
    def lr(self) -> float:
        """The base lr: what the schedule's factor multiplies."""
        return float(self.optimizer.keywords["lr"])

    def configure(self, module: nn.Module, clock: Clock) -> dict[str, Any]:
        """Parameter groups, optimizer and scheduler for `module`, in the form that Lightning takes.

        Raises:
            ConfigError: a length does not fit the run, or the schedule needs a horizon that the run does not have.
        """
        groups = self.groups.split(module, lr=self.lr, weight_decay=self.optimizer.keywords.get("weight_decay", 0.0))
        optimizer = self.optimizer(groups)
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer, clock)}

    def _scheduler(self, optimizer: Optimizer, clock: Clock) -> dict[str, Any]:
        if isinstance(self.schedule.func, type):
            scheduler = self.schedule(optimizer, warmup=self.ramp(clock))
        else:
            curves = self.curves(clock)
            scheduler = DrivenLR(optimizer, curves.pop("lr"), curves)
        return {"scheduler": scheduler, "interval": "step", "frequency": 1, "name": "lr"}

    def curves(self, clock: Clock) -> dict[str, Factor]:
        """The factor of the lr, and of every driven setting, as functions of the step. What `mode=preview` draws."""
        length, ramp = self.warmup_length(clock), self.ramp(clock)
        curves = {"lr": _joined(ramp, length, _bind(self.schedule, clock, length, "scheduler."))}
        for name, schedule in self.drives.items():
            curves[name] = _joined(_one, length, _bind(schedule, clock, length, f"scheduler.{name}."))
        return curves

    def ramp(self, clock: Clock) -> Factor:
        """The warmup alone: its factor at each step, 1 from its end on."""
        length = self.warmup_length(clock)
        shape = {name: value for name, value in self.warmup.keywords.items() if name != "length"}
        warm = partial(self.warmup.func, **shape)
        return lambda step: warm(step, length) if step < length else 1.0

    def warmup_length(self, clock: Clock) -> int:
        """The warmup's length in optimizer steps."""
        length = self.warmup.keywords.get("length", 0)
        steps = self._untuned() if length == "untuned" else _steps("warmup.length", length, clock)
        if clock.total is not None and steps > clock.total:
            must = f"is {steps} steps, and must not be longer than the run of {clock.total} steps"
            raise ConfigError(Fault("warmup.length", length, must, "shorten it, or train longer"))
        return steps

    def _untuned(self) -> int:
        """2 / (1 - beta2) steps (Ma and Yarats, arXiv 1910.04209), from the optimizer's own beta2."""
        defaults = inspect.signature(self.optimizer.func).parameters
        betas = self.optimizer.keywords.get("betas") or (defaults["betas"].default if "betas" in defaults else None)
        if betas is None:
            must = f"needs an optimizer with beta2, {self.optimizer.func.__name__} has none"
            raise ConfigError(Fault("warmup.length", "untuned", must, "give a length, such as 5%"))
        return round(2 / (1 - betas[1]))


def _missing(part: Bound[Any], prefix: str) -> list[Fault]:
    parameters = inspect.signature(part.func).parameters.values()
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return [Fault(prefix + name, MISSING, "must be given") for name in needed if name not in part.keywords]


def _joined(ramp: Factor, length: int, decay: Factor) -> Factor:
    return lambda step: ramp(step) * decay(0) if step < length else decay(step - length)


def _one(step: int) -> float:
    return 1.0


def _bind(schedule: Bound[float], clock: Clock, warmup: int, prefix: str) -> Factor:
    """`schedule` as a function of the steps since the warmup's end, its lengths turned into steps."""
    hints = typing.get_type_hints(schedule.func, include_extras=True)
    if clock.total is None and hints["total"] is int:
        name = schedule.func.__name__
        must = f"{name} needs to know how many steps the run has, which max_time alone or data without a length hide"
        raise ConfigError(Fault("scheduler", name, must, "give trainer.max_steps or trainer.max_epochs"))
    shape = {
        name: _in_steps(prefix + name, value, clock) if has_lengths(hints[name]) else value
        for name, value in schedule.keywords.items()
    }
    # A warmup as long as the run leaves the schedule no step; its first value still shapes the ramp.
    total = None if clock.total is None else max(1, clock.total - warmup)
    wrong = schedules.check_shape(schedule.func, shape, total)
    if wrong:
        raise ConfigError(*(Fault(prefix + name, schedule.keywords.get(name), must) for name, must in wrong))
    return lambda step: schedule.func(step, total, **shape)


def _in_steps(key: str, value: Any, clock: Clock) -> Any:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int | str):
        return _steps(key, value, clock)
    return [_steps(key, item, clock) for item in value]


def _steps(key: str, length: int | str, clock: Clock) -> int:
    try:
        return to_steps(length, clock)
    except ValueError as error:
        raise ConfigError(Fault(key, length, str(error))) from None
