"""CIFAR-10 in a fixed time.

On the CPU: the test accuracy of experiment=cifar10_cpu, and that of torch's plain recipe (momentum SGD, three steps of
decay, no warmup, float32) with the same net and data in the same training time. On a GPU besides:
experiment=cifar10_speedrun, seconds of optimizer steps to 94% after one run that warms the device up; the anchor is
cifar10-airbench's 2.59 s on an A100.

KASOKU_CIFAR10 names the folder of the official batches; they are downloaded where it is not set.
"""

import logging
import os
import tempfile
from pathlib import Path

import torch

from bench.runs import Built, quieten
from bench.spent import Spent
from bench.timing import summary

SEEDS = (0, 1)
PLAIN = (
    "optimizer=momentum",
    "optimizer.lr=1.0",  # 0.05 0.2 0.8 and 2 gave .41 .52 .609 and .610 after 300 steps
    "scheduler=step",
    "scheduler.every=33%",
    "warmup=none",
    "model.loss.label_smoothing=0",
    "model.net.views=1",
    "trainer.precision=32-true",
    "trainer.channels_last=false",
)
TRIAL_STEPS = 60  # of the plain recipe, to see how many steps the time allows
AIRBENCH = 2.59  # seconds, A100


def main() -> None:
    """Print the accuracies, and on a GPU the seconds."""
    quieten()
    logging.getLogger("kasoku").setLevel(logging.WARNING)
    print(f"{'recipe':<28} seed   steps   test accuracy   CPU s   wall s")
    gains = [gain(seed) for seed in SEEDS]
    median, low, high = summary(gains)
    print(f"experiment=cifar10_cpu is {100 * median:+.1f} points better in the same time ({low:+.3f} to {high:+.3f})")
    if torch.cuda.is_available():
        speedrun()
    else:
        print("experiment=cifar10_speedrun was not measured: there is no GPU here")


def gain(seed: int) -> float:
    """By how much our test accuracy is above that of the plain recipe."""
    ours, spent = train("cifar10_cpu", seed)
    _, trial = train("cifar10_cpu", seed, *PLAIN, f"trainer.max_steps={TRIAL_STEPS}", show=False)
    steps = int(TRIAL_STEPS * spent.cpu / trial.cpu)
    plain, _ = train("cifar10_cpu", seed, *PLAIN, f"trainer.max_steps={steps}", "trainer.max_epochs=-1")
    return ours - plain


def speedrun() -> None:
    """Seconds to 94% on the GPU, five seeds."""
    train("cifar10_speedrun", 0, "trainer.max_epochs=1", show=False)
    runs = [train("cifar10_speedrun", seed) for seed in range(5)]
    seconds, accuracies = summary([spent.wall for _, spent in runs]), summary([accuracy for accuracy, _ in runs])
    print(f"{seconds.median:.2f} s ({seconds.low:.2f} to {seconds.high:.2f}) for {accuracies.median:.4f}; ", end="")
    print(
        f"cifar10-airbench {AIRBENCH} s on an A100: {seconds.median / AIRBENCH:.2f} x; {torch.cuda.get_device_name(0)}"
    )


def train(experiment: str, seed: int, *overrides: str, show: bool = True) -> tuple[float, Spent]:
    """Test accuracy, and the time spent on optimizer steps."""
    spent, on = Spent(), () if experiment == "cifar10_cpu" else ("trainer=gpu",)
    folder = os.environ.get("KASOKU_CIFAR10", "datasets/cifar10")
    built = Built(*on, f"experiment={experiment}", f"data.root={folder}", f"seed={seed}", *overrides)
    with tempfile.TemporaryDirectory() as directory:
        result = built.fit(Path(directory), [spent], "trainer.num_sanity_val_steps=0").result
    accuracy = result.metrics["test/acc"]
    if show:
        name = "momentum SGD, step decay" if PLAIN[0] in overrides else experiment
        print(
            f"{name:<28} {seed:>4} {result.steps:>7} {accuracy:>15.4f} {spent.cpu:>7.1f} {spent.wall:>8.1f}", flush=True
        )
    return accuracy, spent


if __name__ == "__main__":
    main()
