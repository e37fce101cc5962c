"""The one crossing from pure schedules to torch: a LambdaLR that saves one integer and also drives other settings."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kasoku.curves import Factor
from kasoku.optim.plan import Plan


class Added(NamedTuple):
    """A group that came in after `start` steps: its base lr over that of the first group, and its other base values."""

    start: int
    ratio: float
    settings: dict[str, Any]


class DrivenLR(LambdaLR):
    """Sets lr = base lr x factor(step), and likewise every hyper-parameter in `drives`, in each parameter group.

    The state is the number of steps taken and nothing else: at a resume the base values, the factors and the horizon
    are those of the present configuration, whatever the optimizer's own state says (Lightning restores it first).
    Groups that are added to the optimizer later (see `admit`) are in the state, for no configuration has them.

    Args:
        optimizer: its groups hold the base values.
        lr: the factor of the lr at step s, s = 0 for the first.
        drives: factors of other hyper-parameters; "momentum" stands for momentum or beta1, whichever a group has.
    """

    def __init__(self, optimizer: Optimizer, lr: Factor, drives: Mapping[str, Factor] | None = None):
        self._drives = dict(drives or {})
        self.drives = tuple(self._drives)
        self._bases = [settings_of(optimizer, group) for group in optimizer.param_groups]
        self._factor: Factor = lr
        self._ramp: Factor = _one
        self.foreseen: set[int] = set()
        self._added: list[Added] = []
        self._stepped = True
        self.is_led = False  # moved by `move_to` alone: the module optimizes by hand, and may call step or not
        optimizer.register_step_post_hook(self._note_step)
        super().__init__(optimizer, lambda step: lr(step))  # a plain closure: LambdaLR would save an object's __dict__
        self._configured = len(self.base_lrs)

    def admit(self, plan: Plan, ramp: Factor, foreseen: Iterable[Tensor] = ()) -> None:
        """Take in groups that are added to the optimizer from now on, as layers are unfrozen.

        They are split by `plan`. The lr that a group is given is understood as that of the present step: divided by the
        factor it is the group's base lr, which from there on follows the schedule as the others do, with `ramp`, the
        warmup, from its first step on. `foreseen` are the parameters that this optimizer is for, frozen ones too.
        """
        self.foreseen = {id(p) for p in foreseen}
        self._ramp = _one if plan.one_lr else ramp
        append = self.optimizer.add_param_group

        def add(group: dict[str, Any]) -> None:
            step, factor, before = self.last_epoch, self._factor(self.last_epoch), len(self.optimizer.param_groups)
            lr = float(group.get("lr", self.base_lrs[0] * factor))
            for part in plan.added(group | {"lr": lr / factor if factor else lr}, step):
                append(part)
            for new in self.optimizer.param_groups[before:]:
                self._register(
                    Added(step, float(new["lr"]) / float(self.base_lrs[0]), settings_of(self.optimizer, new))
                )
            self.move_to(step)

        self.optimizer.add_param_group = add  # type: ignore[method-assign, assignment]

    def factors(self, steps: Sequence[int]) -> dict[str, list[float]]:
        """The factors of the first group's lr and of whatever else is driven at `steps`; nothing is set to them."""
        driven = {"lr": self.lr_lambdas[0], **self._drives}
        return {name: [float(factor(step)) for step in steps] for name, factor in driven.items()}

    @property
    def has_added(self) -> bool:
        """True if a group came in after the start."""
        return bool(self._added)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Advance by one optimizer step, whatever the arguments, unless the scaler skipped it or `move_to` leads."""
        if self._stepped and not self.is_led:
            self._stepped = False
            super().step()
            self._drive()

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # A scaler does not call step() to skip it, but hands fused optimizers a flag that makes their kernel skip.
        skipped = getattr(optimizer, "found_inf", None)
        self._stepped = skipped is None or not skipped.item()

    def state_dict(self) -> dict[str, Any]:
        added = [list(group) for group in self._added]
        return {"step": self.last_epoch} | ({"added": added} if added else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restore([Added(*group) for group in state_dict.get("added", ())])
        self.move_to(state_dict["step"])

    def move_to(self, step: int) -> None:
        """Set every group to what the configuration gives it at `step`."""
        self.last_epoch = step
        self._step_count = step + 1
        for group, base in zip(self.optimizer.param_groups, self._bases, strict=True):
            group.update(base)
        for group, base_lr, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            _set(group, "initial_lr", float(base_lr))
            _set(group, "lr", float(base_lr) * factor(self.last_epoch))
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        self._drive()

    def _drive(self) -> None:
        for name, factor in self._drives.items():
            for group, base in zip(self.optimizer.param_groups, self._bases, strict=True):
                _scale(group, base, name, factor(self.last_epoch))

    def _register(self, group: Added) -> None:
        self._added.append(group)
        self._bases.append(dict(group.settings))
        self.base_lrs.append(group.ratio * float(self.base_lrs[0]))
        self.lr_lambdas.append(lambda step: self._factor(step) * self._ramp(max(0, step - group.start)))

    def _restore(self, added: Sequence[Added]) -> None:
        """Have `added` for the groups beyond the configured ones, which whoever added them has put back."""
        for values in (self._bases, self.base_lrs, self.lr_lambdas):
            del values[self._configured :]
        self._added.clear()
        for group in added:
            self._register(group)


def momentum_of(group: Mapping[str, Any]) -> float | None:
    """The momentum of a parameter group (or its beta1), None where it has neither."""
    if group.get("momentum"):
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def _one(step: int) -> float:
    return 1.0


def settings_of(optimizer: Optimizer, group: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a person configured in a group besides the lr: arguments of the optimizer's class.

    Those that the optimizer itself keeps there (prodigy's d, ...) are not among them.
    """
    arguments = inspect.signature(type(optimizer)).parameters
    return {key: value for key, value in group.items() if key in arguments and key not in ("params", "lr")}


def _scale(group: dict[str, Any], base: Mapping[str, Any], name: str, factor: float) -> None:
    if name != "momentum":
        if name in base:
            group[name] = base[name] * factor
    elif base.get("momentum"):
        group["momentum"] = base["momentum"] * factor
    elif "betas" in base:
        group["betas"] = (base["betas"][0] * factor, *base["betas"][1:])


def _set(group: dict[str, Any], key: str, value: float) -> None:
    """Keep an lr that is a tensor (capturable, compiled optimizers) the tensor that it is."""
    if hasattr(group.get(key), "fill_"):
        group[key].fill_(value)
    else:
        group[key] = value
