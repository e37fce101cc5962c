"""Checkpoints: whole files, plain types and tensors, read with weights_only=True once their checksums are right."""

import errno
import logging
import pickle
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from kasoku.faults import ConfigError, Fault
from kasoku.files import CannotWrite, write_whole
from kasoku.training.plain import plain

log = logging.getLogger("kasoku")

HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters", "hparams_type", "datamodule_hparams_type")


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its final name, syncs it, verifies it, renames it; Lightning's goes through $TMPDIR.

    What it holds is made plain, so that `read` takes it: see `kasoku.training.plain`.

    Args:
        last: the checkpoint that a resume goes on from. What was there before stays beside it as its `predecessor`.
    """

    def __init__(self, last: Path | None = None):
        super().__init__()
        self._last = last
        self._said: set[str] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        checkpoint, lost = plain(checkpoint)
        self._say(lost)
        keep = predecessor(path) if self._last and path.absolute() == self._last.absolute() else None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(path, 0, error) from error
        write_whole(path, lambda file: torch.save(checkpoint, file), verify=_verify, keep=keep)

    def _say(self, lost: Sequence[str]) -> None:
        """Say once what a resumed run will lack. Hyperparameters are no such thing, and named at the start."""
        lost = [name for name in lost if not name.startswith(HYPERPARAMETERS) and name not in self._said]
        if lost:
            log.warning("checkpoints: %s hold objects that are no plain types, and are left out", ", ".join(lost))
        self._said |= {*lost}

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        _verify(Path(path))
        return torch.load(path, map_location=map_location, weights_only=True)


def predecessor(path: Path) -> Path:
    """The checkpoint that `path` took the place of: last.ckpt -> last.previous.ckpt."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def damage(path: Path) -> str:
    """The reason why `path` cannot be trusted, "" if its checksums are right: torch.load does not look at them."""
    try:
        with zipfile.ZipFile(path) as archive:
            record = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return "is cut short, damaged or no checkpoint"
    return f"is damaged: the checksum of {record} is wrong" if record else ""


def _verify(path: Path) -> None:
    if found := damage(path):
        raise OSError(errno.EIO, found, str(path))


def newest(last: Path) -> Path | None:
    """The checkpoint that a resume goes on from: `last`, or its predecessor where `last` is damaged or missing.

    None where the run was ended before it wrote one.

    Raises:
        ConfigError: there are some, but none is whole.
    """
    before = predecessor(last)
    found = {path: damage(path) for path in (last, before) if path.is_file()}
    whole = next((path for path, wrong in found.items() if not wrong), None)
    if whole == before:
        why = f"{last.name} {found[last]}" if last in found else f"there is no {last.name}"
        log.warning("%s; going on from %s%s", why, before.name, _lost(last, before))
    elif whole is None and (found or _others(last)):
        must = found.get(last) or found.get(before) or "no such file"
        raise ConfigError(Fault("resume", last, must, _offer(last)))
    return whole


def _lost(last: Path, before: Path) -> str:
    """The steps that are made again, said where the damaged file still tells how far it was."""
    try:
        steps = _load(last)["global_step"] - _load(before)["global_step"]
    except Exception:  # torch raises many kinds for a damaged file
        return f", step {_load(before)['global_step']}"
    return f", step {_load(before)['global_step']}: {steps} steps are made again"


def read(path: Path, key: str) -> dict[str, Any]:
    """The checkpoint in `path`, its tensors mapped from the file and not copied.

    Raises:
        ConfigError: under `key`, if the file is missing, cut short, or no checkpoint.
    """
    content = opened(path, key)
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ConfigError(Fault(key, path, "is no checkpoint of a run", _offer(path)))
    return content


def opened(path: Path, key: str) -> Any:
    """The content of `path`, its tensors mapped from the file where it was written in the present format.

    Raises:
        ConfigError: under `key`, if the file is missing, cut short, or holds more than tensors and plain types.
    """
    if not path.is_file():
        raise ConfigError(Fault(key, path, "no such file", _offer(path)))
    is_archive = zipfile.is_zipfile(path)
    if wrong := damage(path) if is_archive else "":
        raise ConfigError(Fault(key, path, wrong, _offer(path)))
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise ConfigError(Fault(key, path, "is damaged or no checkpoint", _offer(path))) from error
        must = "holds Python objects, and none but tensors and plain types are read, for an object may run code"
        fix = "where you trust it: torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pt')"
        raise ConfigError(Fault(key, path, must, fix)) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ConfigError(Fault(key, path, "is cut short, damaged or no checkpoint", _offer(path))) from error


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def best_of(trackers: Iterable[Callback], metric: str) -> Path | None:
    """The checkpoint of the best weights, whatever it is called and wherever it lies.

    That is the best of the ModelCheckpoint which monitors `metric`, or of the first that monitors anything; None where
    there is none, or it has kept nothing.
    """
    tracking = [c for c in trackers if isinstance(c, ModelCheckpoint) and c.monitor]
    for tracker in sorted(tracking, key=lambda c: c.monitor != metric)[:1]:
        path = Path(tracker.best_model_path)
        moved = Path(tracker.dirpath or "") / path.name  # the folder was renamed since
        return next((place for place in (path, moved) if place.is_file()), None)
    return None


def load_weights(module: torch.nn.Module, state: dict[str, Any]) -> None:
    """Give `module` the weights of a checkpoint; one that is sharded over devices takes its part of each."""
    if any(hasattr(parameter, "full_tensor") for parameter in module.parameters()):
        from kasoku.training.sharded import load_whole  # not needed otherwise, and slow to import

        load_whole(module, state)
    else:
        module.load_state_dict(state)


def _offer(path: Path) -> str:
    others = [other for other in _others(path) if not damage(other)]
    return f"a new run can start from the weights in checkpoint={others[0]}" if others else ""


def _others(path: Path) -> list[Path]:
    return sorted(other for other in path.parent.glob("*.ckpt") if other != path)
