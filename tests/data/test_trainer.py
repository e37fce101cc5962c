"""Every DataModule through Lightning's trainer: fit, validation, test."""

from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kasoku.data.digits import Digits
from kasoku.data.image_folder import ImageFolder
from kasoku.data.module import DataModule
from kasoku.data.text import Text
from tests.data.test_image_folder import fill
from tests.data.test_text import written


class Counter(pl.LightningModule):
    """Counts the samples it is shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shown = {"train": 0, "val": 0, "test": 0}

    def count(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        x, y = batch
        assert x.device == y.device == self.device
        self.shown[split] += len(y)
        return self.scale * x.float().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.count(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.count(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.count(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def digits(folder: Path) -> DataModule:
    return Digits()


def text(folder: Path) -> DataModule:
    return Text(path=str(written(folder)), block_size=8, batch_size=4, test_fraction=0.2)


def image_folder(folder: Path) -> DataModule:
    return ImageFolder(
        root=str(fill(folder)), size=8, batch_size=4, num_workers=1, val_fraction=0.25, test_fraction=0.25
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [digits, text, image_folder])
def test_every_sample_goes_through_the_trainer(make: Callable[[Path], DataModule], tmp_path: Path):
    data, module = make(tmp_path), Counter()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    per_epoch = data.train_size // data.batch_size * data.batch_size
    expected = {"digits": (2 * 270, 270), "text": (2 * 15, 30), "image_folder": (2 * 6, 6)}[make.__name__]
    assert module.shown == {"train": 2 * per_epoch, "val": expected[0], "test": expected[1]}
    assert data.state_dict() == {"epoch": 2, "batch": 0, "samples": 0}
