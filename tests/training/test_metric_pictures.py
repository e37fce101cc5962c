"""Metrics that give several numbers: by name they are logged, as a tensor they are drawn, and nothing fails."""

import csv
import json

import pytest

from tests.conftest import SMALL, read_result, run_here

SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=4")
OF_TORCHMETRICS = "torchmetrics.classification"


def metric(name, target, *settings):
    return [f"+model.metrics.{name}._target_={target}", *(f"+model.metrics.{name}.{setting}" for setting in settings)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """One run with metrics of every kind of value. Sizes and the task are filled in from the data."""
    path = tmp_path_factory.mktemp("run")
    metrics = [
        *metric("cm", "torchmetrics.ConfusionMatrix"),
        *metric("each", f"{OF_TORCHMETRICS}.MulticlassF1Score", "average=null"),
        *metric("roc", f"{OF_TORCHMETRICS}.MulticlassROC", "thresholds=5"),
        *metric("counts", f"{OF_TORCHMETRICS}.MulticlassStatScores", "average=null"),
        *metric("f1", f"{OF_TORCHMETRICS}.MulticlassF1Score"),
        "+model.metrics.named={_target_:torchmetrics.wrappers.ClasswiseWrapper,"
        f"metric:{{_target_:{OF_TORCHMETRICS}.MulticlassRecall,num_classes:10,average:null}}}}",
    ]
    assert run_here(path, *SMALL, *SHORT, *metrics) == 0
    return path


def test_numbers_are_logged_and_tensors_are_not(directory):
    metrics = read_result(directory)["metrics"]
    assert {"val/acc", "val/f1", "test/f1"} <= metrics.keys()
    assert len([name for name in metrics if name.startswith("val/named/")]) == 10
    assert not [name for name in metrics if name.split("/")[1] in ("cm", "each", "roc", "counts")]
    with (directory / "metrics.csv").open() as file:
        columns = csv.DictReader(file).fieldnames or []
    assert not [name for name in columns if "cm" in name]


def test_a_confusion_matrix_is_drawn_and_its_numbers_kept(directory):
    for split, size in (("val", 270), ("test", 270)):
        assert (directory / f"{split}_cm.png").read_bytes().startswith(b"\x89PNG")
        matrix = json.loads((directory / f"{split}_cm.json").read_text())
        assert sum(map(sum, matrix)) == size
        right = sum(matrix[place][place] for place in range(10))
        assert right / size == pytest.approx(read_result(directory)["metrics"][f"{split}/acc"])


def test_values_by_class_and_curves_are_drawn(directory):
    for name in ("each", "roc"):
        assert (directory / f"val_{name}.png").exists()
    each = json.loads((directory / "val_each.json").read_text())
    assert sum(each) / 10 == pytest.approx(read_result(directory)["metrics"]["val/f1"], abs=1e-6)


def test_what_cannot_be_drawn_leaves_its_numbers(directory):
    assert not (directory / "val_counts.png").exists()
    assert len(json.loads((directory / "val_counts.json").read_text())) == 10
