"""Small worlds whose right answer is known: data of every shape of task, and the nets that they need."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SIZE, FEATURES, STEPS = 256, 4, 6

Sample = Any  # what a batch holds, one sample of it


class Samples(Dataset[Sample]):
    def __init__(self, batch: Any):
        self.batch = batch

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> Sample:
        return _take(self.batch, index)


class World(pl.LightningDataModule):
    """Training, validation and test on the same SIZE samples: the answer is exact, and to be found.

    Args:
        make: the name of a function below: seeded features [SIZE, FEATURES] -> a whole batch.
        facts: attributes besides (num_classes, num_outputs).
        test: another such name, for the test.
    """

    def __init__(self, make: str, batch_size: int = 64, facts: Mapping[str, Any] | None = None, test: str = ""):
        super().__init__()
        self.batch_size = batch_size
        self.input_shape = (FEATURES,)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(SIZE, FEATURES, generator=generator)
        self.samples, self.tested = Samples(globals()[make](x)), Samples(globals()[test or make](x))
        for name, value in (facts or {}).items():
            setattr(self, name, value)

    def train_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples, self.batch_size)

    def test_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.tested, self.batch_size)


class Endless(torch.utils.data.IterableDataset[Sample]):
    """The line as a stream, which cannot be looked at twice."""

    def __iter__(self):
        x = torch.randn(SIZE, FEATURES, generator=torch.Generator().manual_seed(0))
        yield from zip(*column(x), strict=True)


class Stream(pl.LightningDataModule):
    input_shape = (FEATURES,)
    batch_size = 64

    def train_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(Endless(), 64)


# Batches. The line is y = x . (1, 2, 3, 4) / 5 + 0.5.

WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0]) / 5


def line(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x @ WEIGHTS + 0.5


def column(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, line(x)[1][:, None]


def double(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, line(x)[1].double()


def lines(x: Tensor) -> tuple[Tensor, Tensor]:
    """Three targets, of very different size and place."""
    y = line(x)[1]
    return x, torch.stack([y, 3 - y, x[:, 0]], 1)


def classes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The number of the greatest of the first three features."""
    return x, x[:, :3].argmax(1)


def class_column(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, classes(x)[1][:, None]


def shares(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, nn.functional.one_hot(classes(x)[1], 3).float()


def signs(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, (line(x)[1] > 0).long()


def sign_column(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, signs(x)[1][:, None].float()


def labels(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, (x[:, :3] > 0).long()


def rare(x: Tensor) -> tuple[Tensor, Tensor]:
    """A quarter is of class 1, whatever x is."""
    return torch.zeros_like(x), (torch.arange(len(x)) % 4 == 0).long()


def steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """At each position of a sequence, which of two features is the greater."""
    sequence = torch.stack([x.roll(shift, 0) for shift in range(STEPS)], 1)
    return sequence, (sequence[..., 0] > sequence[..., 1]).long()


def maps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Images of 8x8 pixels, dark, middle or bright: three classes."""
    images = x[:, :1, None].repeat(1, 8, 8) * torch.linspace(-1, 1, 64).view(8, 8)
    return images[:, None], torch.bucketize(images, torch.tensor([-0.3, 0.3]))


def pair(x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    return x.split(2, 1), line(x)[1]


def three(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (left, right), y = pair(x)
    return left, right, y


def by_name(x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    (left, right), y = pair(x)
    return {"right": right, "left": left}, y


def entries(x: Tensor) -> dict[str, Tensor]:
    left, right, y = three(x)
    return {"value": y, "right": right, "left": left, "identifier": torch.arange(len(x))}


def pixel_values(x: Tensor) -> dict[str, Tensor]:
    return {"labels": classes(x)[1], "pixel_values": x}


def alone(x: Tensor) -> list[Tensor]:
    return [x]


# Nets.


class Flat(nn.Module):
    """[B, FEATURES] -> [B]."""

    def __init__(self, num_outputs: int = 1):
        super().__init__()
        self.linear = nn.Linear(FEATURES, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).squeeze(1)


class Linear(nn.Linear):
    """[..., FEATURES] -> [..., num_outputs]."""

    def __init__(self, num_outputs: int):
        super().__init__(FEATURES, num_outputs)


class Two(nn.Module):
    """Two inputs [B, 2] -> [B, 1], the sides not alike."""

    def __init__(self) -> None:
        super().__init__()
        self.of_left, self.of_right = nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.of_left(left) + self.of_right(right)


class Normed(Two):
    """The same with batch norm, whose statistics an average of the weights takes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(2, affine=False), nn.Dropout(0.1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return super().forward(self.dropout(self.norm(left)), self.norm(right))


class OneTuple(Two):
    """The same of one tuple."""

    def forward(self, sides: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(*sides)


class OwnLoss(nn.Module):
    """Takes the targets too, and returns a dict with its loss, as the models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, 3)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.linear(pixel_values)
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return loss | {"logits": logits}


class Reconstruction(nn.Module):
    """An autoencoder that returns its loss alone."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.linear(x) - x).square().mean()}


class Heads(nn.Module):
    """A dict of two outputs, without a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.other = nn.Linear(FEATURES, 1), nn.Linear(FEATURES, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.linear(x), "aux": self.other(x)}


# Losses.


def half_square(outputs: Tensor, y: Tensor, factor: float = 0.5) -> Tensor:
    return factor * (outputs - y).square().mean()


def whatever(outputs: Tensor, y: Tensor) -> Tensor:
    """Broadcasts by hand."""
    return (outputs - y).abs().mean()


def own_fault(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs.sum() + {}["gone"]


class Weighted(nn.Module):
    """A loss of the user's own with a tensor among its arguments."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, y, self.weights)


def make_loss(factor: float = 2.0) -> Callable[[Tensor, Tensor], Tensor]:
    """A factory of losses."""
    return lambda outputs, y: half_square(outputs, y, factor)


def _take(batch: Any, index: int) -> Any:
    if isinstance(batch, Mapping):
        return {name: _take(item, index) for name, item in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(_take(item, index) for item in batch)
    return batch[index]
