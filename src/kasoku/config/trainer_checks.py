"""Settings of the trainer that contradict each other, or those of other nodes."""

from collections.abc import Iterator, Mapping
from typing import Any

from kasoku.config.trust import TARGET
from kasoku.faults import Fault

Values = Mapping[str, Any]


def contradictions(trainer: Values, nodes: Mapping[str, Values]) -> Iterator[Fault]:
    """Every fault of `trainer` beside the other `nodes` of the configuration."""
    yield from _end(trainer)
    if trainer.get("accelerator") == "cpu":
        yield from without_gpu(trainer, "trainer.accelerator is cpu")
    yield from _clipped(trainer, nodes["optimizer"])
    yield from _validation(trainer, nodes["scheduler"], nodes["target"])


def _end(trainer: Values) -> Iterator[Fault]:
    if trainer.get("max_epochs") is None and trainer.get("max_steps") == -1 and trainer.get("max_time") is None:
        fix = "give trainer.max_epochs, trainer.max_steps or trainer.max_time"
        yield Fault("trainer.max_epochs", None, "the run would have no end", fix)
    for unit in ("steps", "epochs"):
        least, most = trainer.get(f"min_{unit}"), trainer.get(f"max_{unit}")
        if isinstance(least, int) and isinstance(most, int) and 0 <= most < least:
            yield Fault(f"trainer.min_{unit}", least, f"must be at most trainer.max_{unit}={most}")


def without_gpu(trainer: Values, why: str) -> Iterator[Fault]:
    """Faults of a trainer that runs on the CPU, and `why` it does."""
    if str(trainer.get("precision")) in ("16-mixed", "16"):
        fix = "use trainer.precision=auto"
        yield Fault("trainer.precision", trainer["precision"], f"needs a GPU, {why}", fix)
    if trainer.get("sync_batchnorm") is True:
        yield Fault("trainer.sync_batchnorm", True, f"needs GPUs, {why}", "use trainer.sync_batchnorm=auto")
    devices = trainer.get("devices", "auto")
    if devices == -1 or not isinstance(devices, int | str):
        yield Fault("trainer.devices", devices, f"must be a number of processes >= 1 or auto, {why}")


def _clipped(trainer: Values, optimizer: Values) -> Iterator[Fault]:
    scaled = str(trainer.get("precision")) in ("16-mixed", "16")
    if scaled and trainer.get("gradient_clip_val") and optimizer.get("fused") is True:
        must = "unscales the gradients inside its step, too late for trainer.gradient_clip_val"
        yield Fault("optimizer.fused", True, must, "set it to null, or use trainer.precision=bf16-mixed")


def _validation(trainer: Values, scheduler: Values, target: Values) -> Iterator[Fault]:
    interval = trainer.get("val_check_interval")
    if trainer.get("check_val_every_n_epoch", 1) is None and isinstance(interval, float):
        must = "must be a number of batches where trainer.check_val_every_n_epoch is null"
        yield Fault("trainer.val_check_interval", interval, must)
    if trainer.get("limit_val_batches", 1) == 0 and str(scheduler.get(TARGET)).endswith(".Plateau"):
        must = "plateau needs validation, which this turns off"
        yield Fault("trainer.limit_val_batches", trainer["limit_val_batches"], must, "give 1.0, or another scheduler")
    if trainer.get("limit_val_batches", 1) == 0 and target.get("stop") is True:
        must = "target.stop=true needs validation, which this turns off"
        yield Fault("trainer.limit_val_batches", trainer["limit_val_batches"], must, "give 1.0")
