"""CONTRIBUTING.md is true: what it says to write is enough, and each addition runs in a copy of the tree."""

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, read_result

FOLDERS, FILES = ("src", "conf", "tests"), ("train.py", "pyproject.toml")
TESTS = (
    *("tests/test_options.py", "tests/test_schedules.py", "tests/test_schedule_shapes.py", "tests/test_warmups.py"),
    *("tests/config/test_checks.py", "tests/optim/test_options.py"),
    *("tests/search/test_own_ranges.py", "tests/search/test_space.py"),
)
STEPS = ("trainer.max_steps=10", "warmup.length=4")


@dataclass(frozen=True)
class Addition:
    """A row of the table in CONTRIBUTING.md followed: `files` to write, and what to add to those that are there."""

    what: str
    option: str
    files: dict[str, str]
    below: dict[str, str]

    @property
    def group(self) -> str:
        return self.option.partition("=")[0]

    @property
    def name(self) -> str:
        return self.option.partition("=")[2]

    def write(self, tree: Path) -> None:
        for path, text in self.files.items():
            with (tree / path).open("x") as file:
                file.write(text)
        for path, text in self.below.items():
            there = (tree / path).read_text()
            line = "TABLE = [\n" if "TABLE = [\n" in there else there
            (tree / path).write_text(there.replace(line, line + text, 1))


SCHEDULE = Addition(
    "a schedule",
    "scheduler=half_life",
    {
        "conf/scheduler/half_life.yaml": """# Half of the lr is left after each interval, smoothly.
_target_: kasoku.schedules.half_life
_partial_: true
half: 30%  # a length, 1 step or more; until half is left
"""
    },
    {
        "src/kasoku/schedules.py": '''

def half_life(step: int, total: int | None, /, *, half: Steps) -> float:
    """What is left of a decaying substance: 2^(-step / half).

    >>> [half_life(s, None, half=10) for s in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    return math.pow(2, -step / half)
''',
        "tests/test_schedules.py": '    ("half_life", {"half": 10}, 30, None, 0.125),\n',
    },
)
WARMUP = Addition(
    "a warmup",
    "warmup=power",
    {
        "conf/warmup/power.yaml": """# A power of a straight line to the base lr.
_target_: kasoku.warmups.power
_partial_: true
length: 5%     # 500 (steps), 3ep, 10% (of the run), 50000samples or 1e6tokens; below the run's length
exponent: 2.0  # > 0
"""
    },
    {
        "src/kasoku/warmups.py": '''

def power(step: int, /, length: Length, *, exponent: Annotated[float, Interval(gt=0)] = 2.0) -> float:
    """A power of a straight line: ((step + 1) / (length + 1))^exponent.

    >>> power(0, 1)
    0.25
    """
    return ((step + 1) / (length + 1)) ** exponent
'''
    },
)
OPTIMIZER = Addition(
    "an optimizer",
    "optimizer=adabelief",
    {
        "conf/optimizer/adabelief.yaml": """# AdaBelief: Adam over the gradient's distance from its mean. Zhuang 2020
defaults:
  - /_optimizer@_here_
  - _self_

_target_: pytorch_optimizer.AdaBelief
_partial_: true
lr: 0.003            # > 0; 1e-4 to 1e-2
betas: [0.9, 0.999]  # [0, 1) each; memory of the mean and of the distance's square
eps: 1.0e-12         # > 0
weight_decay: 0.01   # >= 0; decoupled, weight x (1 - lr weight_decay)
search:
  lr: tag(log,interval(1e-4,3e-2))
  weight_decay: tag(log,interval(1e-4,0.3))
"""
    },
    {},
)
NET = Addition(
    "a net",
    "model=softmax",
    {
        "src/kasoku/nets/softmax.py": '''"""Softmax regression."""

import math
from collections.abc import Sequence

from torch import Tensor, nn


class Softmax(nn.Module):
    """[B, *input_shape] -> logits [B, num_classes], linear."""

    def __init__(self, *, input_shape: Sequence[int], num_classes: int):
        super().__init__()
        self.head = nn.Linear(math.prod(input_shape), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))
''',
        "conf/model/softmax.yaml": """# Softmax regression.
net:
  _target_: kasoku.nets.softmax.Softmax
  input_shape: null  # filled from the data
  num_classes: null  # filled from the data
loss:
  _target_: torch.nn.CrossEntropyLoss
metrics:
  acc:
    _target_: torchmetrics.classification.MulticlassAccuracy
    num_classes: null
    average: micro
""",
    },
    {},
)
DATA = Addition(
    "data",
    "data=blobs",
    {
        "src/kasoku/data/blobs.py": '''"""Points around a few centres."""

import torch

from kasoku.data.memory import Count, InMemory, Rows, Seed


class Blobs(InMemory):
    """x float32 [B, 2], y int64 [B]: which of three centres on a line the point is near."""

    input_shape = (2,)
    num_classes = 3

    def __init__(self, *, batch_size: Count = 32, eval_batch_size: Count = 512, size: Count = 320, seed: Seed = 0):
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, drop_last=True, seed=seed)
        self.size = size

    def load(self) -> tuple[Rows, Rows, Rows]:
        """Three sets of `size` points, drawn by the seed."""
        return tuple(self._points(self.seed + part) for part in range(3))

    def _points(self, seed: int) -> Rows:
        chance = torch.Generator().manual_seed(seed)
        y = torch.randint(3, (self.size,), generator=chance)
        return Rows(0.1 * torch.randn(self.size, 2, generator=chance) + y[:, None].float(), y)
''',
        "conf/data/blobs.yaml": """# Points around three centres, drawn by the seed.
_target_: kasoku.data.blobs.Blobs
batch_size: 32        # samples per step and device, >= 1
eval_batch_size: 512  # samples per validation or test batch at most, >= 1
size: 320             # samples of each set, >= 1
seed: ${seed}         # of the points and of the order, 0 .. 2**32 - 1
""",
    },
    {},
)
ADDITIONS = (SCHEDULE, WARMUP, OPTIMIZER, NET, DATA)


def copied(folder: Path, *additions: Addition) -> Path:
    """A copy of the tree in `folder` with `additions`."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for addition in additions:
        addition.write(folder)
    return folder


def python(tree: Path, *arguments: str) -> str:
    """What `python *arguments` says in the copy `tree`, of which alone it imports; it must end well."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree)])
    words, quiet = [sys.executable, *arguments], subprocess.DEVNULL
    done = subprocess.run(words, cwd=tree, env=env, capture_output=True, text=True, stdin=quiet, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lrs(tree: Path, *overrides: str) -> list[float]:
    """The lr of each step that mode=preview draws, with 1 as the optimizer's."""
    lines = ("optimizer=sgd", "optimizer.lr=1", *overrides)
    python(tree, "train.py", "mode=preview", *SMALL, *STEPS, *lines, "hydra.run.dir=run")
    with (tree / "run" / "schedule.csv").open() as file:
        return [float(row["lr"]) for row in csv.DictReader(file)]


def row_of(addition: Addition) -> str:
    """The row of the table that says how it is added."""
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"| {addition.what} |"))


def function_of(addition: Addition) -> ast.FunctionDef:
    """The function that it adds, without annotations."""
    source = next(text for path, text in addition.below.items() if path.startswith("src/"))
    [function] = ast.parse(source).body
    for node in ast.walk(function):
        node.annotation = None
    return function


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: addition.what)
def test_its_row_names_the_files_that_are_written(addition):
    named = re.findall(r"`((?:src|conf|tests)/[^`]+)`", row_of(addition))
    places = {Path(path.replace("NAME", addition.name)) for path in named}
    written = {Path(path) for path in (*addition.files, *addition.below)}
    assert {path if path in places else path.parent for path in written} == places


@pytest.mark.parametrize("addition", [SCHEDULE, WARMUP], ids=lambda addition: addition.what)
def test_its_row_shows_the_signature_that_is_written(addition):
    shown = re.findall(r"`factor\((.*) shape\.\.\.\)`", row_of(addition))
    assert [ast.unparse(function_of(addition).args).rpartition(" ")[0]] == shown


@pytest.mark.proof
def test_a_schedule_is_drawn(tmp_path):
    tree = copied(tmp_path, SCHEDULE)
    drawn = lrs(tree, SCHEDULE.option, "scheduler.half=5", "warmup.length=0")
    assert drawn == pytest.approx([2 ** (-s / 5) for s in range(10)])


@pytest.mark.proof
def test_a_warmup_is_drawn(tmp_path):
    tree = copied(tmp_path, WARMUP)
    drawn = lrs(tree, WARMUP.option, "scheduler=constant", "warmup.exponent=3")
    assert drawn == pytest.approx([((s + 1) / 5) ** 3 for s in range(4)] + [1.0] * 6)


@pytest.mark.sample(3)
@pytest.mark.parametrize("addition", [OPTIMIZER, NET, DATA], ids=lambda addition: addition.what)
def test_it_trains(addition, tmp_path):
    tree = copied(tmp_path, addition)
    others = [line for line in SMALL if line.split("=")[0] != addition.group]
    python(tree, "train.py", *others, *STEPS, addition.option, "hydra.run.dir=run")
    assert read_result(tree / "run")["steps"] == 10


@pytest.mark.proof
def test_the_suite_takes_them_without_another_line(tmp_path):
    tree = copied(tmp_path, *ADDITIONS)
    python(tree, "-m", "tests.test_options")
    before, after = (json.loads((root / "tests" / "golden.json").read_text()) for root in (ROOT, tree))
    for addition in ADDITIONS:
        assert after[addition.group].pop(addition.name)
    assert after == before
    ours = " or ".join([*(addition.name for addition in ADDITIONS), "covers", "exists", "in_order"])
    said = python(tree, "-m", "pytest", "-n", "0", "-m", "", "-p", "no:cacheprovider", "-rA", "-k", ours, *TESTS)
    passed = set(re.findall(r"^PASSED (\S+)$", said, re.MULTILINE))
    assert {f"tests/test_options.py::test_the_option_trains[{addition.option}]" for addition in ADDITIONS} <= passed
    assert f"tests/optim/test_options.py::test_trains_the_default_task[{OPTIMIZER.name}]" in passed
    assert (
        f"tests/search/test_own_ranges.py::test_the_lr_of_every_optimizer_lies_in_its_range[{OPTIMIZER.name}]" in passed
    )
