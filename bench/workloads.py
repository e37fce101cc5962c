"""Five small workloads, each a net, its batches and the loss of its evaluation: what `python -m bench sooner` trains.

digits   handwritten digits with a tenth of the training labels drawn anew, MLP
table    20,000 rows of a made-up regression, nonlinear and noisy, MLP
images   CIFAR-10 at 16x16 pixels, a small convolutional net
verse    Tiny Shakespeare, letters, a GPT
source   the Python standard library's own sources, bytes, the same GPT

and three that were not looked at while the defaults of recipe=fast were found:

pictures the digits with their noise as images, a convolutional net
long     the table in 4000 steps of 32 rows, a narrower and deeper net
deep     Tiny Shakespeare, a GPT of four layers whose head is a matrix of its own and whose embeddings begin at 1
"""

import io
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from bench.runs import ROOT, text_file
from kasoku.nets.cnn import CNN
from kasoku.nets.gpt import GPT
from kasoku.nets.mlp import MLP

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
IMAGES = ROOT.parent / "shared" / "data" / "cifar10_jpeg.npz"


@dataclass(frozen=True)
class Workload:
    """A task.

    Args:
        net: makes a net with the global seed.
        train, validation: inputs and targets; of a text one row of token ids, which `window` cuts pieces from.
        loss: of outputs and targets, their mean.
        batch: samples a step.
        steps: of the rival's run.
        window: length of the pieces of a text; 0: rows.
    """

    net: Callable[[], nn.Module]
    train: Batch
    validation: Batch
    loss: Loss
    batch: int
    steps: int
    window: int = 0

    def batches(self, seed: int) -> Iterator[Batch]:
        """Endless batches by `seed`: epochs of shuffled rows, or pieces from anywhere in the text."""
        generator = torch.Generator().manual_seed(seed)
        x, y = self.train
        while True:
            if self.window:
                starts = torch.randint(len(x) - self.window, (self.batch, 1), generator=generator)
                pieces = starts + torch.arange(self.window)
                yield x[pieces], y[pieces]
                continue
            order = torch.randperm(len(x), generator=generator)
            for rows in order.split(self.batch):
                if len(rows) == self.batch:
                    yield x[rows], y[rows]

    @torch.no_grad()
    def evaluate(self, net: nn.Module) -> float:
        """The mean loss on the validation data."""
        net.eval()
        x, y = self.validation
        parts = [(self.loss(net(a), b).item(), len(a)) for a, b in zip(x.split(500), y.split(500), strict=True)]
        net.train()
        return sum(value * count for value, count in parts) / sum(count for _, count in parts)


@cache
def digits() -> Workload:
    generator = torch.Generator().manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x), generator=generator)
    train, rest = order[:1200], order[1200:]
    noisy = y[train].clone()
    wrong = torch.rand(len(train), generator=generator) < 0.1
    noisy[wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
    net = lambda: MLP(input_shape=[64], num_classes=10, hidden=64, depth=2)  # noqa: E731
    return Workload(net, (x[train], noisy), (x[rest], y[rest]), F.cross_entropy, batch=64, steps=240)


@cache
def table() -> Workload:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 12, generator=generator)
    first, second = (torch.randn(12, 24, generator=generator) / 12**0.5 for _ in range(2))
    signal = (torch.sin(2 * x @ first) * (x @ second)).sum(1, keepdim=True) / 24**0.5 + x[:, :1] * x[:, 1:2]
    y = signal + 0.3 * torch.randn(signal.shape, generator=generator)
    y = (y - y[:16_000].mean()) / y[:16_000].std()
    net = lambda: MLP(input_shape=[12], num_classes=1, hidden=128, depth=2)  # noqa: E731
    return Workload(net, (x[:16_000], y[:16_000]), (x[16_000:], y[16_000:]), F.mse_loss, batch=128, steps=1000)


@cache
def pictures() -> Workload:
    task = digits()
    shaped: dict[str, Any] = {
        name: (x.view(-1, 1, 8, 8), y) for name, (x, y) in {"train": task.train, "validation": task.validation}.items()
    }
    net = lambda: CNN(input_shape=[1, 8, 8], num_classes=10, width=16, depth=2)  # noqa: E731
    return replace(task, net=net, **shaped)


@cache
def long() -> Workload:
    net = lambda: MLP(input_shape=[12], num_classes=1, hidden=64, depth=3, activation="gelu")  # noqa: E731
    return replace(table(), net=net, batch=32, steps=4000)


@cache
def deep() -> Workload:
    task, free = verse(), dict[str, Any](tie_weights=False, embed_std=1.0, init_std=None)
    words = int(max(part.max() for part in (*task.train, *task.validation))) + 1
    net = lambda: GPT(input_shape=[48], num_classes=words, n_layer=4, n_embd=64, **free)  # noqa: E731
    return replace(task, net=net, steps=300)


@cache
def images() -> Workload:
    x, y = _cifar16()
    net = lambda: CNN(input_shape=[3, 16, 16], num_classes=10, width=16)  # noqa: E731
    return Workload(net, (x[:20_000], y[:20_000]), (x[20_000:], y[20_000:]), F.cross_entropy, batch=128, steps=400)


@cache
def verse() -> Workload:
    letters = text_file().read_bytes()
    return _text(letters, steps=400)


@cache
def source() -> Workload:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return _text(b"\n".join(file.read_bytes() for file in files)[:4_000_000], steps=400)


def _text(content: bytes, steps: int, window: int = 48) -> Workload:
    used, tokens = np.unique(np.frombuffer(content, dtype=np.uint8), return_inverse=True)
    ids = torch.tensor(tokens, dtype=torch.int64)
    cut = int(0.9 * len(ids))
    held = ids[cut:][: 400 * window + 1]
    net = lambda: GPT(input_shape=[window], num_classes=len(used), n_layer=2, n_embd=64)  # noqa: E731
    validation = held[:-1].view(-1, window), held[1:].view(-1, window)
    return Workload(net, (ids[: cut - 1], ids[1:cut]), validation, _of_tokens, batch=16, steps=steps, window=window)


def _of_tokens(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _cifar16(count: int = 24_000) -> Batch:
    """The first images of CIFAR-10's training set as means of 2x2 pixels, standardised.

    Raises:
        FileNotFoundError: the set is not there.
    """
    if not IMAGES.exists():
        raise FileNotFoundError(f"{IMAGES} is not there: name the other workloads")
    packed = np.load(IMAGES)
    jpegs, ends = packed["train_jpeg"].tobytes(), packed["train_offset"][: count + 1]
    pixels = [np.asarray(Image.open(io.BytesIO(jpegs[a:b])).convert("RGB")) for a, b in pairwise(ends)]
    x = torch.tensor(np.stack(pixels), dtype=torch.float32).permute(0, 3, 1, 2)
    x = F.avg_pool2d(x, 2)
    x = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / x.std(dim=(0, 2, 3), keepdim=True)
    return x, torch.tensor(packed["train_label"][:count].astype(np.int64))


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "digits": digits,
    "table": table,
    "images": images,
    "verse": verse,
    "source": source,
    "pictures": pictures,
    "long": long,
    "deep": deep,
}
