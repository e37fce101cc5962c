"""Checkpoints from which one part of what a resume needs was taken: negative controls of the oracle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kasoku.training.rng import get_rng_state

Checkpoint = dict[str, Any]


def drop(part: str, path: Path) -> None:
    """Take `part` from the checkpoint in `path`."""
    checkpoint = torch.load(path, weights_only=True)
    PARTS[part][1](checkpoint)
    torch.save(checkpoint, path)


def _loop(checkpoint: Checkpoint) -> dict[str, Any]:
    return checkpoint["loops"]["fit_loop"]


def _random(checkpoint: Checkpoint) -> None:
    torch.manual_seed(1)
    _loop(checkpoint)["state_dict"]["random"] = [get_rng_state()]


def _momentum(checkpoint: Checkpoint) -> None:
    for state in checkpoint["optimizer_states"][0]["state"].values():
        state["momentum_buffer"].zero_()


def _losses(checkpoint: Checkpoint) -> None:
    checkpoint["callbacks"]["StepLog"].update(losses=[torch.empty(0)], steps=[])


def _best(checkpoint: Checkpoint) -> None:
    key = next(key for key in checkpoint["callbacks"] if key.startswith("ModelCheckpoint") and "val/acc" in key)
    checkpoint["callbacks"].pop(key)


IN_VALIDATION = 60  # hooks called until the midst of a validation, in the 2nd epoch, between the two batches of a step
AFTER_IT = 66  # no validation follows it, and a row of metrics.csv begins there

PARTS: dict[str, tuple[int, Callable[[Checkpoint], Any]]] = {
    "random numbers": (IN_VALIDATION, _random),
    "position in the data": (IN_VALIDATION, lambda c: c.update(Digits={"epoch": 0, "batch": 0, "samples": 0})),
    "step of the schedule": (IN_VALIDATION, lambda c: c["lr_schedulers"][0].update(step=0)),
    "momentum": (IN_VALIDATION, _momentum),
    "average": (IN_VALIDATION, lambda c: c.update(state_dict=c["current_model_state"])),
    "number of averaged states": (IN_VALIDATION, lambda c: c["averaging_state"]["n_averaged"].zero_()),
    "gathered gradients": (IN_VALIDATION, lambda c: _loop(c)["state_dict"].pop("gradients")),
    "the owed validation": (IN_VALIDATION, lambda c: _loop(c)["epoch_loop.state_dict"].update(owes_validation=False)),
    "the growing row": (IN_VALIDATION, lambda c: c["callbacks"]["KeepRows"].update(row={})),
    "rows of metrics.csv": (IN_VALIDATION, lambda c: c["callbacks"]["KeepRows"].update(rows=0)),
    "samples": (IN_VALIDATION, lambda c: c["callbacks"]["StepLog"].update(samples=0)),
    "the plateau's best": (AFTER_IT, lambda c: c["lr_schedulers"][0].update(best=None)),
    "the best checkpoint's value": (AFTER_IT, _best),
    "losses since the last row": (AFTER_IT, _losses),
}
