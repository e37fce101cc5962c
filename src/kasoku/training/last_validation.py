"""The last step of a run is validated wherever it falls, so that metrics and result are of the final weights."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class ValidateLast(Callback):
    """Has Lightning validate after the last step too, where its own settings would not.

    It validates at certain batches of certain epochs. A run that ends elsewhere, by max_steps, max_time or in an epoch
    that check_val_every_n_epoch leaves out, would be judged by weights that it has long left behind. Must be before all
    callbacks that look at validation when training ends.
    """

    def __init__(self) -> None:
        self._step = 0  # the last one that needs no validation any more

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._step = trainer.global_step
        loop = trainer.fit_loop.epoch_loop
        is_due = loop._should_check_val_fx
        loop._should_check_val_fx = lambda fetcher: is_due(fetcher) or _is_last_batch(trainer)  # type: ignore[method-assign]

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._step = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Validate where the end was decided only once the last batch was over, as by a callback at an epoch's end."""
        if trainer.enable_validation and trainer.global_step > self._step:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.validate()
            trainer.training = True


def _is_last_batch(trainer: pl.Trainer) -> bool:
    """True if nothing is trained after the present batch."""
    loop = trainer.fit_loop
    if not trainer.enable_validation:
        return False
    if trainer.should_stop and loop._can_stop_early:
        return True
    ends_epoch, epochs = loop.epoch_loop._num_ready_batches_reached(), loop.epoch_progress.current.processed + 1
    is_last_epoch = 0 < (loop.max_epochs or 0) <= epochs
    return 0 < loop.max_steps <= trainer.global_step or (ends_epoch and is_last_epoch)
