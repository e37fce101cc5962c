"""A LightningModule on toy data, for what optimizers need from the training loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from kasoku.training.optimizer_hooks import callbacks


def toy_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))


def toy_data() -> TensorDataset:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())


class Toy(pl.LightningModule):
    """Trains `net` with what `make(net)` returns, and keeps the weights that each validation saw."""

    def __init__(self, make: Callable[[nn.Module], Any], net: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(1)
        self.make, self.net = make, net or toy_net()
        self.evaluated: list[dict[str, Tensor]] = []
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.evaluated.append({name: value.clone() for name, value in self.state_dict().items()})
        self.log("val/loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.make(self.net)


class SaveAt(pl.Callback):
    """Saves a checkpoint after `step` optimizer steps."""

    def __init__(self, step: int, path: Path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def fit(module: Toy, steps: int = 18, resume: Path | None = None, *more: pl.Callback, **options: Any) -> pl.Trainer:
    """Six steps an epoch, in the same order each time."""
    torch.manual_seed(2)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    settings = quiet | {"accelerator": "cpu", "max_steps": steps, "num_sanity_val_steps": 1} | options
    trainer = pl.Trainer(callbacks=[*callbacks(), *more], **settings)
    loader = DataLoader(toy_data(), batch_size=16)
    trainer.fit(module, loader, DataLoader(toy_data(), batch_size=96), ckpt_path=resume, weights_only=True)
    return trainer
