"""What a step of each optimizer costs, beside torch's AdamW: `python -m bench optimizers`.

CPU time of `optimizer.step()`, ten steps at a time so that work done every tenth step counts, all options in turn.
Sophia's includes the estimate of the curvature that it makes every tenth step, with its forward pass.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn import functional as F

from bench.timing import alternate, ratio, summary
from kasoku.command.build import build_recipe
from kasoku.durations import Clock
from kasoku.nets.cnn import CNN
from kasoku.nets.gpt import GPT

CONF = Path(__file__).parents[1] / "conf"
BASE = "adamw"
STEPS, ROUNDS = 10, 7


def main() -> None:
    """Print a table for a small convolutional net and one for a small GPT."""
    torch.manual_seed(0)
    images, labels = torch.randn(64, 1, 8, 8), torch.randint(10, (64,))
    measure("cnn", lambda: CNN(input_shape=(1, 8, 8), num_classes=10), images, labels)
    tokens = torch.randint(65, (12, 64))
    measure("gpt", lambda: GPT(input_shape=(64,), num_classes=65, n_layer=4, n_head=4, n_embd=128), tokens, tokens)


def measure(title: str, make_net: Callable[[], nn.Module], x: Tensor, y: Tensor) -> None:
    """One table, the fastest first."""
    names = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
    times = alternate({name: steps(name, make_net(), x, y) for name in names}, ROUNDS)
    size = sum(p.numel() for p in make_net().parameters())
    print(f"\n{title}, {size} parameters\n{'optimizer':<20} {'ms a step':>9}   x {BASE} (quartiles)")
    for name in sorted(names, key=lambda name: summary(times[name]).median):
        relative = ratio(times[name], times[BASE])
        print(
            f"{name:<20} {summary(times[name]).median / STEPS:>9.2f}   "
            f"{relative.median:.2f} ({relative.low:.2f} to {relative.high:.2f})"
        )


def steps(name: str, net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A call that takes STEPS steps of the option `name` with the gradients of one batch."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"optimizer={name}", "scheduler=constant", "warmup=none"])
    optimizer = build_recipe(cfg).configure(net, Clock(total=None))["optimizer"]
    if hasattr(optimizer, "train"):
        optimizer.train()
    loss(net, x, y).backward()

    def call() -> None:
        for _ in range(STEPS):
            if getattr(optimizer, "due", False):
                optimizer.estimate(loss(net, x, y))
            optimizer.step()

    return call


def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy over all positions."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return F.cross_entropy(net(x).flatten(0, -2), y.flatten())


if __name__ == "__main__":
    main()
