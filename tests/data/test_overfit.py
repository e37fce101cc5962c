"""trainer.overfit_batches shows the same batches in every epoch, whatever the data."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from kasoku.data.digits import Digits
from kasoku.data.foreign import datamodule
from kasoku.data.image_folder import ImageFolder
from kasoku.data.images import Augment, images
from kasoku.data.memory import InMemory
from kasoku.data.text import Text
from tests.data import own
from tests.data.test_image_folder import fill
from tests.data.test_resume import Recorder
from tests.data.test_text import written


class Moving(InMemory):
    """The digits, moved and mirrored anew in each epoch."""

    def __init__(self):
        super().__init__(batch_size=8, eval_batch_size=64, drop_last=True, seed=0)

    def load(self) -> Any:
        train, val, test = Digits().load()
        return images(train.x, train.y, Augment("random", translate=1, cutout=2), 0), val, test


class Notes(Recorder):
    """Writes down the batches themselves."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append((batch_idx, batch[0].flatten().tolist()))
        return self.layer(batch[0].float().flatten()[:1]).mean()


KINDS = {
    "in memory": lambda folder: Digits(batch_size=8),
    "augmented": lambda folder: Moving(),
    "image folder": lambda folder: ImageFolder(
        root=str(fill(folder)), size=8, batch_size=4, num_workers=0, val_fraction=0.25
    ),
    "text": lambda folder: Text(path=str(written(folder)), block_size=8, batch_size=4),
    "a Dataset": lambda folder: datamodule(own.Points(), {"batch_size": 8}, "mine"),
    "a DataLoader": lambda folder: datamodule(DataLoader(own.Points(noise=0), 8, shuffle=True), {}, "mine"),
    "an exact DataLoader": lambda folder: datamodule(own.loader(), {"order": "exact"}, "mine"),
    "an IterableDataset": lambda folder: datamodule(own.Stream(), {"batch_size": 8}, "mine"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_every_epoch_has_the_batches_of_the_first(tmp_path: Path, kind: str):
    module = Notes()
    pl.Trainer(
        overfit_batches=2,
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, datamodule=KINDS[kind](tmp_path))
    assert module.seen[:2] == module.seen[2:4] == module.seen[4:6]
    assert module.seen[0][1] != module.seen[1][1]
