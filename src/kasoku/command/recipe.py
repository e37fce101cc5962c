"""The recipe of a run out of optimizer=, scheduler= and warmup=, fused where that spoils nothing."""

from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kasoku.command.devices import on_cuda
from kasoku.command.make import Maker, is_node, without
from kasoku.config.replaced import OF_EVERY_OPTIMIZER
from kasoku.faults import MISSING, Fault
from kasoku.optim.groups import Groups
from kasoku.optim.tricks import Tricks
from kasoku.recipe import SCALING, Recipe, learning_rates, no_optimizer, rebound

AUTO = "auto"  # optimizer.lr: what the range test suggests
DRIVEN = ("momentum", "weight_decay")


def make_recipe(maker: Maker, cfg: DictConfig) -> Any:
    optimizer, scheduler = _with_fused(cfg.optimizer, cfg.trainer), cfg.scheduler
    drives = {name: maker.bind(scheduler[name], f"scheduler.{name}") for name in DRIVEN if is_node(scheduler.get(name))}
    bound = maker.bind(without(optimizer, OF_EVERY_OPTIMIZER), "optimizer")
    schedule = maker.bind(without(scheduler, DRIVEN), "scheduler")
    warmup, groups = maker.bind(cfg.warmup, "warmup"), _part(maker, Groups, optimizer, "groups")
    tricks = _part(maker, Tricks, optimizer, "tricks") if "tricks" in optimizer else Tricks()
    if None in (bound, schedule, warmup, groups, tricks, *drives.values()):
        return None
    if other := no_optimizer(bound.func):
        maker.faults.append(other)
        return None
    if optimizer.get("lr", AUTO) == AUTO:  # not given, or not found yet: the optimizer's own default
        default = learning_rates(partial(bound.func)).get("lr", None if "lr" not in optimizer else 1.0)
        if default is None:
            maker.faults.append(Fault("optimizer.lr", MISSING, "must be given, the schedule multiplies it"))
            return None
        bound = rebound(bound, lr=default)
    scaling = {name: optimizer[name] for name in SCALING if name in optimizer}
    if optimizer.get("lr") == AUTO:
        scaling["scale_steps"] = "none"  # what the range test finds is the lr itself
    return maker.attempt(lambda: Recipe(bound, schedule, warmup, groups, drives, tricks=tricks, **scaling))


def _part(maker: Maker, kind: type, optimizer: DictConfig, name: str) -> Any:
    node, key = optimizer[name], f"optimizer.{name}"
    made = maker.make(node, key)
    return maker.of_kind(made, isinstance(made, kind), key, node, f"{kind.__name__} of {kind.__module__}")


def _with_fused(optimizer: DictConfig, trainer: DictConfig) -> DictConfig:
    """`optimizer` with `fused: null` decided: yes, unless a loss scaler has to unscale gradients before the step."""
    if "fused" not in optimizer or optimizer.fused is not None:
        return optimizer
    scaled = str(trainer.get("precision")).startswith("16")
    fused = not scaled and not _spoilt_by_fusing(optimizer, trainer)
    return OmegaConf.merge(optimizer, {"fused": fused})  # type: ignore[return-value]


def fused_faults(optimizer: DictConfig, trainer: DictConfig) -> list[Fault]:
    if not optimizer.get("fused") or not _spoilt_by_fusing(optimizer, trainer):
        return []
    must = f"torch's fused SGD spoils its momentum at trainer.precision={trainer.precision} on the CPU"
    return [Fault("optimizer.fused", True, must, "leave it null")]


def _spoilt_by_fusing(optimizer: DictConfig, trainer: DictConfig) -> bool:
    # torch 2.13: the last entries of a momentum buffer become whatever is in memory, 1e38 or inf now and then.
    is_half = str(trainer.get("precision")) in ("bf16-true", "16-true")
    return (
        is_half and not on_cuda(trainer) and optimizer._target_ == "torch.optim.SGD" and bool(optimizer.get("momentum"))
    )
