"""Two processes train as one with the same global batch: data parallel by the command, fully sharded by torchrun."""

import csv
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, command, run_here

pytestmark = pytest.mark.xdist_group("ranks")  # one worker makes the runs

RUN = ("model=mlp", "optimizer=muon", "logger=none", "trainer.max_epochs=1", "trainer.log_every_n_steps=1")
TWO = ("trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=32")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with the same training three times: one, ddp, fsdp."""
    folder = tmp_path_factory.mktemp("ranks")
    with ThreadPoolExecutor() as pool:
        ddp = pool.submit(command, *RUN, *TWO, "trainer=ddp", f"hydra.run.dir={folder}/ddp", cwd=folder)
        fsdp = pool.submit(torchrun, *RUN, *TWO, "trainer=fsdp", f"hydra.run.dir={folder}/fsdp", cwd=folder)
        assert run_here(folder / "one", *RUN, "trainer=cpu", "data.batch_size=64") == 0
        for process in (ddp.result(), fsdp.result()):
            assert process.returncode == 0, process.stderr
    return folder


def torchrun(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Two processes that something else than train.py starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    return subprocess.run(
        [*launcher, str(ROOT / "train.py"), *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )


def column(directory: Path, name: str) -> list[float]:
    with (directory / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.sample(2)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_curve_is_that_of_one_process(runs: Path, strategy: str):
    for name in ("lr", "train/loss", "val/loss", "val/acc", "test/loss"):
        expected = column(runs / "one", name)
        assert len(expected) >= (19 if name in ("lr", "train/loss") else 1)
        assert column(runs / strategy, name) == pytest.approx(expected, abs=1e-5)


@pytest.mark.sample(2)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_result_and_samples_are_those_of_the_whole_run(runs: Path, strategy: str):
    one, two = (json.loads((runs / name / "result.json").read_text()) for name in ("one", strategy))
    for key in ("status", "steps", "epochs", "samples", "parameters"):
        assert two[key] == one[key]
    assert two["best"]["value"] == pytest.approx(one["best"]["value"], abs=1e-5)


@pytest.mark.proof
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_checkpoints_hold_whole_tensors_of_the_same_names(runs: Path, strategy: str):
    one, two = (torch.load(runs / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("one", strategy))
    assert list(two["state_dict"]) == list(one["state_dict"])
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, atol=1e-5, rtol=1e-4)
    for mine, other in zip(states(one), states(two), strict=True):
        torch.testing.assert_close(other, mine, atol=1e-5, rtol=1e-4)


def states(checkpoint: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    """The optimizer's state of each parameter, in the order of the groups, whatever number it is kept under."""
    optimizer = checkpoint["optimizer_states"][0]
    return [optimizer["state"][number] for group in optimizer["param_groups"] for number in group["params"]]


@pytest.mark.proof
def test_sharded_weights_are_read_by_one_process(runs: Path, tmp_path: Path):
    weights = runs / "fsdp" / "checkpoints" / "best.ckpt"
    test = ("mode=test", "trainer=cpu", "logger=none", "model=mlp")
    assert run_here(tmp_path / "test", *test, f"checkpoint={weights}") == 0
    metrics = json.loads((tmp_path / "test" / "result.json").read_text())["metrics"]
    assert metrics["test/loss"] == pytest.approx(column(runs / "one", "test/loss")[-1], abs=1e-5)


@pytest.mark.proof
def test_batch_norm_in_two_processes_of_the_cpu(tmp_path: Path):
    settings = ("trainer=ddp", *TWO, "model=resnet", "model.net.width=4", "logger=none", "trainer.max_steps=2")
    ended = command(*settings, "trainer.limit_val_batches=1", f"hydra.run.dir={tmp_path}/run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 2
