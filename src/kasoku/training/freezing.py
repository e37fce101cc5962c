"""Parameters that are trained from some step on: by the configuration, by a callback, or by the module's own code.

However a parameter comes to require its gradient, from that step on it is in the optimizer, at the lr and weight decay
that the configuration gives it, with the warmup from there; and a resumed run goes on with it. Lightning's
BaseFinetuning puts its groups into the optimizer itself, and `DrivenLR.admit` takes them in.
"""

import logging
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from kasoku.faults import ConfigError, Fault
from kasoku.optim.bridge import DrivenLR
from kasoku.optim.groups import Groups
from kasoku.optim.patterns import matching
from kasoku.optim.plan import KEY
from kasoku.training.clock import clock_of, steps_of

log = logging.getLogger("kasoku")

STATE = "trained"  # the key in a checkpoint


class Freezing(Callback):
    """Unfreezes what `optimizer.groups.unfreeze` names when it is due, and takes in whatever else is unfrozen.

    A checkpoint says which parameters are frozen and which are in which group. At a resume both are as they were, also
    in a module or with a callback that begins by freezing again.

    Raises:
        ConfigError: several processes train, whose gradients torch averages only for what was trained from the start;
            or the resumed command groups the parameters in another way.
    """

    def __init__(self) -> None:
        self._starts: dict[str, int] = {}
        self._waiting: list[nn.Parameter] = []
        self._restored: dict[str, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        groups = _groups(pl_module)
        if stage == "fit" and groups:
            groups.freeze(pl_module)  # DDP looks at it before there is an optimizer
            if groups.unfreeze and trainer.world_size > 1:
                raise ConfigError(_on_one_device(KEY + "unfreeze", groups.unfreeze))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the lengths; put back what the checkpoint says, before the optimizer's state is put back."""
        groups = _groups(pl_module)
        self._starts = groups.starts(clock_of(trainer)) if groups else {}
        if self._restored:
            _restore_flags(pl_module, self._restored)
            for scheduler, names in zip(_schedulers(trainer), self._restored["groups"], strict=False):
                _restore_groups(scheduler.optimizer, pl_module, names)
            self._restored = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waiting = [p for p in pl_module.parameters() if not p.requires_grad]
        if not self._waiting or not _schedulers(trainer):
            self.on_train_batch_start = None  # type: ignore[method-assign, assignment]  # Lightning calls no None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._unfreeze(steps_of(trainer), pl_module)
        risen = [p for p in self._waiting if p.requires_grad]
        if risen:
            self._waiting = [p for p in self._waiting if not p.requires_grad]
            if trainer.world_size > 1:
                raise ConfigError(_on_one_device("model", type(pl_module).__name__))
            _take_in(trainer, risen)
        for scheduler in _schedulers(trainer):
            if batch_idx == 0 and scheduler.has_added:  # BackboneFinetuning sets an lr of its own at each epoch
                scheduler.move_to(scheduler.last_epoch)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        names = {id(p): name for name, p in pl_module.named_parameters()}
        optimizers = [scheduler.optimizer for scheduler in _schedulers(trainer)]
        norms = [(name, inner) for name, inner in pl_module.named_modules() if isinstance(inner, _BatchNorm)]
        checkpoint[STATE] = {
            "groups": [_named(optimizer, names) for optimizer in optimizers],
            "frozen": [name for name, p in pl_module.named_parameters() if not p.requires_grad],
            "untracked": [name for name, norm in norms if not norm.track_running_stats],
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._restored = checkpoint.get(STATE, {}) if trainer.state.fn == "fit" else {}

    def _unfreeze(self, step: int, pl_module: pl.LightningModule) -> None:
        due = [pattern for pattern, start in self._starts.items() if step >= start]
        if due:
            named = dict(pl_module.named_parameters())
            for name in matching(due, named):
                named[name].requires_grad_(True)
            self._starts = {pattern: start for pattern, start in self._starts.items() if pattern not in due}


def _take_in(trainer: pl.Trainer, risen: Sequence[nn.Parameter]) -> None:
    """Add those of `risen` that no optimizer has to the one whose recipe foresees them, or else to the first."""
    schedulers = _schedulers(trainer)
    trained = {id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
    new = [p for p in risen if id(p) not in trained]
    for scheduler in schedulers:
        own = [p for p in new if next((s for s in schedulers if id(p) in s.foreseen), schedulers[0]) is scheduler]
        if own:
            scheduler.optimizer.add_param_group({"params": own})
    if risen:
        size = sum(p.numel() for p in risen)
        log.info(
            "step %d: %d tensors, %s parameters are trained from here on", steps_of(trainer), len(risen), f"{size:,}"
        )


def _restore_flags(module: nn.Module, state: dict[str, Any]) -> None:
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(name not in state["frozen"])
    for name, inner in module.named_modules():
        if isinstance(inner, _BatchNorm):
            inner.track_running_stats = name not in state["untracked"] and inner.running_mean is not None


def _restore_groups(optimizer: Optimizer, module: nn.Module, saved: list[list[str]]) -> None:
    """Add the groups that the run had taken in, and put all in the order in which it had them."""
    named = dict(module.named_parameters())
    names = {id(p): name for name, p in named.items()}
    free = named.keys() - {name for group in _named(optimizer, names) for name in group}
    for group in saved:
        if free.issuperset(group):
            optimizer.add_param_group({"params": [named[name] for name in group]})
    there = _named(optimizer, names)
    if sorted(there) != sorted(saved):
        other = next((group for group in there if group not in saved), saved[0])
        must = f"groups the parameters otherwise than this command does: {other[0]} and {len(other) - 1} more"
        raise ConfigError(Fault("resume", "last.ckpt", must, f"give the {KEY}* that the run began with"))
    optimizer.param_groups.sort(key=lambda group: saved.index([names[id(p)] for p in group["params"]]))


def _named(optimizer: Optimizer, names: dict[int, str]) -> list[list[str]]:
    return [[names.get(id(p), "") for p in group["params"]] for group in optimizer.param_groups]


def _schedulers(trainer: pl.Trainer) -> list[DrivenLR]:
    return [c.scheduler for c in trainer.lr_scheduler_configs if isinstance(c.scheduler, DrivenLR)]


def _groups(module: pl.LightningModule) -> Groups | None:
    return getattr(getattr(module, "recipe", None), "groups", None)


def _on_one_device(key: str, value: object) -> Fault:
    must = "unfreezes in training, and torch's DDP averages the gradients only of what was trained from the start"
    return Fault(key, value, must, "train on one device")
