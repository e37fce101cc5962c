"""From a composed configuration to the objects of a run. The only caller of Hydra's instantiate."""

import copy
import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from kasoku.config.environment import shareable
from kasoku.config.machine import decided, machine_faults
from kasoku.config.trust import locate
from kasoku.faults import ConfigError, Fault, check_call
from kasoku.recipe import Recipe, learning_rates, rebound
from kasoku.training.module import Module
from kasoku.training.run import Run
from kasoku.training.speedups import compile_nets, use_channels_last
from kasoku.training.suggestions import RangeTest
from kasoku.training.target import Target

FROM_DATA = ("input_shape", "num_classes")  # null in a model's file: taken from the data
NOT_THE_OPTIMIZERS = ("groups", "scale_lr", "reference_batch_size", "find_lr")
AUTO = "auto"  # optimizer.lr: what the range test suggests
NOT_THE_TRAINERS = ("compile", "channels_last")
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
    cfg = _without_replaced(cfg, overrides)
    cfg.trainer = decided(cfg.trainer)
    faults = machine_faults(cfg.trainer) + list(_call_faults(cfg, trusted))
    if faults:
        raise ConfigError(*faults)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    target = Target(**OmegaConf.to_container(cfg.target, resolve=True))  # type: ignore[arg-type]
    data = make(cfg.data, "data")
    module = build_module(cfg.model, data)
    module.recipe = build_recipe(cfg)
    _speed_up(module, cfg.trainer)
    return Run(
        directory=directory,
        module=module,
        data=data,
        trainer=make(_without(cfg.trainer, NOT_THE_TRAINERS), "trainer"),
        target=target,
        loggers=[make_logger(node, f"logger.{name}", cfg, directory, target) for name, node in cfg.logger.items()],
        callbacks=[make(node, f"callbacks.{name}") for name, node in cfg.callbacks.items() if node is not None],
        seed=cfg.seed,
        overrides=overrides,
        started=started or time.time(),
        range_test=RangeTest(**(cfg.optimizer.get("find_lr") or {})),
        auto_lr=cfg.optimizer.lr == AUTO,
    )


def build_recipe(cfg: DictConfig) -> Recipe:
    """Optimizer, schedule, warmup and parameter groups of `cfg`."""
    optimizer, scheduler = _with_fused(cfg.optimizer, cfg.trainer), cfg.scheduler
    drives = {name: make(scheduler[name], f"scheduler.{name}") for name in DRIVEN if _is_node(scheduler.get(name))}
    bound = make(_without(optimizer, NOT_THE_OPTIMIZERS), "optimizer")
    if optimizer.lr == AUTO:  # until it is found, the optimizer's own default holds its place
        bound = rebound(bound, lr=learning_rates(partial(bound.func)).get("lr", 1.0))
    return Recipe(
        optimizer=bound,
        schedule=make(_without(scheduler, DRIVEN), "scheduler"),
        warmup=make(cfg.warmup, "warmup"),
        groups=make(optimizer.groups, "optimizer.groups"),
        drives=drives,
        **{name: optimizer[name] for name in ("scale_lr", "reference_batch_size") if name in optimizer},
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
    return OmegaConf.merge(optimizer, {"fused": not scaled})  # type: ignore[return-value]


def build_module(model: DictConfig, data: pl.LightningDataModule) -> pl.LightningModule:
    """A LightningModule of the user's (`model._target_`), or `Module` around `model.net`."""
    model = _without(model, ())
    _fill_from_data(model, data)
    if "_target_" in model:
        return make(model, "model")
    net = make(_fitting(model.net), "model.net")
    if isinstance(net, pl.LightningModule):
        return net
    loss = make(model.loss, "model.loss") if model.get("loss") else None
    metrics = {name: make(node, f"model.metrics.{name}") for name, node in (model.get("metrics") or {}).items()}
    return Module(net, loss, metrics)


def _without_replaced(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """`cfg` where a node whose `_target_` the command replaced keeps only what the command gave it.

    `model.net._target_=my_package.Net` alone is enough: the arguments of the net that stood there were not for it.
    """
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    given = {override.lstrip("+").split("=")[0] for override in overrides}
    for replaced in (name.removesuffix("._target_") for name in given if name.endswith("._target_")):
        node = OmegaConf.select(cfg, replaced)
        for name in list(node):
            kept = str(name).startswith("_") or name in FROM_DATA or name in NOT_THE_OPTIMIZERS
            if not kept and not any(other.startswith(f"{replaced}.{name}") for other in given):
                del node[name]
    return cfg


def _fill_from_data(node: DictConfig, data: pl.LightningDataModule) -> None:
    for key, value in node.items():
        if isinstance(value, DictConfig):
            _fill_from_data(value, data)
        elif key in FROM_DATA and value is None:
            node[key] = _data_fact(data, str(key))


def _data_fact(data: pl.LightningDataModule, name: str) -> Any:
    if not hasattr(data, name):
        data.prepare_data()
        data.setup("fit")
    value = getattr(data, name, None)
    return list(value) if isinstance(value, tuple) else value


def _fitting(net: DictConfig) -> DictConfig:
    """`net` without what was meant for another class: `model.net._target_=my_package.Net` alone is enough."""
    accepted = inspect.signature(get_method(net["_target_"])).parameters
    return _without(net, [name for name in FROM_DATA if name in net and name not in accepted])


def make_logger(node: DictConfig, key: str, cfg: DictConfig, directory: Path, target: Target) -> Any:
    """A Lightning logger, with the run's directory, configuration and target where its arguments ask for them."""
    logger = make(node, key)
    if not isinstance(logger, partial):
        return logger
    offered = {"directory": directory, "save_dir": str(directory), "config": shareable(cfg), "target": target}
    accepted = inspect.signature(logger.func).parameters
    try:
        return logger(**{name: value for name, value in offered.items() if name in accepted})
    except ModuleNotFoundError as error:
        raise ConfigError(
            Fault(key, logger.func.__name__, _first_line(error), "install it, or choose another")
        ) from error


def make(node: DictConfig, key: str, **extra: Any) -> Any:
    """What `node._target_` makes of its arguments. What goes wrong inside is a fault of `key`."""
    try:
        return hydra.utils.instantiate(node, _convert_="all", **extra)
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        cause = error.__cause__ or error
        raise ConfigError(Fault(key, node.get("_target_"), f"{type(cause).__name__}: {_first_line(cause)}")) from error


def _call_faults(cfg: DictConfig, trusted: Sequence[str]) -> Iterator[Fault]:
    """Faults of every node with a `_target_`: no such callable, unknown keys, values out of range."""
    for key, node in _nodes(cfg, ""):
        try:
            target = locate(f"{key}._target_", node["_target_"], trusted)
        except ConfigError as error:
            yield from error.faults
        else:
            yield from check_call(target, _arguments(key, node), f"{key}.", strict=key == "optimizer")


def _arguments(key: str, node: DictConfig) -> dict[str, Any]:
    skipped: tuple[str, ...] = (*NOT_THE_OPTIMIZERS, *FROM_DATA) if key.startswith(("optimizer", "model")) else ()
    skipped = NOT_THE_TRAINERS if key == "trainer" else skipped
    values: Any = OmegaConf.to_container(node, resolve=True)
    return {
        name: value
        for name, value in values.items()
        if not name.startswith("_") and name not in skipped and not _is_node(value)
        if not (key == "warmup" and value == "untuned")
        if not (key == "optimizer" and name == "lr" and value == AUTO)
        if not (key == "scheduler" and name in DRIVEN and value is None)
    }


def _nodes(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        for name in node:
            if not OmegaConf.is_missing(node, name):
                yield from _nodes(node[name], f"{key}.{name!s}".lstrip("."))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _is_node(value: Any) -> bool:
    return (isinstance(value, Mapping) and "_target_" in value) or (
        isinstance(value, DictConfig) and "_target_" in value
    )


def _without(node: DictConfig, names: Any) -> DictConfig:
    rest: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    for name in names:
        rest.pop(name, None)
    return rest
