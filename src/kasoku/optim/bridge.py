"""The one crossing from pure schedules to torch: a LambdaLR that saves one integer and also drives other settings."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Factor = Callable[[int], float]


class DrivenLR(LambdaLR):
    """Sets lr = base lr x factor(step), and likewise every hyper-parameter in `drives`, in each parameter group.

    The state is the number of steps taken and nothing else: at a resume the base values, the factors and the horizon
    are those of the present configuration, whatever the optimizer's own state says (Lightning restores it first).

    Args:
        optimizer: its groups hold the base values.
        lr: the factor of the lr at step s, s = 0 for the first.
        drives: factors of other hyper-parameters; "momentum" stands for momentum or beta1, whichever a group has.
    """

    def __init__(self, optimizer: Optimizer, lr: Factor, drives: Mapping[str, Factor] | None = None):
        self._drives = dict(drives or {})
        self.drives = tuple(self._drives)
        self._bases = [dict(_settings(group)) for group in optimizer.param_groups]
        self._stepped = True
        optimizer.register_step_post_hook(self._note_step)
        super().__init__(optimizer, lambda step: lr(step))  # a plain closure: LambdaLR would save an object's __dict__

    def step(self, epoch: int | None = None) -> None:
        """Advance by one optimizer step, unless the loss scaler skipped it."""
        if self._stepped:
            self._stepped = False
            super().step(epoch)
            self._drive()

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # A scaler does not call step() to skip it, but hands fused optimizers a flag that makes their kernel skip.
        skipped = getattr(optimizer, "found_inf", None)
        self._stepped = skipped is None or not skipped.item()

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
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


def momentum_of(group: Mapping[str, Any]) -> float | None:
    """The momentum of a parameter group (or its beta1), None where it has neither."""
    if group.get("momentum"):
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """What a person configured in a group; what the optimizer itself keeps there (prodigy's d, ...) is not in here."""
    return {key: group[key] for key in ("momentum", "betas", "weight_decay", "eps", "dampening") if key in group}


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
