"""Runs that differ in the seed alone are one row; the columns are what differs."""

import csv
import io
import json
import math
import statistics

import pytest

from kasoku.faults import ConfigError
from kasoku.report.__main__ import main
from kasoku.report.rows import Row, by_columns, differing, rows
from kasoku.report.runs import curves, find, metrics, read
from tests.report import made


def told(folder, capsys, *options: str) -> str:
    assert main([str(folder), *options]) == 0
    return capsys.readouterr().out


def two_by_three(folder) -> None:
    """Two optimizers, three seeds each; adamw is the default that the command does not name."""
    for seed, (sgd, adamw) in enumerate([(0.95, 0.5), (0.7, 0.6), (0.8, 0.4)]):
        text = made.config(seed, "SGD", 0.3)
        made.run(folder / f"s{seed}", sgd, ["optimizer=sgd", "optimizer.lr=0.3"], seed, text)
        made.run(folder / f"a{seed}", adamw, [], seed)


def test_seeds_are_one_row_with_n_median_spread_best_and_hits(tmp_path):
    two_by_three(tmp_path)
    first, second = rows(find(tmp_path))
    assert first.cells() | {"run": "s0"} == {
        "run": "s0",
        "n": 3,
        "status": "completed",
        "metric": "val/acc",
        "median": 0.8,
        "spread": statistics.stdev([0.95, 0.7, 0.8]),
        "best": 0.95,
        "hits": 1,
        "steps": 20,
        "train_seconds": 2.0,
        "seconds_to_target": math.inf,  # two of three missed
        "optimizer": "sgd",
        "optimizer.lr": "0.3",
    }
    assert (second.median, second.cells()["best"], second.hits) == (0.5, 0.6, 0)


def test_what_no_command_gave_is_read_from_the_configuration(tmp_path):
    two_by_three(tmp_path)
    assert [row.settings for row in rows(find(tmp_path))] == [
        {"optimizer": "sgd", "optimizer.lr": "0.3"},
        {"optimizer": "AdamW", "optimizer.lr": "0.1"},
    ]


def test_a_default_that_changed_between_two_runs_is_seen_though_no_override_says_so(tmp_path):
    made.run(tmp_path / "old", 0.5, ["model=mlp"], text=made.config(lr=0.1))
    made.run(tmp_path / "new", 0.6, ["model=mlp"], text=made.config(lr=0.2))
    assert [row.settings for row in rows(find(tmp_path))] == [{"optimizer.lr": "0.2"}, {"optimizer.lr": "0.1"}]


def test_where_a_run_is_logged_parts_no_seeds(tmp_path):
    made.run(tmp_path / "a", 0.5, ["logger=none"], 0, made.config(0))
    made.run(tmp_path / "b", 0.7, ["logger.name=x"], 1, made.config(1))
    (row,) = rows(find(tmp_path))
    assert (len(row.runs), row.settings) == (2, {})


def test_when_a_run_is_evaluated_is_a_column_only_where_it_tells_rows_apart(tmp_path):
    given = [("10", "1"), ("20", "2"), ("30", "3")]
    for steps, every in given:
        text = made.config() + f"trainer:\n  max_steps: {steps}\n  val_check_interval: {every}\n"
        lines = [f"trainer.max_steps={steps}", f"trainer.val_check_interval={every}"]
        made.run(tmp_path / steps, 0.5, lines, text=text)
    assert {tuple(row.settings) for row in rows(find(tmp_path))} == {("trainer.max_steps",)}
    text = made.config() + "trainer:\n  max_steps: 10\n  val_check_interval: 5\n"
    made.run(tmp_path / "more", 0.5, ["trainer.max_steps=10", "trainer.val_check_interval=5"], text=text)
    assert {len(row.settings) for row in rows(find(tmp_path))} == {2}


@pytest.mark.parametrize(("mode", "first"), [("max", 0.9), ("min", 0.1)])
def test_the_best_row_and_the_best_seed_follow_the_targets_direction(tmp_path, mode, first):
    for seed, value in enumerate([0.1, 0.9]):
        made.run(tmp_path / f"a{seed}", value, [], seed, made.config(seed, mode=mode), mode=mode)
        made.run(tmp_path / f"b{seed}", 0.5 + value / 100, ["optimizer.lr=1"], seed, mode=mode)
    found = rows(find(tmp_path))
    by_median = sorted(found, key=lambda row: row.median, reverse=mode == "max")
    assert found == by_median
    assert next(row for row in found if row.runs[0].value in (0.1, 0.9)).runs[0].value == first


def test_a_run_in_progress_is_read_from_its_metrics(tmp_path):
    made.run(tmp_path / "a", curves={"train/loss": [3, 2, 1], "val/acc": ["", 0.4, 0.3]}, ended=False)
    with (tmp_path / "a" / "metrics.csv").open("a") as file:
        file.write("39,3")  # cut in the middle of a row
    run = read(tmp_path / "a")
    assert (run.status, run.value, run.result.best.step, run.result.steps) == ("unfinished", 0.4, 20, 30)
    (row,) = rows(find(tmp_path))
    assert (row.status, row.median, row.hits) == ("unfinished", 0.4, 0)
    assert metrics(tmp_path / "a")["train/loss"].last == 1


def test_several_folders_and_a_run_named_twice(tmp_path, capsys):
    two_by_three(tmp_path / "x")
    made.run(tmp_path / "y" / "z", 0.99, ["model=cnn"])
    assert len(find(tmp_path / "x", tmp_path / "y", tmp_path / "y" / "z")) == 7
    assert main([str(tmp_path / "x"), str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_csv_json_markdown_and_latex_hold_the_same_cells(tmp_path, capsys):
    two_by_three(tmp_path)
    lines = list(csv.DictReader(io.StringIO(told(tmp_path, capsys, "--csv"))))
    objects = json.loads(told(tmp_path, capsys, "--json"))
    assert [line["optimizer"] for line in lines] == [o["optimizer"] for o in objects] == ["sgd", "AdamW"]
    assert [float(line["median"]) for line in lines] == [o["median"] for o in objects] == [0.8, 0.5]
    assert objects[0]["seconds_to_target"] is None
    markdown = told(tmp_path, capsys, "--markdown").splitlines()
    assert len(markdown) == 4
    assert len({line.count("|") for line in markdown}) == 1
    latex = told(tmp_path, capsys, "--latex", "--columns", "run,optimizer.lr,train_seconds")
    assert r"run & optimizer.lr & train\_seconds \\" in latex
    assert r"s0 & 0.3 & 2 \\" in latex


def test_special_characters_stay_what_they_are(tmp_path, capsys):
    made.run(tmp_path / "a", 0.5, ["model.net._target_=a|b", "model.x=10%_&"])
    made.run(tmp_path / "b", 0.6, ["model.net._target_==SUM(A1)", "model.x=-1"])
    for folder in (tmp_path / "a", tmp_path / "b"):
        (folder / "config.yaml").unlink()
    assert r"a\|b" in told(tmp_path, capsys, "--markdown")
    assert r"10\%\_\&" in told(tmp_path, capsys, "--latex")
    text = told(tmp_path, capsys, "--csv")
    assert "'=SUM(A1)" in text  # no formula for a spreadsheet
    assert ",-1\n" in text  # a number is left alone
    made.run(tmp_path / "[red]c", 0.7, ["model.x=3"])
    assert "[red]c" in told(tmp_path, capsys)


def test_rows_are_sorted_by_any_column_with_the_unknown_last(tmp_path):
    for i, lr in enumerate(["3", "10", "0.2"]):
        made.run(tmp_path / str(i), 0.5 + i / 10, [f"optimizer.lr={lr}"], text=made.config(lr=lr))
    made.run(tmp_path / "none", None, ["optimizer.lr=5"], text=made.config(lr=5))
    found = rows(find(tmp_path))
    assert [line["optimizer.lr"] for line in by_columns(found, sort="optimizer.lr")] == ["0.2", "3", "5", "10"]
    assert [line["best"] for line in by_columns(found, ["best"], "-best")] == [0.7, 0.6, 0.5, None]
    assert [line["best"] for line in by_columns(found, ["best"], "best")] == [0.5, 0.6, 0.7, None]


def test_a_column_that_is_none_is_named_with_the_nearest(tmp_path, capsys):
    two_by_three(tmp_path)
    assert main([str(tmp_path), "--columns", "medain", "--csv"]) == 2
    assert "did you mean median?" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--sort=lr"):
        by_columns(rows(find(tmp_path)), sort="lr")


def test_the_verdict_of_a_race_and_the_best_of_a_sweep_stand_above_the_table(tmp_path, capsys):
    made.run(tmp_path / "race" / "0", 0.5)
    made.run(tmp_path / "sweep" / "0", 0.6)
    verdict = [{"strategy": "muon", "baseline": "adamw", "sentence": "2.0 times sooner"}]
    (tmp_path / "race" / "race.json").write_text(json.dumps({"verdict": verdict}))
    best = [{"number": 3, "command": "kasoku optimizer.lr=0.1"}]
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"best": best}))
    said = told(tmp_path, capsys)
    assert "muon v adamw: 2.0 times sooner" in said
    assert "best, trial 3: kasoku optimizer.lr=0.1" in said


def test_curves_are_thinned_with_both_ends_kept(tmp_path):
    made.run(tmp_path / "a", 0.5, curves={"val/acc": [i / 1000 for i in range(1000)]})
    steps, values = curves(tmp_path / "a", most=50)["val/acc"]
    assert len(steps) == len(values) == 50
    assert (steps[0], steps[-1], values[0], values[-1]) == (10, 10000, 0.0, 0.999)


def test_runs_without_a_configuration_are_told_apart_by_their_overrides(tmp_path):
    for name, lines in {"a": ["x=1"], "b": ["x=2"], "c": ["x=1"]}.items():
        made.run(tmp_path / name, 0.5, lines)
        (tmp_path / name / "config.yaml").unlink()
    found = rows(find(tmp_path))
    assert sorted(len(row.runs) for row in found) == [1, 2]
    assert differing([row.runs[0] for row in found]) == [row.settings for row in found]


def test_one_run_alone_has_no_spread(tmp_path):
    (row,) = [Row([read(made.run(tmp_path / "a", 0.5))], {})]
    assert row.spread is None
