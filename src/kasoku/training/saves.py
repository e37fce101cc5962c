"""Checkpoint callbacks, held back until a checkpoint holds the whole of the moment that it is saved at."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

AFTER_BATCH, AFTER_VALIDATION, AFTER_EPOCH = "on_train_batch_end", "on_validation_end", "on_train_epoch_end"


class Saves:
    """Calls the hooks of `callbacks` in which checkpoints are saved a little later than Lightning does, in their order.

    In the midst of a hook some callbacks and the module have done their part and others have not, metrics of the step
    or the epoch are still to be logged, and counters are behind: what goes on from there repeats some of it and leaves
    out the rest. The loops call `run` where nothing of the kind is open.
    """

    def __init__(self, callbacks: Sequence[Callback]):
        self._callbacks = callbacks
        self._held: dict[tuple[int, str], partial[None]] = {}
        self._running: Callback | None = None
        for number, callback in enumerate(callbacks):
            for hook in (AFTER_BATCH, AFTER_VALIDATION, AFTER_EPOCH):
                if callable(getattr(callback, hook)):
                    setattr(callback, hook, partial(self._hold, (number, hook), getattr(callback, hook)))

    def _hold(self, key: tuple[int, str], hook: Any, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._held[key] = partial(hook, trainer, *args)
        else:
            hook(trainer, *args)

    def run(self, hook: str) -> None:
        """Make the calls of `hook` that were held back."""
        for number, callback in enumerate(self._callbacks):
            self._running = callback
            if call := self._held.pop((number, hook), None):
                call()
        self._running = None

    def state(self, step: int) -> dict[str, Any]:
        """The state that Lightning's ModelCheckpoint keeps from one call to the next and leaves out of its own."""
        return {
            callback.state_key: {
                "step": step if callback is self._running else callback._last_global_step_saved,
                "deferred": callback._defer_save_until_validation,
                "score": callback.current_score,
            }
            for callback in self._callbacks
            if isinstance(callback, ModelCheckpoint)
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Give the callbacks what `state` returned."""
        for callback in self._callbacks:
            if isinstance(callback, ModelCheckpoint) and (own := state.get(callback.state_key)):
                callback._last_global_step_saved = own["step"]
                callback._defer_save_until_validation = own["deferred"]
                callback.current_score = own["score"]


class Moved(Callback):
    """Has checkpoint callbacks go on with the best that they saved where the run's directory was moved since.

    Lightning would take the next one for the best, whatever its value.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key, {})
            before, now = state.get("dirpath"), getattr(callback, "dirpath", None)
            if before and now and before != now and (Path(now) / Path(state["best_model_path"]).name).is_file():
                checkpoint["callbacks"][callback.state_key] = _moved(state, before, now)


def _moved(value: Any, before: str, now: str) -> Any:
    """`value` with the folder `now` in the place of `before`."""
    if isinstance(value, str):
        return now + value.removeprefix(before) if value.startswith(before) else value
    if isinstance(value, dict):
        return {_moved(key, before, now): _moved(item, before, now) for key, item in value.items()}
    return value
