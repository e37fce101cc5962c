"""Lightning's training loops, which save and resume between two steps so that nothing is lost and nothing done twice.

A checkpoint stands at one of three places, and a resumed run goes on from there as the straight run does:

- after a batch, before the validation that may be due: that validation is made up. One that is saved in the midst of a
  validation stands here too, and the validation begins anew;
- after a batch and its validation;
- after an epoch. One that the end of the run cut short is finished first when the run is extended.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.data import _set_sampler_epoch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loops import _EvaluationLoop, _FitLoop, _TrainingEpochLoop
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from torch import Tensor

from kasoku.training import ranks
from kasoku.training.accumulation import scheduler_of
from kasoku.training.position import Position
from kasoku.training.rng import get_rng_state, set_rng_state
from kasoku.training.saves import AFTER_BATCH, AFTER_EPOCH, AFTER_VALIDATION, Saves

COUNTS = ("ready", "started", "processed", "completed")


def install(trainer: pl.Trainer, last: Callback, start: Position | None = None) -> None:
    """Have `trainer` train with these loops, from `start` on; of the callbacks that save, `last` is called last."""
    before = trainer.fit_loop
    saves = Saves([*trainer.checkpoint_callbacks, last])
    trainer.fit_loop = FitLoop(trainer, before.min_epochs, before.max_epochs, saves, start or Position())
    trainer.fit_loop.epoch_loop = EpochLoop(trainer, before.min_steps, before.max_steps, saves)


class Validation(_EvaluationLoop):
    """Remembers what it began with, until it ends."""

    def __init__(self, trainer: pl.Trainer):
        super().__init__(trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False)
        self.random: dict[str, Any] | None = None
        self._counted: dict[str, Any] = {}

    def run(self) -> Any:
        if not self.trainer.sanity_checking:
            self.random, self._counted = get_rng_state(), deepcopy(self.batch_progress.state_dict())
        try:
            return super().run()
        finally:
            self.random = None

    def state_dict(self, destination: dict[str, Any] | None = None, prefix: str = "") -> dict[str, Any]:
        state = super().state_dict(destination, prefix)
        if self.random is not None:
            state[f"{prefix}batch_progress"] = self._counted
        return state


class EpochLoop(_TrainingEpochLoop):
    """The batches of an epoch, with validations between them."""

    def __init__(self, trainer: pl.Trainer, min_steps: int | None, max_steps: int, saves: Saves):
        super().__init__(trainer, min_steps, max_steps)
        self.val_loop = Validation(trainer)
        self.owes_validation = False  # the last batch is trained; whether a validation follows it is still to be seen
        self._saves = saves

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        if self.restarting:
            self.trainer.fit_loop.restarted()
            if self.owes_validation:
                self._follow_up(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        self.owes_validation = True
        self._saves.run(AFTER_BATCH)
        self._follow_up(data_fetcher)

    def validate(self) -> None:
        """Validate now, as after a step."""
        self.val_loop.run()
        self._saves.run(AFTER_VALIDATION)

    def _follow_up(self, data_fetcher: Any) -> None:
        super().on_advance_end(data_fetcher)
        self.owes_validation = False
        self._saves.run(AFTER_VALIDATION)

    def on_save_checkpoint(self) -> dict[str, Any]:
        count = self.batch_progress.current
        owes = self.owes_validation or count.processed > count.completed
        return super().on_save_checkpoint() | {"owes_validation": owes}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        self.owes_validation = state_dict["owes_validation"]


class FitLoop(_FitLoop):
    """The epochs of a run, from `start` on."""

    def __init__(
        self, trainer: pl.Trainer, min_epochs: int | None, max_epochs: int | None, saves: Saves, start: Position
    ):
        super().__init__(trainer, min_epochs, max_epochs)
        self.start = start
        self._saves = saves
        self._saved: dict[str, Any] = {}  # what the checkpoint holds besides counters, until it is given back
        self.begun = False  # training, not merely its set-up
        self._is_open = False  # the epoch that was cut still has an end to come, be the run's last step taken or not

    @property
    def batches_done(self) -> int:
        """Batches of the epoch that counted as done at `start`, in batches of the present size."""
        start, data = self.start, self.trainer.datamodule
        if start.ends_epoch:
            return int(self.max_batches)
        known = start.samples is not None and start.batches > 0
        done = data.batches_done(start.samples) if known else start.batches
        return int(min(done, self.max_batches))

    @property
    def done(self) -> bool:
        return not self._is_open and super().done

    def run(self) -> None:
        if self._saved:
            self.setup_data()
            self._go_to_start()
        if self._saved and self.done:  # it was cut between its last step and its end
            for loader in self._combined_loader.flattened:  # type: ignore[union-attr]
                _set_sampler_epoch(loader, self.start.epochs - 1)
            self.on_run_start()
            self.on_run_end()
        else:
            super().run()

    def load_state_dict(self, state_dict: dict[str, Any], prefix: str = "") -> None:
        super().load_state_dict(state_dict, prefix)
        self._mark(restarting=True)  # whatever Lightning makes of the counters: it looks for no sanity check then

    def _go_to_start(self) -> None:
        start, batch = self.start, self.epoch_loop.batch_progress
        self._is_open = start.is_open
        for count in (self.epoch_progress.current, self.epoch_progress.total):
            _set(count, start.epochs)
            count.ready = count.started = start.epochs + start.inside
        _set(batch.total, batch.total.processed)
        _set(batch.current, self.batches_done if start.inside else batch.current.processed)
        if start.inside:
            batch.is_last_batch = self.batches_done == self.max_batches
        else:
            self.restarted()

    def restarted(self) -> None:
        """From here on nothing tells this run from one that was not cut."""
        self._is_open = False
        self._mark(restarting=False)

    def _mark(self, restarting: bool) -> None:
        for loop in (self, self.epoch_loop, self.epoch_loop.val_loop, self.epoch_loop.automatic_optimization):
            loop._restarting = loop._loaded_from_state_dict = loop._resuming_from_checkpoint = restarting

    def on_run_start(self) -> None:
        super().on_run_start()
        if self._saved:
            self._give_back(self._saved)
            self._saved = {}
        self.begun = True

    def on_advance_end(self) -> None:
        super().on_advance_end()
        # Checkpoints are numbered by the epoch that they end, as if it was not yet counted.
        for count in (self.epoch_progress.current, self.epoch_progress.total):
            count.completed -= 1
        self._saves.run(AFTER_EPOCH)
        for count in (self.epoch_progress.current, self.epoch_progress.total):
            count.completed += 1

    def on_save_checkpoint(self) -> dict[str, Any]:
        trainer = self.trainer
        state = {
            "random": ranks.of_all(self.epoch_loop.val_loop.random or get_rng_state()),
            "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
            "saves": self._saves.state(trainer.global_step),
            "groups": _groups(trainer),
        }
        if self._is_accumulating():
            state["gradients"] = ranks.of_all(_gradients(trainer.lightning_module))
        return super().on_save_checkpoint() | state

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        self._saved = state_dict

    def _is_accumulating(self) -> bool:
        """True if gradients are gathered that the optimizer has not seen."""
        progress = self.epoch_loop.batch_progress
        done = progress.current.processed
        stepped = progress.is_last_batch and progress.current.ready == done
        return bool(done % self.trainer.accumulate_grad_batches) and not stepped

    def _give_back(self, saved: Mapping[str, Any]) -> None:
        trainer = self.trainer
        trainer.accumulate_grad_batches = accumulated(trainer, self.start.epochs)
        device = trainer.strategy.root_device
        trainer.callback_metrics.update({name: value.to(device) for name, value in saved["metrics"].items()})
        self._saves.restore(saved["saves"])
        parameters = dict(trainer.lightning_module.named_parameters())
        for name, gradient in ranks.own(saved.get("gradients", [{}])).items():
            parameters[name].grad = gradient.to(parameters[name].device)
        set_rng_state(ranks.own(saved["random"]))


def accumulated(trainer: pl.Trainer, epoch: int) -> int:
    """The batches of an optimizer step in `epoch`, 0 for the first."""
    scheduler = scheduler_of(trainer)
    return scheduler.get_accumulate_grad_batches(epoch) if scheduler else trainer.accumulate_grad_batches


def accumulation_varies(trainer: pl.Trainer) -> bool:
    """True if epochs differ in the batches of an optimizer step."""
    scheduler = scheduler_of(trainer)
    return scheduler is not None and len(set(scheduler.scheduling.values())) > 1


def _groups(trainer: pl.Trainer) -> list[list[str]]:
    """The names of the parameters in each group of the optimizer."""
    names = {id(p): name for name, p in trainer.lightning_module.named_parameters()}
    groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
    return [[names.get(id(p), "") for p in group["params"]] for group in groups]


def _gradients(module: pl.LightningModule) -> dict[str, Tensor]:
    return {name: p.grad.detach().cpu() for name, p in module.named_parameters() if p.grad is not None}


def _set(count: Any, value: int) -> None:
    for name in COUNTS:
        setattr(count, name, value)
