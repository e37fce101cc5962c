"""A recipe: optimizer, schedule, warmup and parameter groups, put together into what `configure_optimizers` returns.

recipe = Recipe(
    optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    schedule=partial(schedules.step, every="30%", gamma=0.1),
    warmup=partial(warmups.linear, length="5%"),
)
recipe.configure(net, Clock(total=500))        # parameter groups, optimizer, one scheduler stepping each step
"""

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import Tensor, nn
from torch.optim import Optimizer

from kasoku import schedules, warmups
from kasoku.curves import UNTUNED, Bound, Curves, Factor, no_function
from kasoku.durations import Clock
from kasoku.faults import ConfigError, Fault
from kasoku.optim.bridge import DrivenLR
from kasoku.optim.flow import Flow
from kasoku.optim.groups import Groups
from kasoku.optim.plan import check_complete
from kasoku.optim.roles import roles
from kasoku.optim.tricks import Tricks
from kasoku.signatures import check_call, judged

log = logging.getLogger("kasoku")

SCALING = ("scale_lr", "reference_batch_size", "scale_steps", "reference_steps")  # of the lr, by the run's facts
MOST = 2.0  # times that scale_steps makes an lr larger or smaller


@dataclass(frozen=True)
class Recipe:
    """The way a network is trained.

    Args:
        optimizer: an optimizer class with its settings bound; `lr` among them.
        schedule: a function of `kasoku.schedules` (or `kasoku.optim.plateau.Plateau`) with its shape bound.
        warmup: a function of `kasoku.warmups` with its shape and `length` bound.
        groups: how the parameters are split into groups.
        drives: schedules of other settings, by name: "momentum" (or beta1) and "weight_decay".
        scale_steps: "sqrt" multiplies every lr by sqrt(reference_steps / steps of the run), at least by a half and at
            most by 2: the longer a run, the smaller its best lr. There is no factor where its length is not known.
        reference_steps: the run's length for which the lr was tuned.
        tricks: changes that hold for any optimizer, all off by default.
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
    scale_steps: Literal["none", "sqrt"] = "none"
    reference_steps: Annotated[int, Ge(1)] = 400
    tricks: Tricks = field(default_factory=Tricks)

    def __post_init__(self) -> None:
        if other := no_optimizer(self.optimizer.func):
            raise ConfigError(other)
        faults = check_call(self.optimizer.func, self.optimizer.keywords, "optimizer.", strict=True)
        scaling: dict[str, object] = {name: getattr(self, name) for name in SCALING}
        faults += check_call(Recipe, scaling, "optimizer.")
        wrong = self.tricks.faults()
        faults += wrong or [*self.tricks.refused(self.optimizer, self.drives), *self._without_horizon()]
        faults += [] if wrong else self._curves.faults()
        if isinstance(self.schedule.func, type):
            faults += self._wrong_class(self.schedule.func)
        if is_schedule_free(self.optimizer.func) and self.schedule.func is not schedules.constant:
            must = f"{self.optimizer.func.__name__} takes no schedule: its average of the weights replaces the decay"
            faults.append(Fault("scheduler", self.schedule.func.__name__, must, "use scheduler=constant"))
        if faults:
            raise ConfigError(*faults)

    def _without_horizon(self) -> list[Fault]:
        if not self._is_reactive:
            return []
        must = f"is not for {self.schedule.func.__name__}, which knows no length of the run"
        given = {"wd_schedule": self.tricks.drives, "momentum_warmup": self.tricks.ramps}
        return [Fault(f"optimizer.tricks.{name}", vars(self.tricks)[name], must) for name, on in given.items() if on]

    @property
    def needs_flow(self) -> bool:
        """True if the flow of data has to tell something for the groups or the tricks, the head mostly."""
        return self.groups.needs_flow or (self.tricks.hyperball and not self.groups.head)

    def _wrong_class(self, schedule: type) -> list[Fault]:
        if issubclass(schedule, DrivenLR):
            return check_call(schedule, self.schedule.keywords, "scheduler.")
        return [no_function("scheduler.", schedule)]

    @property
    def lr(self) -> float:
        """The base lr: what the schedule's factor multiplies."""
        return float(self.optimizer.keywords["lr"])

    def with_lr(self, lr: float) -> "Recipe":
        """This recipe at the base lr `lr`; what other rates the optimizer has, as Muon's adamw_lr, keep their ratio."""
        return replace(self, optimizer=rebound(_scaled(self.optimizer, lr / self.lr), lr=lr))

    def configure(
        self,
        module: nn.Module,
        clock: Clock,
        flow: Flow | None = None,
        parameters: Sequence[Tensor] | None = None,
    ) -> dict[str, Any]:
        """Parameter groups, optimizer and scheduler for `module`, in the form that Lightning takes.

        Args:
            module: the net.
            clock: of the run.
            flow: tells the head, and how deep the layers lie (`kasoku.optim.flow.observe`); None: the order in which
                they were registered does.
            parameters: those that this optimizer trains; None: all.

        Raises:
            ConfigError: a length does not fit the run, or the schedule needs a horizon that the run does not have.
        """
        bound = _scaled(self.optimizer, self.lr_scale(clock))
        lr, weight_decay = bound.keywords["lr"], bound.keywords.get("weight_decay", 0.0)
        self.groups.starts(clock)
        plan = self.groups.plan(module, float(lr), weight_decay, flow)
        taken = list(module.parameters() if parameters is None else parameters)
        groups = plan.groups(taken)
        if parameters is None:
            check_complete(module, groups)
        optimizer = self._optimizer(bound, groups)
        self.tricks.attach(optimizer, self._spheres(module, flow))
        scheduler = self._scheduler(optimizer, clock)
        scheduler["scheduler"].admit(plan, self._curves.ramp(clock), taken)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _spheres(self, module: nn.Module, flow: Flow | None) -> set[int]:
        """The ids of the parameters that hyperball is for: matrices and kernels, the head's not among them."""
        if not self.tricks.hyperball:
            return set()
        named = dict(module.named_parameters())
        return {
            id(named[name])
            for name, role in roles(module, self.groups.heads(module, flow)).items()
            if role == "matrices"
        }

    def _optimizer(self, bound: Bound[Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
        try:
            with judged(bound.func):
                made = bound(groups)
        except ValueError as error:
            raise ConfigError(Fault("optimizer", bound.func.__name__, f"refuses its settings: {error}")) from error
        if other := no_optimizer(type(made)):
            raise ConfigError(other)
        return made

    def lr_scale(self, clock: Clock) -> float:
        """The factor that `scale_lr` and `scale_steps` multiply every lr by in a run with this clock; said in the log.

        Raises:
            ConfigError: the data does not tell its batch size, and scale_lr asks for it.
        """
        return self._scale_of_batch(clock) * self._scale_of_length(clock)

    def _scale_of_batch(self, clock: Clock) -> float:
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

    def _scale_of_length(self, clock: Clock) -> float:
        if self.scale_steps == "none" or clock.total is None:
            return 1.0
        scale = min(MOST, max(1 / MOST, math.sqrt(self.reference_steps / clock.total)))
        log.info("lr %g x %.4g (scale_steps, %d steps / %d)", self.lr, scale, clock.total, self.reference_steps)
        return scale

    def _scheduler(self, optimizer: Optimizer, clock: Clock) -> dict[str, Any]:
        curves = self.curves(clock)
        if self._is_reactive:
            scheduler = self.schedule(optimizer, warmup=self._curves.ramp(clock))
        else:
            scheduler = DrivenLR(optimizer, curves.pop("lr"), curves)
        return {"scheduler": scheduler, "interval": "step", "frequency": 1, "name": "lr"}

    def curves(self, clock: Clock) -> dict[str, Factor]:
        """The factor of the lr, and of every driven setting, as functions of the step. What `mode=preview` draws.

        Raises:
            ConfigError: a length does not fit the run, or the schedule needs a horizon that the run does not have.
        """
        return self._curves.fit(clock)

    def warmup_length(self, clock: Clock) -> int:
        """The warmup's length in optimizer steps."""
        return self._curves.warmup_length(clock)

    @property
    def _is_reactive(self) -> bool:
        """True if the schedule is a class that looks at more than the step: the plateau."""
        return isinstance(self.schedule.func, type)

    @property
    def _curves(self) -> Curves:
        schedule = None if self._is_reactive else self.schedule
        is_untuned = self.warmup.keywords.get("length") == UNTUNED
        drives, untuned = {**self.drives, **self.tricks.drives}, self._untuned() if is_untuned else None
        return Curves(schedule, self.warmup, drives, untuned, self.tricks.ramps)

    def _untuned(self) -> int:
        """2 / (1 - beta2) steps (Ma and Yarats, arXiv 1910.04209), from the optimizer's own beta2."""
        defaults = inspect.signature(self.optimizer.func).parameters
        betas = self.optimizer.keywords.get("betas") or (defaults["betas"].default if "betas" in defaults else None)
        if betas is None:
            must = f"needs an optimizer with beta2, {self.optimizer.func.__name__} has none"
            raise ConfigError(Fault("warmup.length", UNTUNED, must, "give a length, such as 5%"))
        return round(2 / (1 - betas[1]))


def no_optimizer(target: object) -> Fault | None:
    """The fault of a `target` that is a class, and none of an optimizer."""
    if not inspect.isclass(target) or issubclass(target, Optimizer):
        return None
    return Fault("optimizer", target.__name__, "is no torch.optim.Optimizer", "choose one: optimizer=OPTION")


def is_schedule_free(optimizer: object) -> bool:
    """True if `optimizer` has a train and an eval mode, as the schedule-free ones do."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


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
