"""The handwritten digits that come with scikit-learn: 1797 images of 8x8, ten classes. Nothing is downloaded."""

import importlib.util
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from kasoku.data.memory import EvalLoader, Rows, TrainLoader
from kasoku.data.module import DataModule
from kasoku.data.order import Order, stratified
from kasoku.faults import ConfigError, Fault, check_call

BRIGHTEST = 16.0


class Digits(DataModule):
    """x float32 [B, 1, 8, 8], y int64 [B]. Split into training, validation and test, stratified, by the seed.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998 (its test part).
    """

    def __init__(
        self,
        *,
        batch_size: Annotated[int, Ge(1)] = 64,
        eval_batch_size: Annotated[int, Ge(1)] = 512,
        val_size: Annotated[int, Ge(1)] = 270,
        test_size: Annotated[int, Ge(1)] = 270,
        standardize: bool = True,
        drop_last: bool = True,
        seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0,
    ):
        super().__init__()
        sizes = {
            "batch_size": batch_size,
            "eval_batch_size": eval_batch_size,
            "val_size": val_size,
            "test_size": test_size,
        }
        if faults := check_call(Digits, sizes | {"seed": seed}, "data."):
            raise ConfigError(*faults)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.test_size = test_size
        self.standardize = standardize
        self.drop_last = drop_last
        self.seed = seed
        self.input_shape = (1, 8, 8)
        self.num_classes = 10

    def setup(self, stage: str | None = None) -> None:
        """Split, scale, and put the tensors on the device. Raises ConfigError where the sizes do not fit the set."""
        if self.order is not None:
            return
        images, labels = load()
        left = len(images) - self.val_size - self.test_size
        if left < 1:
            held = {"val_size": self.val_size, "test_size": self.test_size}
            key = max(held, key=lambda name: held[name])
            must = f"val_size + test_size must leave training samples of the {len(images)} there are"
            raise ConfigError(Fault(f"data.{key}", held[key], must))
        self.ordered(Order(left, self.seed), self.batch_size)
        parts = stratified(labels.numpy(), [left, self.val_size, self.test_size], self.seed)
        mean, std = images[parts[0]].mean(), images[parts[0]].std()
        x = ((images - mean) / std if self.standardize else images).to(self.device())
        y = labels.to(self.device())
        self.train, self.val, self.test = (Rows(x[part], y[part]) for part in parts)

    def train_dataloader(self) -> TrainLoader:
        return TrainLoader(self.train, self.order, self.batch_size, self.shard(), self.drop_last, self.batches_done)

    def val_dataloader(self) -> EvalLoader:
        return EvalLoader(self.val.x, self.val.y, self.eval_batch_size, self.shard())

    def test_dataloader(self) -> EvalLoader:
        return EvalLoader(self.test.x, self.test.y, self.eval_batch_size, self.shard())


def load() -> tuple[Tensor, Tensor]:
    """All images, float32 [1797, 1, 8, 8] in [0, 1], and their labels, int64 [1797].

    Read from scikit-learn's file without importing scikit-learn, which would take longer than training.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders if (file := Path(folder) / "datasets" / "data" / "digits.csv.gz").exists()]
    if not files:
        must = "scikit-learn's datasets/data/digits.csv.gz must be installed"
        raise ConfigError(Fault("data", "digits", must, "pip install scikit-learn"))
    table = np.loadtxt(files[0], delimiter=",", dtype=np.float32)
    images = torch.from_numpy(table[:, :-1] / BRIGHTEST).view(-1, 1, 8, 8)
    return images, torch.from_numpy(table[:, -1]).long()
