"""A run's directory, result and metrics, whatever the run's end."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from kasoku import results, schedules
from kasoku.faults import ConfigError
from kasoku.results import Best, Target
from tests.conftest import ROOT, composed

KEYS = {
    "status", "target", "metrics", "best", "steps", "epochs", "samples", "train_seconds", "total_seconds",
    "time_to_target", "spent", "seed", "overrides", "versions", "parameters",
}  # fmt: skip


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def lr_by_step(directory: Path) -> dict[int, float]:
    return {int(row["step"]): float(row["lr"]) for row in rows(directory) if row["lr"]}


def test_a_completed_run_leaves_everything(run):
    directory = run("trainer.max_epochs=3")
    result = results.read(directory)
    assert set(json.loads((directory / "result.json").read_text())) == KEYS
    assert result.target == Target("val/acc", None, "max", False)
    assert result.status == "completed"
    assert (result.steps, result.epochs, result.samples) == (57, 3.0, 57 * 64)
    assert 0 < result.train_seconds < result.total_seconds
    assert result.metrics["test/acc"] > 0.5
    assert {path.name for path in directory.iterdir()} == {"config.yaml", "metrics.csv", "result.json", "checkpoints"}
    assert {path.name for path in (directory / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "last.previous.ckpt",
    }


def test_best_is_the_greatest_validation_value_and_its_step(run):
    directory = run("trainer.max_epochs=4")
    best = results.read(directory).best
    values = {int(row["step"]) + 1: float(row["val/acc"]) for row in rows(directory) if row["val/acc"]}
    assert best == Best("val/acc", max(values.values()), max(values, key=lambda s: (values[s], -s)))


def test_the_lr_column_is_the_closed_form_at_each_step(run):
    directory = run("trainer.max_steps=60", "scheduler=cosine", "warmup.length=10%", "trainer.log_every_n_steps=1")
    base = composed(*()).optimizer.lr
    expected = {s: base * ((s + 1) / 7 if s < 6 else schedules.cosine(s - 6, 54)) for s in range(60)}
    assert lr_by_step(directory) == pytest.approx(expected, abs=1e-12)


def test_the_schedule_advances_once_per_optimizer_step_with_accumulation(run):
    directory = run(
        "trainer.max_epochs=4", "trainer.accumulate_grad_batches=4", "trainer.log_every_n_steps=1", "warmup=none"
    )
    total = 4 * 5  # 19 batches an epoch, the last window is short
    base = composed().optimizer.lr
    assert lr_by_step(directory) == pytest.approx({s: base * (1 - s / total) for s in range(total)}, abs=1e-12)
    assert results.read(directory).samples == 4 * 19 * 64


def test_the_target_is_timed_and_can_end_the_run(run):
    directory = run("trainer.max_epochs=30", "target.value=0.5", "target.stop=true")
    result = results.read(directory)
    reached = result.time_to_target
    assert result.status == "reached_target"
    assert reached.steps < result.steps < 30 * 19
    assert reached.samples == pytest.approx(reached.steps * 64, abs=1)
    assert 0 < reached.seconds <= result.train_seconds


def test_a_target_not_reached_is_null(run):
    assert results.read(run("trainer.max_epochs=1", "target.value=2")).time_to_target is None


def test_divergence_ends_the_run_with_code_3_and_no_nan_checkpoint(run, caplog):
    directory = run("optimizer=sgd", "optimizer.lr=1e30", "warmup=none", "trainer.max_epochs=3", expect=3)
    result = results.read(directory)
    assert result.status == "diverged"
    assert "step 1 with lr" in caplog.text
    assert not list((directory / "checkpoints").glob("*")) if (directory / "checkpoints").exists() else True


def test_checkpoints_hold_plain_types_only(run):
    directory = run("trainer.max_epochs=1")
    for path in (directory / "checkpoints").iterdir():
        assert "state_dict" in torch.load(path, weights_only=True)


def test_test_mode_gives_the_same_figures(run):
    directory = run("trainer.max_epochs=2")
    again = run("mode=test", f"checkpoint={directory}/checkpoints/best.ckpt", name="again")
    expected = {k: v for k, v in results.read(directory).metrics.items() if k.startswith("test/")}
    assert results.read(again).metrics == expected


def test_a_checkpoint_of_another_net_is_refused_with_both_shapes(run):
    directory = run("trainer.max_epochs=1")
    with pytest.raises(ConfigError, match=r"\(64, 64\) there and \(32, 64\) in the model"):
        run("mode=test", f"checkpoint={directory}/checkpoints/best.ckpt", "model.net.hidden=32", name="other")


def test_preview_draws_what_training_uses(run):
    directory = run("mode=preview", "scheduler=onecycle", "optimizer=nesterov", "trainer.max_steps=50")
    with (directory / "schedule.csv").open() as file:
        drawn = list(csv.DictReader(file))
    trained = run(
        "scheduler=onecycle",
        "optimizer=nesterov",
        "trainer.max_steps=50",
        "trainer.log_every_n_steps=1",
        name="trained",
    )
    logged = [row for row in rows(trained) if row["lr"]]
    for column in ("lr", "momentum"):
        assert [float(row[column]) for row in drawn] == [float(row[column]) for row in logged]
    assert (directory / "schedule.png").read_bytes().startswith(b"\x89PNG")


def test_the_configuration_is_written_as_composed_and_keeps_secrets_out(run, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    directory = run("trainer.max_epochs=1", "task_name=x", "+callbacks.note=null", "++trust=[${oc.env:SECRET}]")
    text = (directory / "config.yaml").read_text()
    assert "${oc.env:SECRET}" in text
    assert "hunter2" not in text
    assert json.loads(text.splitlines()[1].removeprefix("# overrides: "))[-1] == "++trust=[${oc.env:SECRET}]"


def test_a_directory_with_a_run_is_never_overwritten(run):
    directory = run("trainer.max_epochs=1")
    before = (directory / "result.json").read_text()
    with pytest.raises(ConfigError, match="a run is there already"):
        run("trainer.max_epochs=2")
    assert (directory / "result.json").read_text() == before


def test_plateau_lowers_the_lr_after_a_warmup_and_logs_it(run):
    directory = run(
        "scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.9", "scheduler.factor=0.5",
        "trainer.max_epochs=6", "trainer.log_every_n_steps=1", "warmup.length=10",
    )  # fmt: skip
    base, lrs = composed().optimizer.lr, lr_by_step(directory)
    assert [lrs[s] for s in range(10)] == pytest.approx([base * (s + 1) / 11 for s in range(10)])
    assert lrs[20] == base
    assert lrs[113] < base


def documented_columns() -> list[str]:
    """The columns of metrics.csv that docs/run.md has, as patterns: a word in capitals is any name."""
    table = (ROOT / "docs" / "run.md").read_text().partition("## Its metrics")[2].partition("```")[0]
    names = [name for line in re.findall(r"(?m)^\| (`.+?) \|", table) for name in re.findall(r"`([^`]+)`", line)]
    return [re.sub("[A-Z]+", ".+", name) for name in names]


def test_pandas_opens_metrics_csv_with_the_documented_columns(run):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    directory = run("optimizer=muon", "trainer.max_epochs=2", "trainer.log_every_n_steps=1")
    table, known = pandas.read_csv(directory / "metrics.csv"), documented_columns()
    assert list(table.columns[:3]) == ["step", "epoch", "lr"]
    assert [name for name in table.columns if not any(re.fullmatch(one, name) for one in known)] == []
    assert {"lr/muon_decay", "momentum", "train/loss", "val/acc", "test/acc"} <= set(table.columns)
    assert all(pandas.api.types.is_numeric_dtype(kind) for kind in table.dtypes)
    assert list(table["step"][table["train/loss"].notna()]) == list(range(38))
    assert table["val/acc"].max() == results.read(directory).best.value


def test_a_spreadsheet_takes_metrics_csv_for_one_of_commas(run):
    text = (run("trainer.max_epochs=1") / "metrics.csv").read_bytes().decode("ascii")
    found = csv.Sniffer().sniff(text)
    assert (found.delimiter, csv.Sniffer().has_header(text), '"' in text) == (",", True, False)
