"""Runs of the product inside a benchmark's own process."""

import functools
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from kasoku.command.build import build, build_module
from kasoku.command.make import make
from kasoku.config import resolvers, trust
from kasoku.data.memory import InMemory, Rows
from kasoku.training.run import Ended
from kasoku.training.session import fit

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
SHAKESPEARE = "KASOKU_SHAKESPEARE"  # names tinyshakespeare.txt


def composed(*overrides: str) -> DictConfig:
    """The configuration that `python train.py *overrides` trains with, without W&B; on the CPU unless they say else."""
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["trainer=cpu", "logger=none", *overrides])


class Built:
    """One configuration, run again and again.

    Args:
        overrides: as on the command line.
        repeat: times that the training set is repeated, to make an epoch longer.
    """

    def __init__(self, *overrides: str, repeat: int = 1):
        self.overrides, self.repeat = overrides, repeat

    @functools.cached_property
    def data(self) -> InMemory:
        """The data, for a loop of one's own."""
        return self.datamodule()

    @property
    def batch_size(self) -> int:
        """Samples of a batch."""
        return self.data.batch_size

    def datamodule(self) -> InMemory:
        """The data, set up and repeated."""
        data: InMemory = make(composed(*self.overrides).data, "data")
        data.prepare_data()
        data.setup()
        if self.repeat > 1 and isinstance(data.train, Rows):
            data.train = Rows(data.train.x.repeat(self.repeat, 1, 1, 1), data.train.y.repeat(self.repeat))
            data.order = data.train.order(data.seed)
        return data

    def net(self) -> nn.Module:
        """The net alone."""
        return build_module(composed(*self.overrides).model, self.data).net

    def samples(self) -> tuple[Tensor, Tensor]:
        """All training samples as tensors."""
        batches = list(self.data.train_dataloader())
        return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])

    def fit(self, directory: Path, callbacks: Sequence[Callback], *overrides: str, bar: bool = False) -> Ended:
        """Train as the command does, in `directory`."""
        quieten()
        run = build(composed(*self.overrides, *overrides), directory, trust.trusted(CONF))
        run.bar = bar
        run.data = self.datamodule() if self.repeat > 1 else run.data
        run.callbacks = [*callbacks, *run.callbacks]
        return fit(run)


def quieten() -> None:
    """Results only: no banners, no warnings about short runs."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def text_file() -> Path:
    """tinyshakespeare.txt by the environment variable KASOKU_SHAKESPEARE, else from where it is usually put."""
    named = os.environ.get(SHAKESPEARE)
    usual = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
    return Path(named) if named else usual if usual.exists() else generated()


def generated() -> Path:
    """A text of as many characters and as large an alphabet, for measurements where only the size matters."""
    path = Path(tempfile.gettempdir()) / "kasoku_bench_text.txt"
    if not path.exists():
        letters = torch.randint(32, 97, (1_115_394,), generator=torch.Generator().manual_seed(0))
        path.write_text("".join(map(chr, letters.tolist())))
    return path
