"""Runs that are cut anywhere and resumed, each in a fork of a process that has the imports done and has run nothing.

The oracle, `difference`, compares all that two runs leave: metrics.csv, result.json and both checkpoints, bit by bit
but for seconds and versions, and names the first difference.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

import kasoku.search.preload  # noqa: F401
from kasoku.command import modes
from kasoku.config import trust
from tests.conftest import CONF, composed

SMALL = (
    "model=mlp",
    "model.net.hidden=16",
    "model.net.dropout=0.2",
    "trainer=cpu",
    "logger=none",
    "data.eval_batch_size=90",
    "trainer.limit_train_batches=5",
    "trainer.limit_test_batches=1",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=2",
)
EACH_STEP = ("callbacks.last.every_n_epochs=null", "callbacks.last.every_n_train_steps=1")
VOLATILE = {"spent", "seconds", "train_seconds", "total_seconds", "versions"}
HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
)


@dataclass(frozen=True)
class Cut:
    """The signal that a run gets in the `number`-th of its calls of hooks, from 0; they are counted round.

    A kill's are counted from where a checkpoint of the first step is there.
    """

    number: int
    signum: int = signal.SIGTERM

    def call(self, calls: Sequence[str]) -> int:
        """Which of the straight run's `calls` it is."""
        steps = [int(line.split()[1]) for line in calls]
        first = steps.index(2) if self.signum == signal.SIGKILL else 0
        return first + self.number % (len(calls) - first)


@dataclass(frozen=True)
class Outcome:
    """What came of a cut: where it fell, and the first difference from the straight run, "" if there is none."""

    overrides: tuple[str, ...]
    signum: int
    hook: str
    was_cut: bool  # False: the signal came when there was nothing left to train
    difference: str

    def __str__(self) -> str:
        name = signal.Signals(self.signum).name
        return f"{' '.join(self.overrides)}: {name} in {self.hook}: {self.difference}"


class Hooks(Callback):
    """Writes down the calls of hooks and the steps taken by then, and sends a signal to its process in one of them."""

    def __init__(self, path: Path, call: int | None = None, signum: int = 0):
        self._file = path.open("a")
        self._call, self._signum, self._calls = call, signum, 0

    def called(self, hook: str, trainer: Any) -> None:
        if trainer.sanity_checking:
            return
        self._file.write(f"{hook} {trainer.global_step}\n")
        self._file.flush()
        if self._calls == self._call:
            os.kill(os.getpid(), self._signum)
        self._calls += 1


class SignalFromEnvironment(Callback):
    """Sends SIGTERM to its own process after the step that the variable CUT_AT names; on the first rank alone."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.is_global_zero and str(trainer.global_step) == os.environ.get("CUT_AT"):
            os.kill(os.getpid(), signal.SIGTERM)


def _hook(name: str) -> Callable[..., None]:
    return lambda self, trainer, *args, **kwargs: self.called(name, trainer)


for _name in HOOKS:
    setattr(Hooks, _name, _hook(_name))


def start(cfg: DictConfig, overrides: Sequence[str], directory: Path, callbacks: Sequence[Callback] = ()) -> int:
    """Run `cfg` in a fork; its exit code, negative for a signal."""

    def work() -> int:
        origin = modes.Origin(directory, list(overrides), trust.trusted(CONF), time.time(), list(callbacks))
        return modes.run(cfg, origin)

    return in_fork(work, directory.with_suffix(".log"))


def in_fork(work: Callable[[], int], log: Path) -> int:
    """The exit code of `work` in a fork of this process, its output in `log`; negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        torch.set_num_threads(1)
        code = work()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def cut_and_resume(
    overrides: Sequence[str], cuts: Sequence[Cut], folder: Path, tamper: Callable[[Path], None] | None = None
) -> list[Outcome]:
    """What came of each of `cuts` of the run with `overrides`, which is run straight as well; `folder` is new.

    `tamper` may change the checkpoint that is resumed.
    """
    folder.mkdir(parents=True)
    cfg, straight = composed(*overrides), folder / "straight"
    calls = straight.with_suffix(".calls")
    code = start(cfg, overrides, straight, [Hooks(calls)])
    assert code == 0, f"{' '.join(overrides)}, run straight: {_last_words(straight)}"
    hooks = calls.read_text().splitlines()
    found = []
    for number, cut in enumerate(cuts):
        directory, call = folder / f"cut{number}", cut.call(hooks)
        code = start(cfg, overrides, directory, [Hooks(directory.with_suffix(".calls"), call, cut.signum)])
        if code == (-cut.signum if cut.signum == signal.SIGKILL else 128 + cut.signum):
            text = _resumed(cfg, overrides, directory, tamper) or difference(straight, directory)
        else:
            text = difference(straight, directory) if code == 0 else f"exit code {code}: {_last_words(directory)}"
        found.append(Outcome(tuple(overrides), cut.signum, hooks[call], code != 0, text))
    return found


def _resumed(cfg: DictConfig, overrides: Sequence[str], directory: Path, tamper: Callable[[Path], None] | None) -> str:
    """Resume the run in `directory`; "" if it ends well."""
    if tamper:
        in_fork(lambda: tamper(directory / "checkpoints" / "last.ckpt") or 0, directory.with_suffix(".log"))
    cfg = cfg.copy()
    cfg.resume = str(directory)
    code = start(cfg, overrides, directory)
    return f"resumed, exit code {code}: {_last_words(directory)}" if code else ""


def _last_words(directory: Path) -> str:
    return directory.with_suffix(".log").read_text()[-1500:]


def difference(expected: Path, found: Path) -> str:
    """The first difference between what two runs left, "" if there is none."""
    for name in ("metrics.csv", "result.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        mine, other = (_content(folder, name) for folder in (expected, found))
        if text := _compared(mine, other, name):
            return text
    return ""


def _content(folder: Path, name: str) -> Any:
    path = folder / name
    if not path.exists():
        return None
    if name.endswith(".csv"):
        return path.read_text().splitlines()
    content = json.loads(path.read_text()) if name.endswith(".json") else torch.load(path, weights_only=True)
    return _placed(content, str(folder))


def _placed(value: Any, folder: str) -> Any:
    """`value` with the run's own folder taken out of its texts, and without what differs from run to run."""
    if isinstance(value, str):
        return value.replace(folder, "RUN")
    if isinstance(value, Mapping):
        return {_placed(k, folder): _placed(v, folder) for k, v in value.items() if k not in VOLATILE}
    return [_placed(item, folder) for item in value] if isinstance(value, list | tuple) else value


def _compared(mine: Any, other: Any, where: str) -> str:
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        if mine.keys() != other.keys():
            return f"{where}: keys {sorted(map(str, mine.keys() ^ other.keys()))}"
        return next(filter(None, (_compared(mine[k], other[k], f"{where}/{k}") for k in mine)), "")
    if isinstance(mine, list) and isinstance(other, list):
        pairs = enumerate(zip(mine, other, strict=False))
        first = next(filter(None, (_compared(a, b, f"{where}/{i}") for i, (a, b) in pairs)), "")
        return first or (f"{where}: {len(mine)} != {len(other)} items" if len(mine) != len(other) else "")
    if isinstance(mine, torch.Tensor) and isinstance(other, torch.Tensor):
        return "" if _same(mine, other) else f"{where}: {_shown(mine)} != {_shown(other)}"
    return "" if repr(mine) == repr(other) else f"{where}: {mine!r} != {other!r}"


def _same(mine: torch.Tensor, other: torch.Tensor) -> bool:
    if mine.dtype != other.dtype or mine.shape != other.shape:
        return False
    return torch.equal(mine.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8))


def _shown(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} {tensor.flatten()[:3].tolist()}"
