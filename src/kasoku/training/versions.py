"""The versions that a run's figures depend on, as result.json has them."""

import platform
from functools import cache
from importlib.metadata import version

import torch

PACKAGES = ("kasoku", "torch", "pytorch-lightning", "torchmetrics", "hydra-core", "optuna", "wandb")


@cache  # reading the metadata of seven packages takes as long as ten steps of a small net
def of_packages() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def versions() -> dict[str, str]:
    """The versions of Python, of PACKAGES, and of CUDA with the GPU's name where there is one."""
    gpu = {"cuda": torch.version.cuda or "", "gpu": torch.cuda.get_device_name(0)} if torch.cuda.is_available() else {}
    return {"python": platform.python_version(), **of_packages(), **gpu}
