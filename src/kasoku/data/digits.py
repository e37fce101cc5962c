"""The handwritten digits that come with scikit-learn: 1797 images of 8x8, ten classes. Nothing is downloaded."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kasoku.data.memory import Count, InMemory, Rows, Seed
from kasoku.data.order import stratified
from kasoku.faults import MISSING, ConfigError, Fault
from kasoku.signatures import checked

BRIGHTEST = 16.0


class Digits(InMemory):
    """x float32 [B, 1, 8, 8], y int64 [B]. Split into training, validation and test, stratified, by the seed.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998 (its test part).
    Raises ConfigError naming `data.<key>` for a value out of range.
    """

    @checked("data.")
    def __init__(
        self,
        *,
        batch_size: Count = 64,
        eval_batch_size: Count = 512,
        val_size: Count = 270,
        test_size: Count = 270,
        standardize: bool = True,
        drop_last: bool = True,
        seed: Seed = 0,
    ):
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, drop_last=drop_last, seed=seed)
        self.val_size = val_size
        self.test_size = test_size
        self.standardize = standardize
        self.input_shape = (1, 8, 8)
        self.num_classes = 10

    def load(self) -> tuple[Rows, Rows, Rows]:
        """Split and scale the images."""
        x, y = read()
        left = len(x) - self.val_size - self.test_size
        if left < 1:
            key, size = max(("val_size", self.val_size), ("test_size", self.test_size), key=lambda pair: pair[1])
            must = f"val_size + test_size must be below {len(x)}, the number of images"
            raise ConfigError(Fault(f"data.{key}", size, must))
        parts = stratified(y.numpy(), [left, self.val_size, self.test_size], self.seed)
        if self.standardize:
            x = (x - x[parts[0]].mean()) / x[parts[0]].std()
        train, val, test = (Rows(x[part], y[part]) for part in parts)
        return train, val, test


def read() -> tuple[Tensor, Tensor]:
    """All images, float32 [1797, 1, 8, 8] in [0, 1], and their labels, int64 [1797].

    Read from scikit-learn's file without importing scikit-learn, which would take longer than training.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders if (file := Path(folder) / "datasets" / "data" / "digits.csv.gz").exists()]
    if not files:
        must = "scikit-learn's datasets/data/digits.csv.gz must be installed"
        raise ConfigError(Fault("data", MISSING, must, "pip install scikit-learn"))
    table = np.loadtxt(files[0], delimiter=",", dtype=np.float32)
    pixels = torch.from_numpy(table[:, :-1] / BRIGHTEST)
    return pixels.view(-1, 1, 8, 8), torch.from_numpy(table[:, -1]).long()
