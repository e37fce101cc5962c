"""From a composed configuration to the objects of a run."""

import copy
import inspect
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchmetrics import Metric, MetricCollection

from kasoku.command import tasks
from kasoku.command.data import make_data
from kasoku.command.devices import decided, machine_faults, on_cuda
from kasoku.command.make import Maker, first_line, is_node, nodes
from kasoku.config import replaced
from kasoku.config.environment import shareable
from kasoku.config.replaced import OF_EVERY_OPTIMIZER, OF_THE_RUN
from kasoku.faults import MISSING, ConfigError, Fault
from kasoku.optim.tricks import Tricks
from kasoku.recipe import SCALING, Recipe, learning_rates, no_optimizer, rebound
from kasoku.results import Target
from kasoku.signatures import violated
from kasoku.training import guests, lightning_alias
from kasoku.training.module import Module
from kasoku.training.observe import batch_for_sizes, materialise, uninitialised
from kasoku.training.run import Run
from kasoku.training.speedups import compile_nets, use_channels_last
from kasoku.training.suggestions import RangeTest
from kasoku.training.takeover import check_by_hand, drive
from kasoku.training.tasks import Task

AUTO = "auto"  # optimizer.lr: what the range test suggests
NOT_THE_TRAINERS = ("compile", "channels_last", "enable_progress_bar")
DRIVEN = ("momentum", "weight_decay")


def build(
    cfg: DictConfig,
    directory: Path,
    trusted: Sequence[str],
    overrides: Sequence[str] = (),
    started: float | None = None,
) -> Run:
    """The run that `cfg` describes.

    Raises:
        ConfigError: every fault that shows without training: targets that do not exist, unknown or missing keys, values
            out of range, devices that the machine lacks, data that is not there.
    """
    lightning_alias.accept()
    maker = Maker(trusted)
    cfg = _fitted(cfg, overrides, maker)
    cfg.trainer = decided(cfg.trainer)
    maker.faults += machine_faults(cfg.trainer) + _fused_faults(cfg.optimizer, cfg.trainer)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    target = Target(**OmegaConf.to_container(cfg.target, resolve=True))  # type: ignore[arg-type]
    data = make_data(maker, cfg.data, cfg.seed)
    module = _module(maker, cfg.model, data, cfg.get("task"), cfg.get("batch"))
    recipe = _recipe(maker, cfg)
    trainer = maker.make(_without(cfg.trainer, NOT_THE_TRAINERS), "trainer")
    loggers = [_logger(maker, node, f"logger.{name}", cfg, directory, target) for name, node in cfg.logger.items()]
    keys = [f"callbacks.{name}" for name, node in cfg.callbacks.items() if node is not None]
    callbacks = [_callback(maker, OmegaConf.select(cfg, key), key) for key in keys]
    maker.raise_faults()
    check_by_hand(module, trainer.keywords)
    drive(module, recipe, override=cfg.model.get("recipe", "override") == "override")
    if uninitialised(module):
        materialise(module, batch_for_sizes(module, data))
    _speed_up(module, cfg.trainer)
    return Run(
        directory=directory,
        module=module,
        data=data,
        trainer=trainer,
        target=target,
        loggers=loggers,
        callbacks=callbacks,
        names=dict(zip(callbacks, keys, strict=True)),
        bar=cfg.trainer.get("enable_progress_bar"),
        seed=cfg.seed,
        overrides=overrides,
        started=started or time.time(),
        range_test=RangeTest(**(cfg.optimizer.get("find_lr") or {})),
        auto_lr=cfg.optimizer.get("lr") == AUTO,
        on_divergence=cfg.on_divergence,
    )


def build_trained(
    cfg: DictConfig, trusted: Sequence[str], overrides: Sequence[str] = ()
) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    """The module that `cfg` describes and its data, without what trains it: on the CPU, whatever device it names.

    Raises:
        ConfigError: every fault of theirs.
    """
    lightning_alias.accept()
    maker = Maker(trusted)
    cfg = _fitted(cfg, overrides, maker)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = make_data(maker, cfg.data, cfg.seed)
    module = _module(maker, cfg.model, data, cfg.get("task"), cfg.get("batch"))
    maker.raise_faults()
    assert data is not None
    if uninitialised(module):
        materialise(module, batch_for_sizes(module, data))
    return module, data


def build_recipe(cfg: DictConfig, trusted: Sequence[str] | None = None) -> Recipe:
    """Optimizer, schedule, warmup and parameter groups of `cfg`.

    Raises:
        ConfigError: every fault of theirs.
    """
    maker = Maker(trusted)
    recipe = _recipe(maker, cfg)
    maker.raise_faults()
    return recipe


def build_module(
    model: DictConfig,
    data: pl.LightningDataModule,
    trusted: Sequence[str] | None = None,
    task: DictConfig | None = None,
) -> pl.LightningModule:
    """The LightningModule that the nodes `model` and `task` (None: classification) describe, for `data`.

    Raises:
        ConfigError: every fault of its nodes.
    """
    maker = Maker(trusted)
    module = _module(maker, model, data, task)
    maker.raise_faults()
    return module


def _recipe(maker: Maker, cfg: DictConfig) -> Any:
    optimizer, scheduler = _with_fused(cfg.optimizer, cfg.trainer), cfg.scheduler
    drives = {name: maker.bind(scheduler[name], f"scheduler.{name}") for name in DRIVEN if is_node(scheduler.get(name))}
    bound = maker.bind(_without(optimizer, OF_EVERY_OPTIMIZER), "optimizer")
    schedule = maker.bind(_without(scheduler, DRIVEN), "scheduler")
    warmup, groups = maker.bind(cfg.warmup, "warmup"), maker.make(optimizer.groups, "optimizer.groups")
    tricks = maker.make(optimizer.tricks, "optimizer.tricks") if "tricks" in optimizer else Tricks()
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


def _module(
    maker: Maker,
    model: DictConfig,
    data: pl.LightningDataModule | None,
    task_node: DictConfig | None = None,
    batch: DictConfig | None = None,
) -> Any:
    """A LightningModule of the user's (`model._target_`), or `Module` around `model.net`."""
    model = _with_offers(maker, _without(model, OF_THE_RUN))
    fact = tasks.facts_of(data)
    task = None if data is None else tasks.make_task(maker, task_node, fact)
    if task is None or not maker.attempt(lambda: tasks.fill(maker, model, task, fact)):
        maker.judge(_without_facts(model), "model")
        return None
    if "_target_" in model:
        left = maker.attempt(lambda: tasks.left_to(maker, model, task))
        return None if left is None else maker.attempt(lambda: _lightning_module(maker.make(left, "model"), model))
    net = _net(maker, model.net, task)
    loss = tasks.make_loss(maker, model.get("loss"), task)
    nodes = model.get("metrics") or {}
    metrics = {name: _metric(maker, node, f"model.metrics.{name}") for name, node in nodes.items()}
    at_fault = any(made is None for made in (net, loss, *metrics.values()))
    if at_fault or isinstance(net, pl.LightningModule):
        return net
    return Module(net, loss, metrics, task=task, batch=tasks.batch_of(batch))


def _net(maker: Maker, node: DictConfig, task: Task) -> Any:
    target = maker.locate(node, "model.net")
    if target is not None and (fault := tasks.lacking(node, target, task)):
        maker.faults.append(fault)
        return None
    made = maker.make(node, "model.net")
    return _of_kind(maker, made, isinstance(made, nn.Module), "model.net", node, "torch.nn.Module")


def _metric(maker: Maker, node: DictConfig, key: str) -> Any:
    for where, inner in nodes(node, key):
        target = maker.locate(inner, where)
        if target is not None and (fault := tasks.unsaid(where, inner, target)):
            maker.faults.append(fault)
            return None
    made = maker.make(node, key)
    return _of_kind(maker, made, isinstance(made, Metric | MetricCollection), key, node, "metric of torchmetrics")


def _with_offers(maker: Maker, model: DictConfig) -> DictConfig:
    """`model` with nulls for what the classes of net and metrics take from the data and are not given."""
    net = model.get("net")
    for key, node in [*nodes(model.get("metrics"), "metrics"), *([("net", net)] if is_node(net) else [])]:
        target = maker.locate(node, f"model.{key}")
        if target is not None:
            tasks.offer(node, target, optional=key != "net")
    return model


def _lightning_module(module: Any, node: DictConfig) -> Any:
    """`module`, if it is one of the package that trains it.

    Raises:
        ConfigError: it is another Lightning's, or a plain net.
    """
    if module is None or isinstance(module, pl.LightningModule):
        return module
    name = node["_target_"]
    if any(kind.__module__.startswith("lightning.") for kind in type(module).__mro__):
        must = "is a module of the package lightning, imported before kasoku could put pytorch_lightning in its place"
        raise ConfigError(Fault("model._target_", name, must, "write in its file: import pytorch_lightning as L"))
    raise ConfigError(
        Fault("model._target_", name, "is no LightningModule", f"for a plain net: model.net._target_={name}")
    )


def _speed_up(module: pl.LightningModule, trainer: DictConfig) -> None:
    if trainer.get("channels_last"):
        use_channels_last(module)
    if trainer.get("compile"):
        compile_nets(module)


def _with_fused(optimizer: DictConfig, trainer: DictConfig) -> DictConfig:
    """`optimizer` with `fused: null` decided: yes, unless a loss scaler has to unscale gradients before the step."""
    if "fused" not in optimizer or optimizer.fused is not None:
        return optimizer
    scaled = str(trainer.get("precision")).startswith("16")
    fused = not scaled and not _spoilt_by_fusing(optimizer, trainer)
    return OmegaConf.merge(optimizer, {"fused": fused})  # type: ignore[return-value]


def _fused_faults(optimizer: DictConfig, trainer: DictConfig) -> list[Fault]:
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


def _without_facts(node: DictConfig) -> DictConfig:
    """`node` less what only the data could say."""
    rest = _without(node, [key for key, value in node.items() if key in tasks.FROM_DATA and value is None])
    for key, value in rest.items():
        if isinstance(value, DictConfig):
            rest[key] = _without_facts(value)
    return rest


def _fitted(cfg: DictConfig, overrides: Sequence[str], maker: Maker) -> DictConfig:
    """`cfg` where a node whose `_target_` the command replaced keeps of the old one only what the new one names."""
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    replaced.drop(cfg, overrides)
    for key, names in replaced.given(overrides).items():
        node = OmegaConf.select(cfg, key)
        if isinstance(node, DictConfig) and key.split(".")[0] not in replaced.WHOLE:
            of_ours = {"optimizer": OF_EVERY_OPTIMIZER, "model": OF_THE_RUN}.get(key, ())
            _take_out(node, {str(name) for name in node} - {*names, *of_ours}, maker, key)
    return cfg


def _take_out(node: DictConfig, doubtful: Collection[str], maker: Maker, key: str) -> None:
    """Take out of `node` those of the `doubtful` names that the signature of its target does not have."""
    if target := maker.locate(node, key):
        accepted = inspect.signature(target).parameters
        for name in doubtful:
            if name in node and not name.startswith("_") and name not in accepted:
                del node[name]


def _callback(maker: Maker, node: DictConfig, key: str) -> Any:
    """A callback; of whichever Lightning, for the hooks are the same."""
    made = maker.make(node, key)
    return _of_kind(maker, made, hasattr(type(made), "state_key"), key, node, "Callback of Lightning")


def _of_kind(maker: Maker, made: Any, is_one: bool, key: str, node: DictConfig, kind: str) -> Any:
    """`made`, by `node`; None where it is none of its `kind`, which is noted, or could not be made."""
    if made is not None and not is_one:
        maker.faults.append(Fault(key, node["_target_"], f"is no {kind}", "name a class of one"))
    return made if is_one else None


def _logger(maker: Maker, node: DictConfig, key: str, cfg: DictConfig, directory: Path, target: Target) -> Any:
    """A logger as a guest, with the run's directory, configuration and target where its arguments ask for them."""
    if not is_node(node):
        return maker.make(node, key)
    patience = node.get("patience", guests.PATIENCE)
    if must := violated(guests.Patience, patience):
        maker.faults.append(Fault(f"{key}.patience", patience, must))
    logger = maker.make(_without(node, ["patience"]), key)
    if isinstance(logger, partial):
        offered = {"directory": directory, "save_dir": str(directory), "config": shareable(cfg), "target": target}
        accepted = inspect.signature(logger.func).parameters
        given = {name: value for name, value in (offered | {"patience": patience}).items() if name in accepted}
        logger = maker.attempt(lambda: _called(logger, given, key))
    logger = _of_kind(maker, logger, hasattr(type(logger), "log_metrics"), key, node, "Logger of Lightning")
    return guests.guarded(logger, key, patience)


def _called(logger: partial[Any], given: dict[str, Any], key: str) -> Any:
    try:
        return logger(**given)
    except ModuleNotFoundError as error:
        fix = "install it, or choose another"
        raise ConfigError(Fault(key, logger.func.__name__, first_line(error), fix)) from error
    except Exception as error:  # whatever a logger says of its arguments or of a server that is not there
        must = f"cannot be made: {type(error).__name__}: {first_line(error)}"
        raise ConfigError(Fault(key, logger.func.__name__, must, "choose another, such as logger=csv")) from error


def _without(node: DictConfig, names: Any) -> DictConfig:
    rest: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    for name in names:
        rest.pop(name, None)
    return rest
