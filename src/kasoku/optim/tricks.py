"""Changes of an optimizer's step that hold for any optimizer: cautious updates, cautious weight decay, fixed norms.

Each compares the weights before and after the step, by hooks of the optimizer, and so needs to know nothing of its
inside: with u = before - after, the step without weight decay,

    cautious         u <- u m / mean(m), m = 1 where u and the gradient have one sign, else 0
    cautious_decay   w <- w - lr weight_decay w only where u and w have one sign
    hyperball        w <- |w0| n(w - lr |w0| n(u)) for matrices and kernels, n(x) = x / |x|, w0 the first weight
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval, Unit
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from kasoku import schedules, warmups
from kasoku.faults import ConfigError, Fault
from kasoku.signatures import check_call

KEY = "optimizer.tricks."
LEAST = 1e-3  # of mean(m): where next to nothing agrees, the rest of the step is not blown up without bound
TINY = 1e-12
CLOSE = 1e-3  # how near to the decoupled one a weight decay has to be
RADII = "radii"  # in a parameter group, and so in the optimizer's state: the norms that its parameters keep
Bound = partial
Decay = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class Tricks:
    """Tricks that carried over from speed records to other tasks; each is off unless chosen.

    Args:
        wd_schedule: the weight decay falls to zero from the warmup's end on, "linear" or as a "cosine", besides the
            decay of the lr. modded-nanogpt, records 43 and 50.
        cautious: only those entries of a step that have the gradient's sign, the rest scaled up for them. K. Liang et
            al. 2024, arXiv 2411.16085.
        cautious_decay: weight decay only where it agrees with the step. L. Chen et al. 2025, arXiv 2510.12402. For
            optimizers whose decay is decoupled.
        momentum_warmup: length over which the momentum, or beta1, rises to its value. K. Jordan, modded-nanogpt: from
            0.85 to 0.95 over 300 steps.
        momentum_start: the share of the momentum that it rises from.
        hyperball: matrices and kernels keep the norm that they began with, the lr is the angle of a step; they have no
            weight decay then. K. Wen et al. 2025, whenwen.github.io/wd_blog ("Hyperball optimization").
    """

    wd_schedule: Decay = "constant"
    cautious: bool = False
    cautious_decay: bool = False
    momentum_warmup: Annotated[int | str, Unit("steps")] | None = None
    momentum_start: Annotated[float, Interval(gt=0, lt=1)] = 0.8947
    hyperball: bool = False

    def faults(self) -> list[Fault]:
        """The settings that are out of their range."""
        return check_call(Tricks, vars(self), KEY)

    def refused(self, optimizer: Bound[Optimizer], drives: Mapping[str, Any]) -> list[Fault]:
        """The tricks that would do nothing with this optimizer, or something else; `drives`: the schedule's."""
        return [*self._without_decay(optimizer, drives), *self._without_momentum(optimizer)] + [
            Fault(KEY + name, True, "a schedule-free optimizer has no step to change: its weights are averages")
            for name in ("cautious", "cautious_decay", "hyperball")
            if getattr(self, name) and _averages(optimizer.func)
        ]

    def _without_decay(self, optimizer: Bound[Optimizer], drives: Mapping[str, Any]) -> list[Fault]:
        asking = {"wd_schedule": self.wd_schedule != "constant", "cautious_decay": self.cautious_decay}
        found = [
            Fault(KEY + name, getattr(self, name), "has no effect: optimizer.weight_decay is 0", "give a weight decay")
            for name, asks in asking.items()
            if asks and not optimizer.keywords.get("weight_decay")
        ]
        if asking["wd_schedule"] and "weight_decay" in drives:
            must = "scheduler.weight_decay is a schedule of it already"
            found.append(Fault(KEY + "wd_schedule", self.wd_schedule, must, "leave one of the two out"))
        return found

    def _without_momentum(self, optimizer: Bound[Optimizer]) -> list[Fault]:
        if self.momentum_warmup is None or has_momentum(optimizer):
            return []
        must = f"has no effect: {optimizer.func.__name__} has no momentum"
        return [Fault(KEY + "momentum_warmup", self.momentum_warmup, must, "set it to null")]

    @property
    def drives(self) -> dict[str, Bound[float]]:
        """The schedule of the weight decay, if there is one."""
        shape = {"linear": schedules.linear, "cosine": schedules.cosine}.get(self.wd_schedule)
        return {} if shape is None else {"weight_decay": partial(shape)}

    @property
    def ramps(self) -> dict[str, Bound[float]]:
        """The warmup of the momentum, if there is one."""
        if self.momentum_warmup is None:
            return {}
        settings: dict[str, Any] = {"length": self.momentum_warmup, "start_factor": self.momentum_start}
        return {"momentum": partial(warmups.linear, **settings)}

    @property
    def change_steps(self) -> bool:
        """True if steps of the optimizer itself are changed."""
        return self.cautious or self.cautious_decay or self.hyperball

    def attach(self, optimizer: Optimizer, spheres: Collection[int] = ()) -> None:
        """Have every step of `optimizer` changed; `spheres` are the ids of the parameters that hyperball is for.

        Raises:
            ConfigError: `cautious_decay` or `hyperball` ask for a decoupled weight decay, and this optimizer's is none.
        """
        if not self.change_steps:
            return
        owns = decays_apart(optimizer)
        asking = {"cautious_decay": self.cautious_decay, "hyperball": self.hyperball and has_decay(optimizer)}
        if faults := [_coupled(name, optimizer) for name, asks in asking.items() if asks and not owns]:
            raise ConfigError(*faults)
        change = Change(self.cautious, self.cautious_decay, frozenset(spheres if self.hyperball else ()), owns)
        optimizer.register_step_pre_hook(change.before)
        optimizer.register_step_post_hook(change.after)


class Change:
    """The hooks of a step.

    Args:
        cautious, cautious_decay: see `Tricks`.
        spheres: ids of the parameters whose norm stays.
        owns_decay: whether the decay is done here, as the optimizer would, and the groups' is zero in between.
    """

    def __init__(self, cautious: bool, cautious_decay: bool, spheres: frozenset[int], owns_decay: bool):
        self.cautious, self.cautious_decay = cautious, cautious_decay
        self.spheres, self.owns_decay = spheres, owns_decay
        self._weights: list[list[Tensor]] = []
        self._decays: list[float] = []

    @torch.no_grad()
    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Note the weights; take over the decay."""
        self._weights = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]
        if self.owns_decay:
            self._decays = [group["weight_decay"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["weight_decay"] = 0.0

    @torch.no_grad()
    def after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Change what the step did, unless a loss scaler had it skipped."""
        if self.owns_decay:
            for group, decay in zip(optimizer.param_groups, self._decays, strict=True):
                group["weight_decay"] = decay
        skipped = getattr(optimizer, "found_inf", None)
        if skipped is None or not skipped.item():
            for group, weights in zip(optimizer.param_groups, self._weights, strict=True):
                self._change(group, weights)
        self._weights = []

    def _change(self, group: dict[str, Any], before: list[Tensor]) -> None:
        params: list[Tensor] = group["params"]
        if self.spheres and RADII not in group:
            group[RADII] = [
                float(w.norm()) if id(p) in self.spheres else 0.0 for p, w in zip(params, before, strict=True)
            ]
        shrink = float(group["lr"]) * group["weight_decay"] if self.owns_decay else 0.0
        for i, (p, w) in enumerate(zip(params, before, strict=True)):
            if p.grad is None:
                continue
            u = w - p
            if self.cautious:
                u = agreeing(u, p.grad)
            if id(p) in self.spheres:
                p.copy_(turned(w, u, float(group["lr"]), group[RADII][i]))
                continue
            decayed = w * (u * w >= 0) if self.cautious_decay else w
            p.copy_(w - u - shrink * decayed)


def agreeing(step: Tensor, grad: Tensor) -> Tensor:
    """`step`, which is subtracted, where it has the sign of the gradient; scaled up by the share of such entries."""
    mask = (step * grad > 0).to(step.dtype)
    return step * mask / mask.mean().clamp(min=LEAST)


def turned(weight: Tensor, step: Tensor, lr: float, radius: float) -> Tensor:
    """`weight` after a step of length lr x radius along -`step`, brought back to the norm `radius`."""
    length = step.norm()
    moved = weight - step * (lr * radius / length.clamp(min=TINY))
    return moved * (radius / moved.norm().clamp(min=TINY)) if radius else weight - step


def has_momentum(optimizer: Bound[Optimizer]) -> bool:
    """True if `optimizer` has a momentum, or a beta1, above zero."""
    defaults = {name: p.default for name, p in inspect.signature(optimizer.func).parameters.items()}
    settings = defaults | optimizer.keywords
    momentum, betas = settings.get("momentum"), settings.get("betas")
    return bool(momentum) or (isinstance(betas, Sequence) and bool(betas[0]))


def has_decay(optimizer: Optimizer) -> bool:
    """True if a group of `optimizer` decays."""
    return any(group.get("weight_decay") for group in optimizer.param_groups)


def decays_apart(optimizer: Optimizer) -> bool:
    """True if the weight decay of `optimizer` is w <- w - lr weight_decay w, apart from the gradient.

    Found out by three steps of another one of its kind without any gradient: the third one has to be just that. An
    optimizer that cannot be asked so says it by an attribute `decays_apart`.
    """
    said = getattr(optimizer, "decays_apart", None)
    if said is not None:
        return bool(said)
    settings = {
        name: value for name, value in optimizer.param_groups[0].items() if name not in ("params", "name", RADII)
    }
    weight = Parameter(torch.eye(2, dtype=torch.float64))
    lr, decay = 0.01, 0.5
    try:
        kind: Any = type(optimizer)
        probe = kind([settings | {"params": [weight], "lr": lr, "weight_decay": decay}])
        for group in probe.param_groups:
            group["lr"], group["fused"] = lr, False
        for _ in range(3):
            before = weight.detach().clone()
            weight.grad = torch.zeros_like(weight)
            probe.step()
    except Exception:  # of any optimizer there is; one that cannot be asked is taken for one that does not
        return False
    rate = float((before - weight.detach())[0, 0] / before[0, 0]) / lr
    return abs(rate - decay) < CLOSE * decay


def _averages(kind: object) -> bool:
    """True if `kind` is schedule-free: it has a train and an eval mode."""
    return callable(getattr(kind, "train", None)) and callable(getattr(kind, "eval", None))


def _coupled(name: str, optimizer: Optimizer) -> Fault:
    must = f"needs a decoupled weight decay, w - lr weight_decay w; that of {type(optimizer).__name__} is another"
    fix = "choose adamw, lion, muon or another with such" + (
        ", or optimizer.weight_decay=0" if name == "hyperball" else ""
    )
    return Fault(KEY + name, True, must, fix)
