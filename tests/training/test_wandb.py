"""W&B, offline, read back from its files with wandb's own inspector."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kasoku import results
from kasoku.training import wandb_server
from tests.conftest import ROOT, command, run_here
from tests.training.test_run import lr_by_step

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
    assert run_here(directory, *SMALL, "logger=wandb", "optimizer=nesterov", "target.value=0.5") == 0
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
    assert float(lines["best/val/acc"]) == pytest.approx(results.read(finished).best.value)
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
    assert wandb_server.decided("auto") == "offline"
    assert wandb_server.decided("disabled") == "disabled"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_server.decided("auto") == "disabled"


def test_a_server_that_is_not_there_is_not_waited_for(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    assert wandb_server.decided("auto") == "offline"
    assert wandb_server.PATIENCE <= 1


def test_a_key_in_netrc_counts(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example.org")
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_server.key() is not None


def of_type(directory: Path, kind: str) -> list[dict]:
    return [record[kind] for record in inspect(directory) if record["type"] == kind]


def listed(row: str) -> set[str]:
    """The names in the `row` of what docs/how-to/wandb.md says W&B holds after a race."""
    text = (ROOT / "docs" / "how-to" / "wandb.md").read_text()
    (cell,) = re.findall(rf"(?m)^\| {row} \| (.+) \|$", text)
    return set(re.findall(r"`([^`]+)`", cell))


def test_w_and_b_holds_of_a_run_what_the_page_lists(finished):
    rows = [entry["item"] for entry in of_type(finished, "history")]
    known = {name.partition("._type")[0] for row in rows for name in row}
    driven = {"lr/GROUP", "momentum"}  # of other optimizers than this one
    assert listed("its rows") - driven <= known
    assert listed("its pictures") <= known
    told = {line.split()[0] for line in summary(finished).splitlines() if line.startswith("  ") and line.split()}
    assert {name.replace("METRIC", "val/acc").replace("MODE", "max") for name in listed("its summary")} <= told


def test_each_row_has_samples_and_seconds_for_an_axis(finished):
    rows = [entry["item"] for entry in of_type(finished, "history") if "train/loss" in entry["item"]]
    losses = [row for row in rows if "lr" in row]
    assert [row["samples"] for row in losses] == [64 * (i + 1) for i in range(57)]
    seconds = [row["train_seconds"] for row in losses]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    evaluated = [entry["item"] for entry in of_type(finished, "history") if "val/acc" in entry["item"]]
    assert [row["samples"] for row in evaluated] == [64 * 19 * (i + 1) for i in range(3)]


def test_the_targets_metric_is_kept_at_its_best_by_its_own_direction(finished):
    defined = {entry.get("name"): entry for entry in of_type(finished, "metric")}
    assert defined["val/acc"]["summary"] == {"max": True}
    assert defined["val/acc"]["step_metric"] == "trainer/global_step"


def test_the_parameter_groups_are_a_table_from_the_start(finished):
    table = next(finished.glob("wandb/offline-run-*/files/media/html/parameter_groups*.html")).read_text()
    assert "<th>name<th>tensors<th>parameters<th>lr<th>weight_decay" in table
    assert re.findall(r"<tr><td>(\w+)", table) == ["decay", "no_decay"]


def test_the_schedule_is_a_picture_from_the_start(finished):
    text = next(finished.glob("wandb/offline-run-*/files/media/html/schedule*.html")).read_text()
    (line,) = re.findall(r'<polyline points="([^"]+)"', text)
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    lrs = lr_by_step(finished)
    highest = max(lrs.values())
    assert [points[0][0], points[-1][0]] == [0.0, 639.0]
    for step, (_, y) in enumerate(points[: len(lrs)]):
        assert 110 - 80 * lrs[step] / highest == pytest.approx(y, abs=0.06)


@pytest.mark.proof
def test_tags_and_the_best_checkpoint_where_they_are_asked_for(tmp_path):
    lines = ("logger=wandb", "tags=[baseline,new data]", "logger.wandb.log_model=true")
    assert run_here(tmp_path / "run", *SMALL, *lines) == 0
    (run,) = of_type(tmp_path / "run", "run")
    assert run["tags"] == ["baseline", "new data"]
    (model,) = [one for one in of_type(tmp_path / "run", "artifact") if one["type"] == "model"]
    assert [file["path"] for file in model["manifest"]["contents"]] == ["best.ckpt"]


def test_tags_that_w_and_b_would_refuse_are_refused_before_the_run(tmp_path):
    done = command(*SMALL, "logger=wandb", f"tags=[{'x' * 65}]", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("tags")) == (2, 1), done.stderr
    assert command(*SMALL, "logger=none", "tags=[1]", cwd=tmp_path).returncode == 2
