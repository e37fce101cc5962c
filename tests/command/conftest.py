"""The command in this process, in a folder with modules and configurations of a user's own."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kasoku import home
from kasoku.command.main import main
from tests.conftest import ROOT, SMALL

MINE = r"""
import pytorch_lightning as pl
import torch

import kasoku


class Net(torch.nn.Sequential):
    def __init__(self, hidden=8, num_classes=10):
        layers = torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, num_classes)
        super().__init__(torch.nn.Flatten(), *layers)


class Opt(torch.optim.SGD):
    def __init__(self, params, lr=0.3, nu=0.5):
        super().__init__(params, lr=lr, momentum=nu)


class OptWithoutLr(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr)


class Lit(pl.LightningModule):
    configure_optimizers = kasoku.configure_optimizers

    def __init__(self, net, width=3):
        super().__init__()
        self.net, self.width = net, width

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
        self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())


class Crash(Net):
    def forward(self, x):
        return helper(x)


class CrashAtInit(torch.nn.Module):
    def __init__(self):
        helper(3)


class CrashingSamples(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return helper(index)


class CrashingData(pl.LightningDataModule):
    batch_size = num_classes = 2

    def train_dataloader(self):
        return torch.utils.data.DataLoader(CrashingSamples(), batch_size=2, num_workers=1)


class CrashingCallback(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        helper(trainer)


class RefusedByLightning(Lit):
    def training_step(self, batch, index):
        return "no loss"


def helper(x):
    raise RuntimeError("out of ideas\nand of words")


def decay(step, total, *, power=2.0):
    return (1 - step / total) ** power


def twice(output, target, factor=2.0):
    return factor * torch.nn.functional.cross_entropy(output, target)


def lone(output):
    return output
"""


@dataclass
class Done:
    """What a command left: exit code, what it said, its directory."""

    code: int
    out: str
    err: str
    directory: Path

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.directory / "result.json").read_text())


Kasoku = Callable[..., Done]


@pytest.fixture
def kasoku(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Kasoku]:
    """`python train.py` with the given words and a small run, in tmp_path, where `mine.py` lies and is trusted."""
    before = list(sys.path), os.environ.get(home.RANK_OF)
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(home.TRUST, "mine")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, small: tuple[str, ...] = (*SMALL, "trainer.max_epochs=1"), name: str = "run") -> Done:
        chosen = [word.split("=")[0] for word in words]
        common = [word for word in small if word.split("=")[0] not in chosen]
        place = [] if any(word.startswith(("resume=", "-m", "hydra.")) for word in words) else [f"hydra.run.dir={name}"]
        flags = [word for word in words if word.startswith("-")]
        rest = [word for word in words if not word.startswith("-")]
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *flags, *common, *rest, *place])
        sys.modules.pop("mine", None)
        capfd.readouterr()
        try:
            code = main()
        except SystemExit as error:  # a sweep's
            code = int(error.code or 0)
        out, err = capfd.readouterr()
        return Done(code, out, err, tmp_path / name)

    yield run
    sys.path[:] = before[0]
    sys.modules.pop("mine", None)
    logging.getLogger().handlers.clear()
    if before[1] is None:
        os.environ.pop(home.RANK_OF, None)
