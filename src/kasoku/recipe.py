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
import logging
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import nn
from torch.optim import Optimizer

from kasoku import schedules, warmups
from kasoku.durations import Clock, to_steps
from kasoku.faults import MISSING, ConfigError, Fault, check_call, has_lengths
from kasoku.optim.bridge import DrivenLR, Factor
from kasoku.optim.groups import Groups
from kasoku.optim.schedule_free import is_schedule_free

log = logging.getLogger("kasoku")

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
        scale_lr: "linear" multiplies every lr by r = effective batch / reference_batch_size, "sqrt" by sqrt(r). The
            effective batch counts all devices and accumulated batches. Goyal et al. 2017, arXiv 1706.02677; Malladi et
            al. 2022, arXiv 2205.10287.
        reference_batch_size: the effective batch for which the lr was tuned.

    Raises:
        ConfigError: a setting is unknown or out of its range; all of them together.
    """

    optimizer: Bound[Optimizer]
    schedule: Bound[Any] = field(default_factory=lambda: partial(schedules.constant))
    warmup: Bound[float] = field(default_factory=lambda: partial(warmups.none, length=0))
    groups: Groups = field(default_factory=Groups)
    drives: Mapping[str, Bound[float]] = field(default_factory=dict)
    scale_lr: Literal["none", "linear", "sqrt"] = "none"
    reference_batch_size: Annotated[int, Ge(1)] = 64

    def __post_init__(self) -> None:
        parts = {"scheduler.": self.schedule, "warmup.": self.warmup}
        parts |= {f"scheduler.{name}.": schedule for name, schedule in self.drives.items()}
        faults = check_call(self.optimizer.func, self.optimizer.keywords, "optimizer.", strict=True)
        scaling = {"scale_lr": self.scale_lr, "reference_batch_size": self.reference_batch_size}
        faults += check_call(Recipe, scaling, "optimizer.")
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

    def with_lr(self, lr: float) -> "Recipe":
        """This recipe at the base lr `lr`; what other rates the optimizer has, as Muon's adamw_lr, keep their ratio."""
        return replace(self, optimizer=rebound(_scaled(self.optimizer, lr / self.lr), lr=lr))

    def configure(self, module: nn.Module, clock: Clock) -> dict[str, Any]:
        """Parameter groups, optimizer and scheduler for `module`, in the form that Lightning takes.

        Raises:
            ConfigError: a length does not fit the run, or the schedule needs a horizon that the run does not have.
        """
        bound = _scaled(self.optimizer, self.lr_scale(clock))
        lr, weight_decay = bound.keywords["lr"], bound.keywords.get("weight_decay", 0.0)
        groups = self.groups.split(module, lr=float(lr), weight_decay=weight_decay)
        try:
            optimizer = bound(groups)
        except ValueError as error:
            raise ConfigError(Fault("optimizer", bound.func.__name__, f"refuses its settings: {error}")) from error
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer, clock)}

    def lr_scale(self, clock: Clock) -> float:
        """What `scale_lr` multiplies every lr by in a run with this clock; said in the log.

        Raises:
            ConfigError: the data does not tell its batch size.
        """
        if self.scale_lr == "none":
            return 1.0
        if clock.samples is None:
            must = "needs the batch size, which this data does not tell"
            fix = "give the LightningDataModule an attribute batch_size, or set it to none"
            raise ConfigError(Fault("optimizer.scale_lr", self.scale_lr, must, fix))
        ratio = clock.samples / self.reference_batch_size
        scale = ratio if self.scale_lr == "linear" else math.sqrt(ratio)
        batches = f"effective batch {clock.samples} / {self.reference_batch_size}"
        log.info("lr %g x %.4g (%s, %s)", self.lr, scale, self.scale_lr, batches)
        return scale

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
            shorter = "lower beta2 in optimizer.betas" if length == "untuned" else "shorten it"
            raise ConfigError(Fault("warmup.length", length, must, f"{shorter}, or train longer"))
        return steps

    def _untuned(self) -> int:
        """2 / (1 - beta2) steps (Ma and Yarats, arXiv 1910.04209), from the optimizer's own beta2."""
        defaults = inspect.signature(self.optimizer.func).parameters
        betas = self.optimizer.keywords.get("betas") or (defaults["betas"].default if "betas" in defaults else None)
        if betas is None:
            must = f"needs an optimizer with beta2, {self.optimizer.func.__name__} has none"
            raise ConfigError(Fault("warmup.length", "untuned", must, "give a length, such as 5%"))
        return round(2 / (1 - betas[1]))


def learning_rates(optimizer: Bound[Optimizer]) -> dict[str, float]:
    """The learning rates among an optimizer's settings, given or by default: lr, and others such as adamw_lr."""
    defaults = {name: p.default for name, p in inspect.signature(optimizer.func).parameters.items()}
    rates = {name: v for name, v in (defaults | optimizer.keywords).items() if name == "lr" or name.endswith("_lr")}
    return {name: float(v) for name, v in rates.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _scaled(optimizer: Bound[Optimizer], scale: float) -> Bound[Optimizer]:
    """`optimizer` with every learning rate multiplied; to 12 digits, so that 0.003 x 0.6 is the number 0.0018."""
    if scale == 1:
        return optimizer
    return rebound(optimizer, **{name: float(f"{v * scale:.12g}") for name, v in learning_rates(optimizer).items()})


def rebound(bound: Bound[Any], **settings: Any) -> Bound[Any]:
    """`bound` with other settings, in one partial: what Hydra makes would be wrapped, and its own settings hidden."""
    return partial(bound.func, **bound.keywords | settings)


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
    wrong = schedules.check_shape(schedule.func, shape, total, schedule.keywords)
    if wrong:
        raise ConfigError(*(Fault(prefix + name, schedule.keywords.get(name), must) for name, must in wrong))
    return lambda step: schedule.func(step, total, **shape)


def _in_steps(key: str, value: Any, clock: Clock) -> Any:
    if value is None:
        return None
    if isinstance(value, int | float | str):
        return _steps(key, value, clock)
    return [_steps(key, item, clock) for item in value]


def _steps(key: str, length: Any, clock: Clock) -> int:
    try:
        return to_steps(length, clock)
    except ValueError as error:
        raise ConfigError(Fault(key, length, str(error))) from None
