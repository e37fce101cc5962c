"""Averages of the weights: evaluated and saved in the place of the weights that are trained.

While a run trains, validation sees the average, `best.ckpt` and `last.ckpt` hold it as their `state_dict`, with
batch-norm statistics taken anew for it, and training goes on with the weights themselves. The classes stand on
Lightning's WeightAveraging and write its checkpoints. What they change: before the first average the weights are
evaluated and not the initial ones, the average lives on the training device, statistics are refreshed and not averaged,
a checkpoint inside a validation is right, and lengths are in any unit ("75%", "1ep").
"""

from collections.abc import Sequence
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Interval, Unit
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kasoku.curves import in_steps
from kasoku.faults import ConfigError, Fault
from kasoku.optim.flow import evaluating
from kasoku.recipe import is_schedule_free
from kasoku.training.batch_norm import has_batch_norm, refresh_batch_norm, training_inputs
from kasoku.training.clock import clock_of, steps_of
from kasoku.training.copies import detached

Start = Annotated[int | str, Unit("steps"), Ge(0)]
Every = Annotated[int | str, Unit("steps"), Ge(1)]
Count = Annotated[int, Ge(1)]
Decay = Annotated[float, Interval(gt=0, lt=1)]

SHARDED = (FSDPStrategy, DeepSpeedStrategy, ModelParallelStrategy)
PREFIX = "module."  # of the weights in the state of an AveragedModel


class Averaging(WeightAveraging):
    """The base of the averages.

    Args:
        start: steps before the first state is taken in; until then the weights themselves are evaluated.
        every: a state is taken in after each step whose number this divides.
        batches: training batches that the batch-norm statistics of the average are taken from.
        device: where the average lives; None: where the net is trained.
    """

    def __init__(self, start: int | str, every: int | str, batches: int, device: str | None):
        super().__init__(device=device, use_buffers=False)
        self.start, self.every, self.batches = start, every, batches
        self._first, self._stride, self._before = 1, 1, 0
        self._swapped = False
        self._refreshed = 0  # the number of states in the average when its statistics were taken

    def _there(self, default: torch.device) -> torch.device:
        device = torch.device(self._device or default)
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            key = f"callbacks.{type(self).__name__.lower()}.device"
            raise ConfigError(Fault(key, str(device), f"there is no such device here: {error}")) from None
        return device

    def averaged(self, module: nn.Module, device: torch.device) -> AveragedModel:
        """The model that averages the states of `module`; here their plain mean."""
        return AveragedModel(module, device)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            device = self._there(trainer.strategy.root_device)
            with detached(pl_module, f"callbacks={type(self).__name__.lower()}"):
                self._average_model = self.averaged(pl_module, device)
            # A count on the GPU would have to be waited for at each step.
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        name, clock = type(self).__name__.lower(), clock_of(trainer)
        if any(is_schedule_free(optimizer) for optimizer in trainer.optimizers):
            must = "schedule-free optimizers evaluate an average of their own"
            raise ConfigError(Fault("callbacks", name, must, "leave one of the two out"))
        if isinstance(trainer.strategy, SHARDED):
            must = f"needs whole parameters, {type(trainer.strategy).__name__} shards them"
            raise ConfigError(Fault("callbacks", name, must, "use trainer=ddp"))
        self._first = in_steps(f"callbacks.{name}.start", self.start, clock)
        self._stride = in_steps(f"callbacks.{name}.every", self.every, clock)
        taken = -(-max(1, self._first) // self._stride) * self._stride  # the first state, after so many steps
        if clock.total is not None and taken > clock.total:
            must = f"the first weights would be taken in after {taken} steps, and the run has {clock.total}"
            raise ConfigError(Fault(f"callbacks.{name}.every", self.every, must, "start earlier, or take more often"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = steps_of(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Take in the weights at every multiple of the stride that the steps have come to since the last batch."""
        before, self._before = self._before, steps_of(trainer)
        if self._before >= self._first and self._before // self._stride > before // self._stride:
            self._average_model.update_parameters(pl_module)  # type: ignore[union-attr]
            self._latest_update_step = self._before

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """False: nothing is taken in at the end of an epoch beyond its last step."""
        return False

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._count:
            self._swap_models(pl_module)
            if self._refreshed != self._count:
                self._refresh(trainer, pl_module)
                self._refreshed = self._count

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._swapped:
            self._swap_models(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module."""
        if self._count:
            self._copy_average_to_current(pl_module)
            if self._refreshed != self._count:
                self._refresh(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"refreshed": self._refreshed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._refreshed = state_dict["refreshed"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average into `state_dict`, the trained weights and what the average needs to go on beside it."""
        if self._average_model is None:
            return
        state = self._average_model.state_dict()
        beside = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        trained, average = (beside, checkpoint["state_dict"]) if self._swapped else (checkpoint["state_dict"], beside)
        if not self._count:
            average = trained
        elif self._refreshed != self._count:
            average = average | self._refreshed_buffers(trainer, pl_module)
        checkpoint["state_dict"], checkpoint["current_model_state"] = average, trained
        checkpoint["averaging_state"] = {name: state[name] for name in state if not name.startswith(PREFIX)}

    @property
    def _count(self) -> int:
        """The number of states that the average has taken in."""
        return 0 if self._average_model is None else int(self._average_model.n_averaged)

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    def _refresh(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the batch-norm statistics for the weights that are in the module."""
        if has_batch_norm(pl_module):
            with isolate_rng(), trainer.precision_plugin.forward_context(), evaluating(pl_module):
                refresh_batch_norm(pl_module, training_inputs(trainer, self.batches))

    def _refreshed_buffers(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Tensor]:
        """The average's buffers with fresh statistics. The average itself keeps its own, as if nothing was saved."""
        self._swap_models(pl_module)
        own = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]
        self._refresh(trainer, pl_module)
        persistent = pl_module.state_dict()
        fresh = {name: buffer.clone() for name, buffer in pl_module.named_buffers() if name in persistent}
        for buffer, value in own:
            buffer.copy_(value)
        self._swap_models(pl_module)
        return fresh


class EMA(Averaging):
    """An exponential moving average of the weights, e <- d e + (1 - d) w; the first state is e itself.

    With `warmup` d = min(decay, (1 + n) / (10 + n)) after n states, so that a short run is not held at its start.
    Tarvainen and Valpola 2017, arXiv 1703.01780.

    Args:
        decay: d; the average spans about 1 / (1 - d) states.
        warmup: whether d grows towards `decay`.
        start, every, batches, device: see `Averaging`.
    """

    def __init__(
        self,
        *,
        decay: Decay = 0.999,
        warmup: bool = True,
        start: Start = 0,
        every: Every = 1,
        batches: Count = 50,
        device: str | None = None,
    ):
        self.decay, self.warmup = decay, warmup
        super().__init__(start, every, batches, device)

    def averaged(self, module: nn.Module, device: torch.device) -> AveragedModel:
        return AveragedModel(module, device, multi_avg_fn=self._update)

    @torch.no_grad()
    def _update(self, averages: Sequence[Tensor], weights: Sequence[Tensor], count: object) -> None:
        decay = min(self.decay, (1 + self._count) / (10 + self._count)) if self.warmup else self.decay
        torch._foreach_lerp_(list(averages), list(weights), 1 - decay)


class SWA(Averaging):
    """The plain mean of the weights at the end of each epoch of the run's last part.

    The lr is the scheduler's: a constant or cyclic one keeps the weights moving, which the mean lives on.
    Izmailov et al. 2018, arXiv 1803.05407.

    Args:
        start, every, batches, device: see `Averaging`.
    """

    def __init__(self, *, start: Start = "75%", every: Every = "1ep", batches: Count = 50, device: str | None = None):
        super().__init__(start, every, batches, device)


class LAWA(Averaging):
    """The mean of the latest states, one at the end of each epoch: early, while an average over all would lag.

    Kaddour 2022, arXiv 2209.14981.

    Args:
        latest: how many states; each is kept, beside the net and in last.ckpt.
        start, every, batches, device: see `Averaging`.
    """

    def __init__(
        self,
        *,
        latest: Count = 6,
        start: Start = 0,
        every: Every = "1ep",
        batches: Count = 50,
        device: str | None = None,
    ):
        self.latest = latest
        super().__init__(start, every, batches, device)

    def averaged(self, module: nn.Module, device: torch.device) -> AveragedModel:
        return LatestAverage(module, device, self.latest)


class Tail(Averaging):
    """The plain mean of the weights over the last share of the run: the noise of the end averaged out in one go.

    Sanyal et al. 2023, arXiv 2306.03241 (averages late in a run); P. Izmailov et al. 2018, arXiv 1803.05407.

    Args:
        share: length of the run's end that is averaged.
        every, batches, device: see `Averaging`.
    """

    def __init__(self, *, share: Every = "10%", every: Every = 1, batches: Count = 50, device: str | None = None):
        self.share = share
        super().__init__(0, every, batches, device)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        clock, key = clock_of(trainer), "callbacks.tail.share"
        if clock.total is None:
            must = "needs to know how many steps the run has"
            raise ConfigError(Fault(key, self.share, must, "give trainer.max_steps"))
        share = in_steps(key, self.share, clock)
        if share > clock.total:
            must = f"is {share} steps, and must not be longer than the run of {clock.total} steps"
            raise ConfigError(Fault(key, self.share, must))
        self.start = clock.total - share + 1  # the first state is the weights after this many steps
        super().on_fit_start(trainer, pl_module)


class LatestAverage(AveragedModel):
    """The mean of the latest `count` states of a module's parameters. `states` [count, parameters] is a ring."""

    states: Tensor

    def __init__(self, module: nn.Module, device: torch.device, count: int):
        super().__init__(module, device)
        size = sum(p.numel() for p in self.module.parameters())
        self.register_buffer("states", torch.zeros(count, size, device=device))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Let the weights of `model` take the place of the oldest state."""
        count, kept = int(self.n_averaged), len(self.states)
        self.states[count % kept] = torch.cat([p.detach().flatten() for p in model.parameters()])
        mean = self.states[: count + 1].mean(dim=0)
        parameters = list(self.module.parameters())
        for p, part in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
            p.copy_(part.view_as(p))
        for own, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)
        self.n_averaged += 1
