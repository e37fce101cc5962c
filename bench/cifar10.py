"""CIFAR-10 in a fixed time.

On the CPU: the test accuracy of experiment=cifar10_cpu after two minutes of training, beside torch's plain recipe
(momentum SGD, two steps of decay, no warmup, no label smoothing, one view of a test image) with the same net, data and
processes in the same time; once in float32 with torch's memory layout, once with our precision and layout. A short
trial of each tells how many steps two minutes have on this machine. On a GPU besides: experiment=cifar10_speedrun,
seconds of optimizer steps to 94% after one run that warms the device up; the anchor is cifar10-airbench's 2.59 s on an
A100.

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
RECIPES = {
    "cifar10_cpu": (),
    "momentum SGD, float32": (*SGD, "trainer.precision=32-true", "trainer.channels_last=false"),
    "momentum SGD, as ours": SGD,
}
SECONDS = 120.0
TRIAL_STEPS = 200
AIRBENCH = 2.59  # seconds, A100
FOLDER = os.environ.get("KASOKU_CIFAR10", "datasets/cifar10")


def main() -> None:
    """Print the accuracies, and on a GPU the seconds."""
    steps = {name: steps_within(SECONDS, name) for name in RECIPES}
    print(f"{'recipe':<24} seed   steps   test accuracy   seconds of training")
    gains = [gain(seed, steps) for seed in SEEDS]
    points = " and ".join(f"{100 * gained:.1f}" for gained in gains)
    print(f"cifar10_cpu is {points} points better than the better plain recipe")
    if torch.cuda.is_available():
        speedrun()
    else:
        print("experiment=cifar10_speedrun was not measured: there is no GPU here")


def steps_within(seconds: float, name: str) -> int:
    """Optimizer steps of a recipe that `seconds` are enough for, by a trial."""
    steps = int(seconds / command(name, 0, TRIAL_STEPS)[1] * TRIAL_STEPS)
    print(f"trial of {name}: {steps} steps in {seconds:.0f} s", flush=True)
    return steps


def gain(seed: int, steps: dict[str, int]) -> float:
    """By how much our test accuracy is above that of the better plain recipe."""
    accuracies = []
    for name in RECIPES:
        accuracy, seconds = command(name, seed, steps[name])
        print(f"{name:<24} {seed:>4} {steps[name]:>7} {accuracy:>15.4f} {seconds:>21.1f}", flush=True)
        accuracies.append(accuracy)
    return accuracies[0] - max(accuracies[1:])


def command(name: str, seed: int, steps: int) -> tuple[float, float]:
    """Test accuracy and seconds of training of `python train.py experiment=cifar10_cpu`, as a user runs it."""
    with tempfile.TemporaryDirectory() as directory:
        given = ["experiment=cifar10_cpu", "logger=none", f"data.root={Path(FOLDER).absolute()}", f"seed={seed}"]
        given += [*RECIPES[name], f"trainer.max_steps={steps}", "trainer.max_epochs=-1"]
        call = [sys.executable, "train.py", *given, f"hydra.run.dir={directory}/run"]
        subprocess.run(call, cwd=ROOT, check=True, capture_output=True)
        result = json.loads(Path(directory, "run", "result.json").read_text())
    return result["metrics"]["test/acc"], result["train_seconds"]


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
