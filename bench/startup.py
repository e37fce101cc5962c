"""From the command to its answer, and to the first optimizer step.

The baseline of a training is `python -c "import torch, pytorch_lightning"`, that of `import kasoku.recipe` is `import
torch`, each in turn with it. CPU seconds are compared, because the wall clock of a busy machine says little.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.timing import ratio, summary

TRAIN = Path(__file__).parents[1] / "train.py"
IMPORTS = ("-c", "import torch, pytorch_lightning")
STEP = ("trainer=cpu", "+callbacks.first._target_=bench.firststep.FirstStep", "trainer.num_sanity_val_steps=0")
ANSWERS = {
    "--help": ("--help",),
    "--cfg job": ("--cfg", "job"),
    "a wrong option": ("optimizer=adamx",),
    "a wrong key": ("optimizer.rate=1",),
    "a wrong mode": ("mode=trian",),
}
TRAININGS = {"first step, logger=none": ("logger=none",), "first step, W&B offline": ("logger=wandb",)}
ROUNDS = 5


def main() -> None:
    """Print both tables."""
    print(f"{'answer':<26} CPU s   wall s (medians of {ROUNDS}); target 1 s")
    for name, arguments in ANSWERS.items():
        times = [run(str(TRAIN), *arguments) for _ in range(ROUNDS)]
        print(f"{name:<26} {median(times, 0):>5.2f}   {median(times, 1):>6.2f}", flush=True)
    compare({"import torch": ("-c", "import torch"), "import kasoku.recipe": ("-c", "import kasoku.recipe")}, 1.1)
    trainings = {name: (str(TRAIN), *STEP, *given) for name, given in TRAININGS.items()}
    compare({"the two imports": IMPORTS, **trainings}, 1.2)


def compare(rivals: dict[str, tuple[str, ...]], target: float) -> None:
    """Print the times of `rivals`, run in turn, as multiples of the first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    for _ in range(ROUNDS):
        for name, arguments in rivals.items():
            times[name].append(run(*arguments))
    first = next(iter(rivals))
    print(f"\n{'rival':<26} CPU s   wall s   x {first}, CPU (quartiles); target {target} x")
    for name, values in times.items():
        relative = ratio([cpu for cpu, _ in values], [cpu for cpu, _ in times[first]])
        spread = f"{relative.median:.2f} ({relative.low:.2f} to {relative.high:.2f})"
        print(f"{name:<26} {median(values, 0):>5.2f}   {median(values, 1):>6.2f}   {spread}", flush=True)


def run(*arguments: str) -> tuple[float, float]:
    """CPU and wall seconds of `python *arguments`, with all its children, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"KASOKU_TRUST": "bench", "PYTHONPATH": str(TRAIN.parent), "WANDB_MODE": "offline"}
        before, start = children(), time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, stdin=subprocess.DEVNULL
        )
        return children() - before, time.perf_counter() - start


def children() -> float:
    """CPU seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(times: list[tuple[float, float]], which: int) -> float:
    """Of the CPU (0) or wall (1) seconds."""
    return summary([pair[which] for pair in times]).median


if __name__ == "__main__":
    main()
