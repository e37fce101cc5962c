"""Checkpoints: whole files, plain types and tensors, read with weights_only=True."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from kasoku.faults import ConfigError, Fault
from kasoku.files import write_whole

TRAINED_WITH = "give the model= and data= it was trained with"


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its final name, syncs it, renames it; Lightning's goes through $TMPDIR, unsynced."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(path, map_location=map_location, weights_only=True)


def read(path: Path, key: str) -> dict[str, Any]:
    """The checkpoint in `path`, its tensors mapped from the file and not copied.

    Raises:
        ConfigError: under `key`, if the file is missing, cut short, or no checkpoint.
    """
    if not path.is_file():
        raise ConfigError(Fault(key, path, "no such file", _offer(path)))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ConfigError(Fault(key, path, "is cut short, damaged or no checkpoint", _offer(path))) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ConfigError(Fault(key, path, "is no checkpoint of a run", _offer(path)))
    return content


def load_weights(module: torch.nn.Module, state: dict[str, Any]) -> None:
    """Give `module` the weights of a checkpoint; one that is sharded over devices takes its part of each."""
    if any(hasattr(parameter, "full_tensor") for parameter in module.parameters()):
        from kasoku.training.sharded import load_whole  # not needed otherwise, and slow to import

        load_whole(module, state)
    else:
        module.load_state_dict(state)


def check_weights(module: torch.nn.Module, state: dict[str, Any], key: str, path: Path) -> None:
    """Raises ConfigError naming the first weights that do not fit `module`."""
    own = module.state_dict()
    for name, tensor in state.items():
        if name not in own:
            raise ConfigError(Fault(key, path, f"holds {name}, which the model lacks", TRAINED_WITH))
        if own[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)} there and {tuple(own[name].shape)} in the model"
            raise ConfigError(Fault(key, path, f"{name} is {shapes}", TRAINED_WITH))
    missing = [name for name in own if name not in state]
    if missing:
        must = f"lacks {missing[0]}, which the model has"
        raise ConfigError(Fault(key, path, must, TRAINED_WITH))


def _offer(path: Path) -> str:
    others = sorted(other.name for other in path.parent.glob("*.ckpt") if other != path) if path.parent.is_dir() else []
    return f"a new run can start from the weights in checkpoint={path.with_name(others[0])}" if others else ""
