"""Runs listed from their directories."""

import csv
import json
import time

import pytest
import yaml

from kasoku.faults import ConfigError
from kasoku.report.__main__ import main
from kasoku.report.runs import find, metrics
from kasoku.results import Best, Result, Target, TimeToTarget, read
from tests.report import made


def leave(folder, value: float | None, overrides: list[str], metric: str = "val/acc", mode: str = "max") -> None:
    folder.mkdir(parents=True)
    best = None if value is None else Best(metric, value, 10)
    reached = TimeToTarget(metric, 0.5, 5, 320, 0.25) if value else None
    status, target = "completed" if value else "failed", Target(metric, mode=mode)
    Result(status, target, best=best, time_to_target=reached, overrides=overrides).write(folder)


def test_runs_are_listed_best_first_with_what_differs(tmp_path, capsys):
    leave(tmp_path / "a", 0.7, ["model=mlp", "optimizer=sgd"])
    leave(tmp_path / "b" / "0", 0.9, ["model=mlp", "optimizer=adamw"])
    leave(tmp_path / "c", None, ["model=mlp"])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "result.json").write_text("{ cut")
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 runs, all with model=mlp" in said
    assert said.index("optimizer=adamw") < said.index("optimizer=sgd") < said.index("failed")


@pytest.mark.parametrize("metric", ["val/loss", "val/mae", "val/acc"])
def test_the_targets_own_direction_says_which_is_best_whatever_the_metrics_name(metric, tmp_path, capsys):
    leave(tmp_path / "high", 5.0, ["optimizer.lr=1"], metric, "min")
    leave(tmp_path / "low", 0.1, ["optimizer.lr=2"], metric, "min")
    main([str(tmp_path)])
    said = capsys.readouterr().out
    assert said.index("low") < said.index("high")


def test_the_metrics_of_one_run(tmp_path, capsys):
    leave(tmp_path / "run", 0.9, [])
    with (tmp_path / "run" / "metrics.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerows([["step", "epoch", "val/loss"], [1, 0, 3.0], [2, 0, ""], [3, 1, 1.0], [4, 1, 2.0]])
    column = metrics(tmp_path / "run")["val/loss"]
    assert (column.count, column.last, column.least, column.least_step) == (3, 2.0, 1.0, 3)
    assert (column.greatest, column.greatest_step) == (3.0, 1)
    assert main([str(tmp_path / "run")]) == 0
    assert "val/loss" in capsys.readouterr().out


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_a_run_is_named(tmp_path, made, capsys):
    folder = tmp_path / "empty"
    if made:
        folder.mkdir()
    with pytest.raises(ConfigError, match="empty"):
        find(folder)
    assert main([str(folder)]) == 2
    assert "empty" in capsys.readouterr().err


def test_without_a_folder_it_says_how_it_is_used(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    best, reached = Best("val/mae", 0.25, 70), TimeToTarget("val/mae", 0.3, 50, 3200, 1.5)
    written = Result("reached_target", Target("val/mae", 0.3, "min", True), {"val/mae": 0.25}, best, 70, 2.5, 4480)
    written.time_to_target = reached
    written.write(tmp_path)
    assert read(tmp_path) == written
    (tmp_path / "result.json").write_text('{"status": "completed", "of_a_later_version": 1}')
    assert read(tmp_path) == Result("completed")


def seconds(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@pytest.mark.proof
def test_a_thousand_runs_are_a_table_for_a_few_times_what_parsing_their_files_takes(tmp_path, capsys):
    """2 s are asked; on a machine that parses the files in 0.4 s, 5 times that is the table."""
    falling = [1 / (i + 1) for i in range(60)]
    curves = {"lr": falling, "train/loss": falling, "val/acc": falling}
    for i in range(1000):  # one in ten is in progress, and read from its metrics.csv
        made.run(
            tmp_path / str(i), 0.5, [f"lr={i // 2}"], i % 2, made.config(i % 2, lr=i // 2), curves, ended=i % 10 > 0
        )

    def parse() -> None:
        for folder in tmp_path.iterdir():
            yaml.load((folder / "config.yaml").read_text(), yaml.CSafeLoader)
            for file in folder.glob("result.json"):
                json.loads(file.read_text())

    assert seconds(lambda: main([str(tmp_path)])) < 8 * seconds(parse)
    assert "1000 runs in 500 rows" in capsys.readouterr().out
