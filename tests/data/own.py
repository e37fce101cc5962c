"""Data of a user's own, of every kind."""

import random
from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, WeightedRandomSampler, get_worker_info

SIZE = 60


def plane(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points [size, 4], and which side of a plane they are on."""
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x.sum(1) > 0).long()


class Points(Dataset):
    """Numbered; each sample is moved by what torch, numpy and random draw, as augmentations do."""

    classes = ["below", "above"]

    def __init__(self, size: int = SIZE, split: str = "train", noise: float = 0.01):
        self.x, self.y = plane(size, seed=("train", "val", "test").index(split))
        self.noise = noise

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        moved = torch.randn(4) + torch.from_numpy(np.random.randn(4)).float() + random.random()
        return self.x[number] + self.noise * moved, self.y[number]


def parts_of_points() -> torch.utils.data.Subset:
    return torch.utils.data.Subset(torch.utils.data.ConcatDataset([Points(), Points()]), range(SIZE))


class Fickle(Points):
    """Draws from a generator of its own, which no seed of the outside repeats."""

    def __init__(self, size: int = SIZE):
        super().__init__(size)
        self.rng = np.random.default_rng(0)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.x[number] * float(self.rng.normal()), self.y[number]


class Numbers(Points):
    """x is the number of the sample."""

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return torch.full((4,), float(number)), self.y[number]


class Named(Points):
    """Samples are dicts."""

    def __getitem__(self, number: int) -> dict[str, Tensor]:  # type: ignore[override]
        x, y = super().__getitem__(number)
        return {"features": x, "label": y}


class Stream(IterableDataset):
    """Has no length, and shares itself out among workers."""

    def __init__(self, size: int = SIZE):
        self.x, self.y = plane(size, seed=0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        yield from zip(self.x[first::step], self.y[first::step], strict=True)


class Sorted(Dataset):
    """Numbered by duck typing alone."""

    def __init__(self, size: int = 5):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> tuple[float, int]:
        return float(number), number % 2


def loader(size: int = SIZE, num_workers: int = 0) -> DataLoader:
    return DataLoader(Points(size), 8, shuffle=True, num_workers=num_workers)


def too_few() -> DataLoader:
    return DataLoader(Points(5), 8, drop_last=True)


class Silent(Stream):
    """Yields nothing."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(())


def weighted() -> DataLoader:
    sampler = WeightedRandomSampler(torch.arange(SIZE).float(), 40, generator=torch.Generator().manual_seed(3))
    return DataLoader(Points(), batch_sampler=BatchSampler(sampler, 8, drop_last=False))


def halves() -> tuple[Dataset, Dataset]:
    return Points(), Points(20, "val")


def splits() -> dict[str, Dataset]:
    return {"train": Points(), "validation": Points(20, "val"), "test": Points(10, "test"), "unlabelled": Points(5)}


def nothing() -> int:
    return 5


class Module(pl.LightningDataModule):
    """Makes its own loaders, and a note of how it was asked."""

    num_classes = 2
    input_shape = (4,)

    def __init__(self, size: int = SIZE, num_workers: int = 0):
        super().__init__()
        self.size, self.num_workers = size, num_workers
        self.saved = 0

    def train_dataloader(self) -> DataLoader:
        return loader(self.size, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Points(20, "val"), 8, num_workers=self.num_workers, persistent_workers=self.num_workers > 0)

    def state_dict(self) -> dict[str, int]:
        self.saved += 1
        return {"saved": self.saved}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.saved = state_dict["saved"]


class Net(nn.Module):
    """Has dropout, so that every random number counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class NamedNet(pl.LightningModule):
    """Trains on dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.layer(batch["features"]), batch["label"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.training_step(batch, batch_idx))

    from kasoku import configure_optimizers
