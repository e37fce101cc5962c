"""A LightningModule that configures its optimizers itself, driven by the recipe all the same (model.recipe=override).

What its own `configure_optimizers` says about which parameters are trained stands, and how many optimizers there are
stands where the module optimizes by hand. Its optimizers, their settings and its schedules are set aside.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MethodType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.core.optimizer import _configure_optimizers as parsed
from torch import Tensor
from torch.optim import Optimizer

from kasoku.faults import ConfigError, Fault
from kasoku.optim.bridge import DrivenLR
from kasoku.recipe import Recipe
from kasoku.training.clock import clock_of, configure_optimizers, recipe_of, steps_of
from kasoku.training.observe import flow_of

log = logging.getLogger("kasoku")

LEFT_TO_IT = {"gradient_clip_val": None, "accumulate_grad_batches": 1}  # of the trainer, with what leaves it alone
OF_THE_RECIPE = ("optimizer", "scheduler", "warmup")


def drive(module: pl.LightningModule, recipe: Recipe, override: bool = True) -> None:
    """Give `module` its recipe; with `override` the recipe trains it, whatever the module configures itself."""
    module.recipe = recipe  # type: ignore[assignment]
    if override and type(module).configure_optimizers is not configure_optimizers:
        module.configure_optimizers = MethodType(_configure, module)  # type: ignore[method-assign]
        # A step of one's own, such as step(epoch), is that of the schedule that is set aside.
        module.lr_scheduler_step = MethodType(pl.LightningModule.lr_scheduler_step, module)  # type: ignore[method-assign]


def is_driven(trainer: pl.Trainer) -> bool:
    """True if the recipe of the configuration sets the lr of this fit, which is set up."""
    return any(isinstance(config.scheduler, DrivenLR) for config in trainer.lr_scheduler_configs)


def is_taken_over(module: pl.LightningModule) -> bool:
    """True if the recipe trains `module`, and not what it configures itself."""
    return "configure_optimizers" in vars(module) or type(module).configure_optimizers is configure_optimizers


def check_by_hand(module: pl.LightningModule, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError for `settings` of the trainer that a module which optimizes by hand takes care of itself."""
    must, fix = "is left to the module, which optimizes by hand (automatic_optimization = False)", "leave it out"
    given = {name: settings.get(name, idle) for name, idle in LEFT_TO_IT.items()}
    faults = [Fault(f"trainer.{name}", given[name], must, fix) for name in given if given[name] != LEFT_TO_IT[name]]
    if faults and not module.automatic_optimization:
        raise ConfigError(*faults)


class Lead(Callback):
    """Moves the schedules of a module that optimizes by hand, batch by batch; nobody else does, see `clock_of`."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._move(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._move(trainer)

    def _move(self, trainer: pl.Trainer) -> None:
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, DrivenLR):
                config.scheduler.move_to(steps_of(trainer))


def check_heard(trainer: pl.Trainer, overrides: Iterable[str]) -> None:
    """Raises ConfigError if the command sets a recipe, and the module, which is set up, takes none of it."""
    if is_driven(trainer):
        return
    name = type(trainer.lightning_module).__name__
    pairs = [override.lstrip("+~").partition("=") for override in overrides]
    faults = [
        Fault(
            key,
            value,
            f"has no effect: {name} configures its optimizers itself",
            "leave it out, or give model.recipe=override",
        )
        for key, _, value in pairs
        if key.split(".")[0] in OF_THE_RECIPE
    ]
    if faults:
        raise ConfigError(*faults)


def _configure(self: pl.LightningModule) -> Any:
    """The `configure_optimizers` of a driven module."""
    if self.automatic_optimization:
        return _one(self)
    optimizers, scheduled = _own(self)
    recipe, clock = recipe_of(self), clock_of(self.trainer)
    flow = flow_of(self.trainer, self) if recipe.needs_flow else None
    sets = [_parameters(optimizer) for optimizer in optimizers] or [list(self.parameters())]
    made = [recipe.configure(self, clock, flow, parameters) for parameters in sets]
    if any(hasattr(one["optimizer"], "estimate") for one in made):
        must = "takes its curvature from the one loss of a step, and this module optimizes by hand"
        raise ConfigError(Fault("optimizer", recipe.optimizer.func.__name__, must, "choose another"))
    schedulers = [one["lr_scheduler"]["scheduler"] for one in made]
    for scheduler in schedulers:
        scheduler.is_led = True
    # training_step unpacks as many schedules as it made itself.
    theirs = [scheduler for scheduler, own in zip(schedulers, scheduled, strict=False) if own]
    self.lr_schedulers = lambda: (theirs if len(theirs) > 1 else theirs[0]) if theirs else None  # type: ignore
    return [one["optimizer"] for one in made], [one["lr_scheduler"] for one in made]


def _one(self: pl.LightningModule) -> Any:
    """The recipe over the parameters of the module's own optimizer; over all where it has none or makes none."""
    try:
        optimizers, _ = _own(self)
    except Exception as error:  # of foreign code: arguments that were left out because the recipe drives the module
        optimizers = []
        reason = f"{type(error).__name__}: {error}"
        log.info("%s.configure_optimizers fails (%s): the recipe trains all parameters", type(self).__name__, reason)
    chosen = _parameters(*optimizers)
    trainable = {id(p) for p in self.parameters() if p.requires_grad}
    if not optimizers or trainable <= {id(p) for p in chosen}:
        return configure_optimizers(self)
    recipe = recipe_of(self)
    flow = flow_of(self.trainer, self) if recipe.needs_flow else None
    return recipe.configure(self, clock_of(self.trainer), flow, chosen)


def _own(self: pl.LightningModule) -> tuple[list[Optimizer], list[bool]]:
    """The optimizers that the module makes itself, and whether it makes a schedule for each of them."""
    if type(self).configure_optimizers is pl.LightningModule.configure_optimizers:
        return [], []
    made = type(self).configure_optimizers(self)
    if made is None:
        return [], []
    optimizers, schedulers, _ = parsed(made)
    plain = [config["scheduler"] if isinstance(config, dict) else config for config in schedulers]
    scheduled = [getattr(scheduler, "optimizer", None) for scheduler in plain]
    log.info("%s of %s set aside, the recipe drives it", _names([*optimizers, *plain]), type(self).__name__)
    return optimizers, [any(optimizer is one for one in scheduled) for optimizer in optimizers]


def _names(made: Sequence[Any]) -> str:
    return " ".join(type(one).__name__ for one in made)


def _parameters(*optimizers: Optimizer) -> list[Tensor]:
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
