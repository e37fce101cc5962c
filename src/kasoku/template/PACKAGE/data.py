"""The data: a torch Dataset. Its arguments are the keys of conf/data/arms.yaml."""

import math

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Arms(Dataset[tuple[Tensor, int]]):
    """Points on the two arms of a spiral, and which of them they are on."""

    num_classes = 2

    def __init__(self, *, size: int = 4000, noise: float = 0.03):
        drawn = torch.Generator().manual_seed(0)
        turn = math.pi * (0.5 + 2 * torch.rand(size, generator=drawn))
        self.arm = torch.arange(size) % 2
        angle = turn + math.pi * self.arm
        points = torch.stack([angle.cos(), angle.sin()], 1) * turn[:, None] / (2.5 * math.pi)
        self.points = points + noise * torch.randn(size, 2, generator=drawn)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.points[index], int(self.arm[index])
