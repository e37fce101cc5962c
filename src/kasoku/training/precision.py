"""The precision that numbers are trained in: the module has it from the start, the optimizer's state after a resume."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision
from torch import Tensor
from torch.optim import Optimizer


class TruePrecision(Callback):
    """Converts the module before it is copied for an average or gets the weights of a checkpoint; stands first.

    Lightning does so after both: the average had another type than the weights, and weights in 64 bits passed through
    32. Torch gives what an optimizer keeps of a parameter the parameter's own type when it is loaded: what is kept in
    more bits is put back.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(trainer.precision_plugin, DoublePrecision | HalfPrecision):
            trainer.precision_plugin.convert_module(pl_module)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer in trainer.optimizers:
            keep_types(optimizer)


def keep_types(optimizer: Optimizer) -> None:
    """Have `optimizer` load what it keeps of the parameters in the types that it was saved in."""
    given: list[Mapping[str, Any]] = []

    def restore(optimizer: Optimizer) -> None:
        saved = given.pop()
        for group, names in zip(optimizer.param_groups, saved["param_groups"], strict=True):
            for parameter, name in zip(group["params"], names["params"], strict=True):
                _as_saved(optimizer.state.get(parameter, {}), saved["state"].get(name, {}))

    optimizer.register_load_state_dict_pre_hook(lambda _, state: given.append(state))
    optimizer.register_load_state_dict_post_hook(restore)


def _as_saved(loaded: Any, saved: Any) -> Any:
    """`loaded`, the tensors in it that have not the type of the `saved` one replaced by that."""
    if isinstance(saved, Mapping):
        for key, value in saved.items():
            loaded[key] = _as_saved(loaded[key], value)
    elif isinstance(saved, list | tuple):
        return type(saved)(_as_saved(*pair) for pair in zip(loaded, saved, strict=True))
    elif isinstance(saved, Tensor) and loaded.dtype != saved.dtype and loaded.shape == saved.shape:
        return saved.to(loaded.device)
    return loaded
