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

from kasoku.command.data import make_data
from kasoku.command.devices import decided, machine_faults
from kasoku.command.make import Maker, first_line, is_node, without
from kasoku.command.module import make_module
from kasoku.command.recipe import AUTO, fused_faults, make_recipe
from kasoku.config import replaced
from kasoku.config.environment import shareable
from kasoku.config.replaced import OF_EVERY_OPTIMIZER, OF_THE_RUN
from kasoku.faults import ConfigError, Fault
from kasoku.recipe import Recipe
from kasoku.results import Target
from kasoku.signatures import violated
from kasoku.training import guests, lightning_alias
from kasoku.training.observe import batch_for_sizes, materialise, uninitialised
from kasoku.training.run import Run
from kasoku.training.speedups import compile_nets, use_channels_last
from kasoku.training.suggestions import RangeTest
from kasoku.training.takeover import check_by_hand, drive

NOT_THE_TRAINERS = ("compile", "channels_last", "enable_progress_bar")


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
    cfg = _for_this_machine(_fitted(cfg, overrides, maker), maker)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    target = Target(**OmegaConf.to_container(cfg.target, resolve=True))  # type: ignore[arg-type]
    data = make_data(maker, cfg.data, cfg.seed)
    module = make_module(maker, cfg.model, data, cfg.get("task"), cfg.get("batch"))
    recipe = make_recipe(maker, cfg)
    trainer = _trainer(maker, without(cfg.trainer, NOT_THE_TRAINERS))
    loggers = [_logger(maker, node, f"logger.{name}", cfg, directory, target) for name, node in cfg.logger.items()]
    callbacks = _callbacks(maker, cfg.callbacks)
    maker.raise_faults()
    check_by_hand(module, trainer.keywords)
    drive(module, recipe, override=cfg.model.get("recipe", "override") == "override")
    _fill_sizes(module, data)
    _speed_up(module, cfg.trainer)
    return Run(
        directory=directory,
        module=module,
        data=data,
        trainer=trainer,
        target=target,
        loggers=loggers,
        callbacks=list(callbacks.values()),
        names={callback: key for key, callback in callbacks.items()},
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
    module = make_module(maker, cfg.model, data, cfg.get("task"), cfg.get("batch"))
    maker.raise_faults()
    assert data is not None
    _fill_sizes(module, data)
    return module, data


def build_recipe(cfg: DictConfig, trusted: Sequence[str] | None = None) -> Recipe:
    """Optimizer, schedule, warmup and parameter groups of `cfg`.

    Raises:
        ConfigError: every fault of theirs.
    """
    maker = Maker(trusted)
    recipe = make_recipe(maker, cfg)
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
    module = make_module(maker, model, data, task)
    maker.raise_faults()
    return module


def _for_this_machine(cfg: DictConfig, maker: Maker) -> DictConfig:
    """`cfg` with what is left to the machine decided; what this one lacks is noted."""
    cfg.trainer = decided(cfg.trainer)
    maker.faults += machine_faults(cfg.trainer) + fused_faults(cfg.optimizer, cfg.trainer)
    return cfg


def _fill_sizes(module: pl.LightningModule, data: pl.LightningDataModule) -> None:
    """Give layers that wait for a first batch their sizes."""
    if uninitialised(module):
        materialise(module, batch_for_sizes(module, data))


def _speed_up(module: pl.LightningModule, trainer: DictConfig) -> None:
    if trainer.get("channels_last"):
        use_channels_last(module)
    if trainer.get("compile"):
        compile_nets(module)


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


def _trainer(maker: Maker, node: DictConfig) -> Any:
    """Lightning's Trainer, or a class of that kind, with its settings bound: loggers and callbacks are added later."""
    made = maker.make(node, "trainer")
    target = getattr(made, "func", None)
    is_one = target is not None and not (inspect.isclass(target) and not issubclass(target, pl.Trainer))
    return maker.of_kind(made, is_one, "trainer", node, "Trainer of Lightning, with _partial_: true")


def _callbacks(maker: Maker, nodes: DictConfig) -> dict[str, Any]:
    """The callbacks by their keys; of whichever Lightning, for the hooks are the same."""
    made = {}
    for key, node in ((f"callbacks.{name!s}", node) for name, node in nodes.items() if node is not None):
        callback = maker.make(node, key)
        is_one = hasattr(type(callback), "state_key")
        made[key] = maker.of_kind(callback, is_one, key, node, "Callback of Lightning")
    return made


def _logger(maker: Maker, node: DictConfig, key: str, cfg: DictConfig, directory: Path, target: Target) -> Any:
    """A logger as a guest, with the run's directory, configuration and target where its arguments ask for them."""
    if not is_node(node):
        return maker.make(node, key)
    patience = node.get("patience", guests.PATIENCE)
    if must := violated(guests.Patience, patience):
        maker.faults.append(Fault(f"{key}.patience", patience, must))
    logger = maker.make(without(node, ["patience"]), key)
    if isinstance(logger, partial):
        offered = {"directory": directory, "save_dir": str(directory), "config": shareable(cfg), "target": target}
        accepted = inspect.signature(logger.func).parameters
        given = {name: value for name, value in (offered | {"patience": patience}).items() if name in accepted}
        logger = maker.attempt(lambda: _called(logger, given, key))
    logger = maker.of_kind(logger, hasattr(type(logger), "log_metrics"), key, node, "Logger of Lightning")
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
