"""Device and precision settings: checks them against this machine, decides `auto`."""

import logging
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from kasoku import bfloat16
from kasoku.config.trainer_checks import without_gpu
from kasoku.config.tree import plain
from kasoku.faults import Fault

log = logging.getLogger("kasoku")
AUTO = "auto"
SLOW = "trainer.precision=%s: this %s has no units for bfloat16 and is faster in float32; use trainer.precision=auto"


def machine_faults(trainer: DictConfig) -> list[Fault]:
    """Faults of accelerator, devices and precision on this machine."""
    gpus = torch.cuda.device_count()
    accelerator = str(trainer.get("accelerator", "auto"))
    on_gpu = on_cuda(trainer)
    faults = []
    if accelerator in ("gpu", "cuda") and not gpus and not torch.backends.mps.is_available():
        faults.append(Fault("trainer.accelerator", accelerator, "there is no GPU here", "use trainer=cpu"))
    elif on_gpu:
        faults += _device_faults(trainer.get("devices", "auto"), gpus)
    elif not _on_others(trainer):
        faults += without_gpu(plain(trainer)[0], "this run is on the CPU")
    return faults


def on_cuda(trainer: DictConfig) -> bool:
    """True if the trainer takes NVIDIA's or AMD's GPUs."""
    accelerator = str(trainer.get("accelerator", "auto"))
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.device_count() > 0)


def decided(trainer: DictConfig) -> DictConfig:
    """`trainer` with `auto` decided for the keys of which Lightning knows none.

    sync_batchnorm is on where the run takes GPUs: torch has it there only. precision is bf16-mixed where the CPU or
    CUDA's GPU has units for it, else 32-true; a line warns of a bfloat16 that was asked for where there are none.
    """
    on_gpu, precision = on_cuda(trainer), str(trainer.get("precision"))
    units = bfloat16.on_gpu() if on_gpu else bfloat16.on_cpu()
    values: dict[str, Any] = {}
    if trainer.get("sync_batchnorm") == AUTO:
        values["sync_batchnorm"] = on_gpu
    if precision == AUTO:
        values["precision"] = "bf16-mixed" if units else "32-true"
        log.info("trainer.precision=auto: %s", values["precision"])
    elif precision.startswith("bf16") and not units and not _on_others(trainer):
        log.warning(SLOW, precision, "GPU" if on_gpu else "CPU")
    return OmegaConf.merge(trainer, values)  # type: ignore[return-value]


def _on_others(trainer: DictConfig) -> bool:
    accelerator = str(trainer.get("accelerator", "auto"))
    return accelerator in ("mps", "tpu") or (accelerator != "cpu" and torch.backends.mps.is_available())


def _device_faults(devices: Any, gpus: int) -> list[Fault]:
    wanted = [devices] if isinstance(devices, int) else []
    if wanted and wanted[0] > gpus:
        return [
            Fault("trainer.devices", devices, f"this machine has {gpus} GPU{'s' * (gpus > 1)}", f"give {gpus} or auto")
        ]
    if not isinstance(devices, int | str) and any(index >= gpus for index in devices):  # type: ignore[union-attr, attr-defined]
        return [Fault("trainer.devices", list(devices), f"the GPUs here are 0 to {gpus - 1}")]  # type: ignore[call-overload]
    return []
