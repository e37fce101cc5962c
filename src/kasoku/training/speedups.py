"""Speed-ups that do not change what a net computes: torch.compile, and channels last in memory."""

import importlib.util
import logging
import os
import shutil
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

log = logging.getLogger("kasoku")


def compile_nets(module: pl.LightningModule) -> bool:
    """Have torch.compile compile the nets of `module` at their first call; whether that is possible here.

    Where no compiler is installed a line says so and the nets run as they are; likewise a part that cannot be compiled.
    What was compiled is kept in ~/.cache for the next run. Names in checkpoints stay the same.
    """
    missing = missing_compiler()
    if missing:
        log.warning("trainer.compile=true, but %s: going on without compilation", missing)
        return False
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "torchinductor"))
    import torch._dynamo  # settles on a folder

    torch._dynamo.config.suppress_errors = True  # torch says what it could not compile, and runs it
    for net in nets(module):
        net.compile()
    return True


def missing_compiler() -> str:
    """The tool that torch.compile lacks on this machine, "" if none."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++")):
        return "no C++ compiler is installed (g++ or clang++)"
    if torch.cuda.is_available() and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    return ""


def use_channels_last(module: pl.LightningModule) -> None:
    """Store the kernels of convolutions, and so what these put out, with the channels as the innermost dimension."""
    for net in nets(module):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def nets(module: pl.LightningModule) -> list[nn.Module]:
    """The children of `module` that have parameters: not its loss, not its metrics."""
    return [child for child in module.children() if any(True for _ in child.parameters())]
