"""Muon's step beside torch.optim.Muon's on the CPU, one matrix of 512x128 and others: `python -m bench muon`.

torch orthogonalises in bfloat16, which is fast on CPUs with bfloat16 units and slow on all others. The second table is
from a process whose matrix library (oneDNN) is told to do without them, as on a CPU that has AVX2 only, where our
`precision: auto` is float32.
"""

import os
import subprocess
import sys
from typing import Any

import torch
from torch import Tensor, nn

from bench.timing import alternate, ratio, summary
from kasoku.optim.muon import Muon

SHAPES = ((512, 128, 1), (128, 512, 1), (128, 128, 6), (512, 512, 1), (64, 288, 4))
SETTINGS: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.01, "momentum": 0.95}
ROUNDS = 30
NO_BF16 = {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def main() -> None:
    """Print both tables."""
    print("this CPU", flush=True)
    measure()
    print("\nthis CPU without its bfloat16 units (ONEDNN_MAX_CPU_ISA=AVX2)", flush=True)
    child = [sys.executable, "-c", "from bench import muon; muon.measure('float32')"]
    # printed here, so that --record keeps it too
    print(subprocess.run(child, env=os.environ | NO_BF16, check=True, stdout=subprocess.PIPE, text=True).stdout, end="")


def measure(precision: Any = "auto") -> None:
    """One table: CPU milliseconds of a step, alternating in this process, and how far the weights end apart."""
    print(
        f"{'matrices':>14} {'torch ms':>9} {'kasoku ms':>10}  torch / kasoku (quartiles)   largest difference of a step"
    )
    for rows, cols, count in SHAPES:
        torch.manual_seed(0)
        ours, theirs = matrices(rows, cols, count), matrices(rows, cols, count)
        for mine, other in zip(ours, theirs, strict=True):
            other.data.copy_(mine)
            mine.grad = torch.randn(rows, cols)
            other.grad = mine.grad.clone()
        kasoku = Muon([{"params": ours, "kind": "muon"}], **SETTINGS, precision=precision)
        reference = torch.optim.Muon(theirs, **SETTINGS)
        gap = difference(ours, theirs, kasoku, reference)
        times = alternate({"torch": reference.step, "kasoku": kasoku.step}, ROUNDS)
        faster = ratio(times["torch"], times["kasoku"])
        medians = [summary(times[name]).median for name in ("torch", "kasoku")]
        shown = f"{faster.median:.1f} ({faster.low:.1f} to {faster.high:.1f})"
        print(
            f"{count:>3} x {rows:>3}x{cols:<4} {medians[0]:>9.2f} {medians[1]:>10.2f}  {shown:<27}  {gap:.2%} of lr",
            flush=True,
        )


def matrices(rows: int, cols: int, count: int) -> list[nn.Parameter]:
    """`count` random weights."""
    return [nn.Parameter(torch.randn(rows, cols) / cols**0.5) for _ in range(count)]


def difference(ours: list[nn.Parameter], theirs: list[nn.Parameter], *optimizers: torch.optim.Optimizer) -> float:
    """The largest difference of a weight after one step of each, over lr: torch's own is bfloat16's, about 0.5%."""
    for optimizer in optimizers:
        optimizer.step()
    gaps: list[Tensor] = [(a - b).detach().abs().max() for a, b in zip(ours, theirs, strict=True)]
    return float(torch.stack(gaps).max()) / SETTINGS["lr"]


if __name__ == "__main__":
    main()
