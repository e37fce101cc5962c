"""TensorBoard: the curves, and a line in the tab of hyperparameters, read back from the event files."""

import csv
from pathlib import Path

import pytest

from tests.conftest import SMALL, read_result, run_here

pytest.importorskip("tensorboard", reason="tensorboard is not installed")


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path_factory.mktemp("tb") / "run"
    lines = ("trainer.max_epochs=2", "optimizer.lr=0.01", "target.value=0.5", "logger=tensorboard")
    assert run_here(run, *[word for word in SMALL if word != "logger=none"], *lines) == 0
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return run, found


def test_the_tab_of_hyperparameters_has_what_decides_the_training(events):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    _, found = events
    content = found.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info.hparams
    assert start["optimizer/lr"].number_value == 0.01
    assert start["optimizer/_target_"].string_value == "torch.optim.AdamW"
    assert start["status"].string_value == "completed"
    assert start["target/value"].number_value == 0.5
    assert not [name for name in start if "search" in name or "_partial_" in name]
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    names = {info.name.tag for info in experiment.metric_infos}
    assert {"end/best/val/acc", "end/time_to_target/steps", "end/train_seconds"} <= names
    assert "hp_metric" not in names


def test_the_figures_are_those_of_the_result(events):
    run, found = events
    assert found.Scalars("end/best/val/acc")[0].value == pytest.approx(read_result(run)["best"]["value"])
    assert len(found.Scalars("val/acc")) == 2


def test_metrics_csv_opens_as_a_table_of_numbers(events):
    run: Path = events[0]
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["step", "epoch", "lr"]
    assert all(text == "" or float(text) is not None for row in rows for text in row.values())
    assert len({len(row) for row in rows}) == 1
