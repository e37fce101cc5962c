"""CIFAR-10 in a fixed time.

On the CPU: the test accuracy of experiment=cifar10_cpu, and that of torch's plain recipe (momentum SGD, three steps of
decay, no warmup) with the same net, data and processes in the same time of training; once in float32, as torch does by
default, once in our precision. On a GPU besides: experiment=cifar10_speedrun, seconds of optimizer steps to 94% after
one run that warms the device up; the anchor is cifar10-airbench's 2.59 s on an A100.

KASOKU_CIFAR10 names the folder of the official batches; they are downloaded where it is not set.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from bench.runs import ROOT, Built, quieten
from bench.spent import Spent
from bench.timing import summary

SEEDS = (0, 1)
SGD = (
    "optimizer=momentum",
    "~optimizer.adamw_lr",
    "optimizer.lr=1.0",
    "optimizer.weight_decay=0.0005",
    "scheduler=step",
    "scheduler.every=33%",
    "warmup=none",
    "model.loss.label_smoothing=0",
    "model.net.views=1",
)
PLAIN = {
    "momentum SGD, float32": (*SGD, "trainer.precision=32-true", "trainer.channels_last=false"),
    "momentum SGD, bfloat16": SGD,
}
TRIAL_STEPS = 200  # of the plain recipe, to see how many steps the time allows
AIRBENCH = 2.59  # seconds, A100
FOLDER = os.environ.get("KASOKU_CIFAR10", "datasets/cifar10")


def main() -> None:
    """Print the accuracies, and on a GPU the seconds."""
    print(f"{'recipe':<28} seed   steps   test accuracy   seconds of training")
    gains = [gain(seed) for seed in SEEDS]
    median, low, high = summary(gains)
    print(f"experiment=cifar10_cpu is {100 * median:+.1f} points better in the same time ({low:+.3f} to {high:+.3f})")
    if torch.cuda.is_available():
        speedrun()
    else:
        print("experiment=cifar10_speedrun was not measured: there is no GPU here")


def gain(seed: int) -> float:
    """By how much our test accuracy is above that of the better plain recipe."""
    ours, seconds, _ = command("cifar10_cpu", seed)
    return ours - max(plain(name, seed, seconds) for name in PLAIN)


def plain(name: str, seed: int, seconds: float) -> float:
    """Test accuracy of a plain recipe after `seconds` of training."""
    _, trial, _ = command(name, seed, *PLAIN[name], f"trainer.max_steps={TRIAL_STEPS}", show=False)
    steps = int(TRIAL_STEPS * seconds / trial)
    return command(name, seed, *PLAIN[name], f"trainer.max_steps={steps}", "trainer.max_epochs=-1")[0]


def command(name: str, seed: int, *overrides: str, show: bool = True) -> tuple[float, float, int]:
    """Test accuracy, seconds of training and steps of `python train.py experiment=cifar10_cpu`, as a user runs it."""
    with tempfile.TemporaryDirectory() as directory:
        given = ["experiment=cifar10_cpu", "logger=none", f"data.root={Path(FOLDER).absolute()}", f"seed={seed}"]
        call = [sys.executable, "train.py", *given, f"hydra.run.dir={directory}/run", *overrides]
        subprocess.run(call, cwd=ROOT, check=True, capture_output=True)
        result = json.loads(Path(directory, "run", "result.json").read_text())
    accuracy, seconds, steps = result["metrics"]["test/acc"], result["train_seconds"], result["steps"]
    if show:
        print(f"{name:<28} {seed:>4} {steps:>7} {accuracy:>15.4f} {seconds:>21.1f}", flush=True)
    return accuracy, seconds, steps


def speedrun() -> None:
    """Seconds to 94% on the GPU, five seeds."""
    quieten()
    logging.getLogger("kasoku").setLevel(logging.WARNING)
    on_gpu(0, "trainer.max_epochs=1")
    runs = [on_gpu(seed) for seed in range(5)]
    seconds, accuracies = summary([spent for _, spent in runs]), summary([accuracy for accuracy, _ in runs])
    print(f"{seconds.median:.2f} s ({seconds.low:.2f} to {seconds.high:.2f}) for {accuracies.median:.4f}; ", end="")
    print(
        f"cifar10-airbench {AIRBENCH} s on an A100: {seconds.median / AIRBENCH:.2f} x; {torch.cuda.get_device_name(0)}"
    )


def on_gpu(seed: int, *overrides: str) -> tuple[float, float]:
    """Test accuracy of the speedrun, and the seconds spent on optimizer steps."""
    spent = Spent()
    built = Built("trainer=gpu", "experiment=cifar10_speedrun", f"data.root={FOLDER}", f"seed={seed}", *overrides)
    with tempfile.TemporaryDirectory() as directory:
        result = built.fit(Path(directory), [spent], "trainer.num_sanity_val_steps=0").result
    return result.metrics["test/acc"], spent.wall


if __name__ == "__main__":
    main()
