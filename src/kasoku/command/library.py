"""The command's work from Python: `kasoku.fit` trains a module, `kasoku.load` gives the net of a run back."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from kasoku import home
from kasoku.command.build import NOT_THE_TRAINERS, build_module, build_recipe
from kasoku.command.data import make_data
from kasoku.command.devices import decided
from kasoku.command.make import INSTRUCTIONS, Maker
from kasoku.command.modes import quiet
from kasoku.config import deprecated, diagnose, resolvers, trust
from kasoku.config.compose import Command
from kasoku.data.foreign import datamodule
from kasoku.faults import ConfigError, Fault
from kasoku.recipe import Recipe
from kasoku.results import Result, Target, is_cost
from kasoku.training import pretrained
from kasoku.training import session as sessions
from kasoku.training.module import Module
from kasoku.training.run import Run
from kasoku.training.takeover import check_by_hand, drive

LIMITS = ("max_steps", "max_time")


@dataclass(frozen=True)
class Fitted:
    """The end of a training: its result, and the directory with metrics.csv, result.json and checkpoints/."""

    result: Result
    directory: Path

    @property
    def best(self) -> Path:
        """The checkpoint with the best value of the target's metric."""
        return self.directory / "checkpoints" / "best.ckpt"


@dataclass(frozen=True)
class Loaded:
    """A run's module with its weights, ready to evaluate, and the configuration that it was trained with."""

    module: pl.LightningModule
    config: DictConfig

    @property
    def net(self) -> nn.Module:
        """The plain net inside, where the module has one; else the module."""
        return getattr(self.module, "net", self.module)


def fit(
    module: nn.Module,
    data: Any,
    *,
    recipe: Recipe | Sequence[str] | str = "adamw",
    target: Target | tuple[str, float] | None = None,
    directory: Path | str | None = None,
    seed: int = 0,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    **trainer: Any,
) -> Fitted:
    """Train `module` on `data`, test its best weights, leave the run in a directory.

    Args:
        module: a LightningModule, or a plain net, which is trained to classify. It ends with the tested weights.
        data: a LightningDataModule, a Dataset, a DataLoader, or several by part: {"train": ..., "val": ...}.
        recipe: an option of conf/recipe, overrides as on the command line (["optimizer=muon", "scheduler=wsd"]), or a
            Recipe.
        target: (metric, value) to reach, or a Target; None: val/loss, without a value.
        directory: None: a new one below runs/python.
        seed: of the shuffles and of what is random in the net from here on; the weights are there already.
        trainer: settings of Lightning's Trainer, over those of conf/trainer/default.yaml.

    Raises:
        ConfigError: something does not fit; see its faults.
    """
    quiet()
    cfg = _composed(_words(recipe))
    settings = _settings(cfg, trainer)
    check_by_hand(module, settings)
    driven = module if isinstance(module, pl.LightningModule) else Module(module)
    pl.seed_everything(seed, workers=True, verbose=False)
    made = recipe if isinstance(recipe, Recipe) else build_recipe(cfg, _trusted())
    drive(driven, made, override=True)
    place = _made(Path(directory) if directory else _new_directory())
    run = Run(
        directory=place,
        module=driven,
        data=datamodule(data, {"seed": seed}, type(data).__name__),
        trainer=partial(pl.Trainer, **settings),
        target=_target(target),
        loggers=loggers,
        callbacks=[*_checkpoints(cfg, _target(target)), *callbacks],
        seed=seed,
    )
    return Fitted(sessions.fit(run).result, place)


def load(directory: Path | str, weights: str = "best") -> Loaded:
    """The module of the run in `directory`, with the weights of checkpoints/`weights`.ckpt.

    Raises:
        ConfigError: no run of the command is there, its classes are not trusted or there, or the weights do not fit.
    """
    path = Path(directory, "config.yaml")
    if not path.is_file():
        raise ConfigError(Fault("directory", directory, "holds no config.yaml, so no run of the command is there"))
    resolvers.register()
    cfg: Any = OmegaConf.load(path)
    deprecated.move(cfg)
    maker = Maker(_trusted())
    data = make_data(maker, cfg.data, cfg.seed)
    maker.raise_faults()
    assert data is not None
    module = build_module(cfg.model, data, _trusted(), cfg.get("task"))
    pretrained.load(module, Path(directory, "checkpoints", f"{weights}.ckpt"), key="weights")
    return Loaded(module.eval(), cfg)


def _made(directory: Path) -> Path:
    if (directory / "result.json").exists():
        raise ConfigError(Fault("directory", directory, "a run is there already", "choose another"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        must = f"cannot be made: {error.strerror}"
        raise ConfigError(Fault("directory", directory, must, "choose another")) from None
    return directory


def _new_directory() -> Path:
    """A new one below runs/python, named by the time."""
    parent, name = Path("runs", "python"), time.strftime("%Y-%m-%d_%H-%M-%S")
    names = (name if n == 1 else f"{name}-{n}" for n in itertools.count(1))
    return next(parent / name for name in names if not (parent / name).exists())


def _words(recipe: Recipe | Sequence[str] | str) -> list[str]:
    if isinstance(recipe, Recipe):
        return []
    return [f"recipe={recipe}"] if isinstance(recipe, str) else list(recipe)


def _composed(words: Sequence[str]) -> DictConfig:
    resolvers.register()
    return diagnose.composed(Command([*words, "logger=none"], home.conf_dir()), _trusted())


def _trusted() -> tuple[str, ...]:
    return trust.trusted(home.conf_dir())


def _settings(cfg: DictConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the Trainer; a limit in steps or time takes the place of the default's epochs."""
    own: Any = OmegaConf.to_container(decided(cfg.trainer), resolve=True)
    own = {name: value for name, value in own.items() if name not in (*INSTRUCTIONS, *NOT_THE_TRAINERS)}
    if any(name in given for name in LIMITS) and "max_epochs" not in given:
        own["max_epochs"] = -1
    return own | dict(given)


def _target(target: Target | tuple[str, float] | None) -> Target:
    if isinstance(target, Target):
        return target
    metric, value = target or ("val/loss", None)
    return Target(metric, value, "min" if is_cost(metric) else "max")


def _checkpoints(cfg: DictConfig, target: Target) -> list[Callback]:
    """Those that every run of the command keeps: the last state, and the best by the target."""
    nodes = cfg.callbacks.copy()
    OmegaConf.set_struct(nodes, False)
    nodes.best.monitor, nodes.best.mode = target.metric, target.mode
    maker = Maker(_trusted())
    made = [maker.make(nodes[name], f"callbacks.{name}") for name in ("best", "last")]
    maker.raise_faults()
    return made
