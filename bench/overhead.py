"""What the training loop costs per step: a bare PyTorch loop, stock Lightning and kasoku, in turn, in one process.

Two nets: a 64-64-10 perceptron on the digits, where the loop is nearly all there is, and a GPT of nanoGPT's CPU size.
kasoku runs as a user runs it: metrics.csv, the lr and the loss of every step watched and logged, target, signals and
checkpoints listening, the progress bar drawn (to nowhere). Evaluation and the writing of checkpoints are not timed, nor
are the first steps of a round. CPU time of the whole process, backward threads included.
"""

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from bench.runs import Built, quieten, text_file
from bench.timing import ratio, summary

WARM = 20  # steps at the start of a round that are not timed
Round = Callable[[], float]


def main() -> None:
    """Print both tables."""
    quieten()
    logging.getLogger("kasoku").setLevel(logging.WARNING)
    measure("perceptron 64-64-10, batch 64", mlp(), steps=400, rounds=9, target=1.9)
    measure("GPT, 4 layers of width 128, batch 12 x 64", gpt(), steps=40, rounds=7, target=1.03)


def mlp() -> Built:
    """The digits, repeated so that an epoch holds a whole round."""
    return Built("model=mlp", "data=digits", "optimizer=adamw", repeat=30)


def gpt() -> Built:
    """Characters of a text."""
    return Built("model=gpt", "data=text", f"data.path={text_file()}", "optimizer=adamw")


def measure(title: str, built: Built, steps: int, rounds: int, target: float) -> None:
    """One table: milliseconds of a step, and times the bare loop over a DataLoader."""
    rivals: dict[str, Round] = {
        "bare loop over a DataLoader": lambda: bare(built, steps, collated(built)),
        "bare loop over tensors": lambda: bare(built, steps, indexed(built)),
        "bare loop over tensors, fused AdamW": lambda: bare(built, steps, indexed(built), fused=True),
        "stock Lightning": lambda: stock(built, steps),
        "kasoku": lambda: kasoku(built, steps),
    }
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, play in rivals.items():
            times[name].append(play())
    base = times["bare loop over a DataLoader"]
    print(f"\n{title}; {steps} steps a round, {rounds} rounds; target {target} x")
    print(f"{'':<36} ms a step   x bare (quartiles)")
    for name, values in times.items():
        relative = ratio(values, base)
        print(
            f"{name:<36} {summary(values).median:>9.3f}   "
            f"{relative.median:.2f} ({relative.low:.2f} to {relative.high:.2f})",
            flush=True,
        )


def bare(built: Built, steps: int, batches: Iterator[tuple[Tensor, Tensor]], fused: bool | None = None) -> float:
    """A loop as a user writes it: CPU milliseconds of a step."""
    net = built.net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.003, weight_decay=0.01, fused=fused)
    start = 0.0
    for step, (x, y) in enumerate(batches):
        if step == WARM:
            start = time.process_time()
        if step == steps:
            break
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x).flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()
    return 1000 * (time.process_time() - start) / (steps - WARM)


def collated(built: Built) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a DataLoader that shuffles and collates."""
    return iter(DataLoader(TensorDataset(*built.samples()), built.batch_size, shuffle=True, drop_last=True))


def indexed(built: Built) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches by indexing tensors."""
    x, y = built.samples()
    for part in torch.randperm(len(x)).split(built.batch_size):
        yield x[part], y[part]


class StockModule(pl.LightningModule):
    """As Lightning's documentation writes it."""

    def __init__(self, net: nn.Module, steps: int):
        super().__init__()
        self.net, self.steps = net, steps

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.net(x).flatten(0, -2), y.flatten())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.003, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Span(pl.Callback):
    """CPU time from the end of step `WARM` to the end of the last step."""

    def __init__(self, steps: int):
        self._steps, self._since, self.milliseconds = steps, 0.0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        if trainer.global_step == WARM:
            self._since = time.process_time()
        elif trainer.global_step == self._steps:
            self.milliseconds = 1000 * (time.process_time() - self._since) / (self._steps - WARM)


def stock(built: Built, steps: int) -> float:
    """Lightning with self.log, a scheduler, its CSVLogger and its bar."""
    span = Span(steps)
    loader = DataLoader(TensorDataset(*built.samples()), built.batch_size, shuffle=True, drop_last=True)
    with tempfile.TemporaryDirectory() as folder, silenced():
        trainer = pl.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=CSVLogger(folder),
            callbacks=[span, TQDMProgressBar()],
            log_every_n_steps=10,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(StockModule(built.net(), steps), loader)
    return span.milliseconds


def kasoku(built: Built, steps: int) -> float:
    """The whole product."""
    span = Span(steps)
    with tempfile.TemporaryDirectory() as folder, silenced():
        built.fit(Path(folder), [span], f"trainer.max_steps={steps}", "trainer.num_sanity_val_steps=0", bar=True)
    return span.milliseconds


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """What is drawn goes nowhere."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


if __name__ == "__main__":
    main()
