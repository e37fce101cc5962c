"""W&B, offline, read back from its files with wandb's own inspector."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kasoku import results
from kasoku.training import wandb_run
from tests.conftest import command, run_here

SMALL = ("model=mlp", "trainer=cpu", "trainer.max_epochs=3", "trainer.log_every_n_steps=1")


def inspect(directory: Path) -> list[dict]:
    """The records that `wandb leet inspect` finds in the files of a run's directory."""
    tool = str(Path(sys.executable).with_name("wandb"))
    records = []
    for file in sorted(directory.glob("wandb/offline-run-*/*.wandb")):
        done = subprocess.run(
            [tool, "leet", "inspect", "--json", str(file)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        records += [json.loads(line) for line in done.stdout.splitlines()]
    return records


def summary(directory: Path) -> str:
    tool = str(Path(sys.executable).with_name("wandb"))
    file = next(directory.glob("wandb/offline-run-*/*.wandb"))
    return subprocess.run(
        [tool, "leet", "inspect", "--summary", str(file)], capture_output=True, text=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wandb") / "run"
    os.environ["WANDB_MODE"] = "offline"
    assert run_here(directory, *SMALL, "logger=wandb", "optimizer=nesterov") == 0
    return directory


def test_the_run_is_finished_with_its_id_in_the_directory(finished):
    run = next(record["run"] for record in inspect(finished) if record["type"] == "run")
    assert run["run_id"] == (finished / "wandb" / "run_id").read_text().strip()
    assert "finished (exit code 0)" in summary(finished)


def test_the_configuration_is_nested_and_plain(finished):
    run = next(record["run"] for record in inspect(finished) if record["type"] == "run")
    config = run["config"]["update"]
    assert config["optimizer"]["lr"] == 0.05
    assert config["optimizer"]["nesterov"] is True
    assert config["trainer"]["max_epochs"] == 3


def test_every_step_and_the_best_of_each_metric_are_there(finished):
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["val/loss"]) for row in rows if row["val/loss"]]
    lines = dict(
        line.split(None, 1)
        for line in summary(finished).splitlines()
        if line.startswith("  ") and len(line.split()) > 1
    )
    assert float(lines["best/val/loss"]) == pytest.approx(min(losses))
    assert float(lines["best/val/acc"]) == pytest.approx(results.read(finished)["best"]["value"])
    assert lines["trainer/global_step"].strip() == "57"


def test_a_refused_run_leaves_no_wandb_run(tmp_path):
    done = command(*SMALL, "logger=wandb", "target.metric=val/nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_resumed_run_goes_on_in_the_same_wandb_run(tmp_path):
    first = command(*SMALL, "logger=wandb", "hydra.run.dir=run", cwd=tmp_path, env={"WANDB_MODE": "offline"})
    assert first.returncode == 0, first.stderr
    again = command("resume=run", "trainer.max_epochs=4", cwd=tmp_path, env={"WANDB_MODE": "offline"})
    assert again.returncode == 0, again.stderr
    runs = [record["run"] for record in inspect(tmp_path / "run") if record["type"] == "run"]
    assert len(runs) == 2
    assert len({run["run_id"] for run in runs}) == 1


def test_without_a_key_it_is_offline_and_a_mode_chosen_stands(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert wandb_run._mode("auto") == "offline"
    assert wandb_run._mode("disabled") == "disabled"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_run._mode("auto") == "disabled"


def test_with_a_key_the_server_decides_within_a_second(monkeypatch):
    """A listening socket stands for the server; a closed port for a network that is not there."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        assert wandb_run._mode("auto") == "online"
    assert wandb_run._mode("auto") == "offline"
    assert wandb_run.PATIENCE <= 1


def test_a_key_in_netrc_counts(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example.org")
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_run._has_key()
