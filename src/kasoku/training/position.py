"""The place in a run at which a checkpoint was saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasoku.faults import ConfigError, Fault

FIT_LOOP = "fit_loop"
EPOCHS = "epoch_progress"
BATCHES = "epoch_loop.batch_progress"


@dataclass(frozen=True)
class Position:
    """The part of a run that is done; a new one's is Position().

    Args:
        steps: optimizer steps.
        rows: the batches of all epochs, which count as steps where a module optimizes by hand.
        epochs: epochs that are over. One that the run's end cut short is not.
        batches: batches of the epoch after them.
        samples: samples of that epoch, over all processes; None where the data does not tell.
        ends_epoch: whether the last of these batches was the epoch's last.
        is_open: whether that epoch's end is still to be made; False after the end of a run too.
    """

    steps: int = 0
    rows: int = 0
    epochs: int = 0
    batches: int = 0
    samples: int | None = None
    ends_epoch: bool = False
    is_open: bool = False

    @property
    def inside(self) -> bool:
        """True if an epoch has begun and is to be finished."""
        return self.is_open or self.batches > 0

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], data: object = None) -> "Position":
        """The position of a checkpoint, its samples as the DataModule `data` counts. Raises KeyError if it has none."""
        loops = checkpoint["loops"][FIT_LOOP]
        epoch, batch = loops[EPOCHS]["current"], loops[BATCHES]["current"]
        is_open, done = epoch["started"] > epoch["processed"], batch["processed"]
        ends_epoch = bool(loops[BATCHES]["is_last_batch"]) and batch["ready"] == done
        cut_short = not is_open and done > 0 and not ends_epoch
        inside = is_open or cut_short
        samples = checkpoint.get(type(data).__qualname__, {}).get("samples")
        return cls(
            steps=checkpoint["global_step"],
            rows=loops[BATCHES]["total"]["processed"],
            epochs=epoch["processed"] - cut_short,
            batches=done if inside else 0,
            samples=samples,
            ends_epoch=inside and ends_epoch,
            is_open=is_open,
        )


def position_in(checkpoint: Mapping[str, Any], path: Path, data: object = None) -> Position:
    """The position of the `checkpoint` that was read from `path`.

    Raises:
        ConfigError: it holds weights alone, or was saved before checkpoints held all that an exact resume needs.
    """
    try:
        checkpoint["loops"][FIT_LOOP]["state_dict"]["random"]
        return Position.of(checkpoint, data)
    except KeyError:
        must = "holds no position in a run to go on from"
        fix = f"to start a new run from its weights: checkpoint={path}"
        raise ConfigError(Fault("resume", path, must, fix)) from None
