"""The net has the shape it says; the command trains it."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from PACKAGE.data import Arms
from PACKAGE.net import Net


def test_the_net_gives_a_number_for_each_class():
    assert Net(num_classes=3)(torch.zeros(5, 2)).shape == (5, 3)


def test_both_arms_have_as_many_points():
    assert Arms(size=100).arm.bincount().tolist() == [50, 50]


def test_the_command_trains(tmp_path):
    words = ["trainer.max_epochs=2", f"hydra.run.dir={tmp_path}"]
    subprocess.run([sys.executable, "-m", "kasoku", *words], cwd=Path(__file__).parents[1], check=True)
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "completed"
