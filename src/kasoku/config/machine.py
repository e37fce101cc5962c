"""What the configuration asks of the machine, and whether it is there."""

from typing import Any

import torch
from omegaconf import DictConfig

from kasoku.faults import Fault


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
    if str(trainer.get("precision")) in ("16", "16-mixed") and not on_gpu and accelerator != "mps":
        fix = "use trainer.precision=bf16-mixed"
        faults.append(Fault("trainer.precision", trainer.precision, "needs a GPU, this run is on the CPU", fix))
    if trainer.get("sync_batchnorm") is True and not on_gpu:
        fix = "use trainer.sync_batchnorm=auto"
        faults.append(Fault("trainer.sync_batchnorm", True, "needs GPUs, this run is on the CPU", fix))
    return faults


def on_cuda(trainer: DictConfig) -> bool:
    """Whether the trainer takes NVIDIA's or AMD's GPUs."""
    accelerator = str(trainer.get("accelerator", "auto"))
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.device_count() > 0)


def _device_faults(devices: Any, gpus: int) -> list[Fault]:
    wanted = [devices] if isinstance(devices, int) else []
    if wanted and wanted[0] > gpus:
        return [
            Fault("trainer.devices", devices, f"this machine has {gpus} GPU{'s' * (gpus > 1)}", f"give {gpus} or auto")
        ]
    if not isinstance(devices, int | str) and any(index >= gpus for index in devices):  # type: ignore[union-attr, attr-defined]
        return [Fault("trainer.devices", list(devices), f"the GPUs here are 0 to {gpus - 1}")]  # type: ignore[call-overload]
    return []
