"""Tables: what is made of their columns, by the training rows alone; every bad one answered in a sentence."""

import numpy as np
import pytest
import torch

from kasoku.data.csv import CSV
from kasoku.faults import ConfigError
from tests.conftest import read_result, run_here

CITIES = ("Paris", "Lyon", "Nice")


def table(path, rows=200, head="area,city,rooms,age,price", delimiter=","):
    """price = 3000 area + 100000 (Paris) - 500 age; every fifth age is missing, and counts as their mean."""
    rng = np.random.default_rng(0)
    lines = [head]
    for row in range(rows):
        area, city, age = rng.uniform(30, 200), CITIES[row % 3], "" if row % 5 == 0 else str(20 + row % 7)
        price = 3000 * area + 100_000 * (city == "Paris") - 500 * float(age or 23)
        lines.append(delimiter.join([f"{area:.3f}", city, str(row % 4), age, f"{price:.3f}"]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def ready(path, **settings):
    data = CSV(**({"path": str(path), "target": "price", "targets": "numbers"} | settings))
    data.setup()
    return data


def written(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_become_features_by_what_they_hold(tmp_path):
    data = ready(table(tmp_path / "t.csv"))
    names = ["area", "city=Lyon", "city=Nice", "city=Paris", "rooms", "age", "age is missing"]
    assert data.feature_names == names
    assert data.input_shape == (7,)
    assert data.num_outputs == 1
    assert data.train.x.dtype == data.train.y.dtype == torch.float32
    assert [len(part) for part in (data.train, data.val, data.test)] == [140, 30, 30]
    everything = torch.cat([part.x for part in (data.train, data.val, data.test)])
    assert torch.equal(everything[:, 1:4].sum(1), torch.ones(200))
    assert everything[:, 6].sum() == 40


def test_numbers_are_standardised_by_the_training_rows_alone(tmp_path):
    data = ready(table(tmp_path / "t.csv"))
    area, y = data.train.x[:, 0], data.train.y
    for values in (area, y):
        assert values.mean() == pytest.approx(0, abs=1e-6)
        assert values.std(correction=0) == pytest.approx(1, abs=1e-6)
    assert abs(float(data.val.x[:, 0].mean())) > 1e-3
    prices = np.array([float(line.split(",")[-1]) for line in (tmp_path / "t.csv").read_text().splitlines()[1:]])
    mean, std = torch.tensor(data.target_mean), torch.tensor(data.target_std)
    back = torch.cat([part.y for part in (data.train, data.val, data.test)]) * std + mean
    assert np.sort(back.numpy()) == pytest.approx(np.sort(prices), rel=1e-5)


def test_other_rows_change_nothing_in_the_training_rows(tmp_path):
    """Neither statistics nor levels: a value that only validation or test has is none of the levels."""
    lines = ["x,c,y", *(f"{i},{'ab'[i % 2]},{i * i}" for i in range(60))]
    path = written(tmp_path / "a.csv", *lines)
    before = ready(path, target="y")
    training = set(ready(path, target="y", standardize=False).train.x[:, 0].int().tolist())
    others = sorted({*range(60)} - training)
    for row in others:
        lines[row + 1] = f"{1000 + row},{'z' if row == others[0] else 'a'},{row}"
    after = ready(written(tmp_path / "b.csv", *lines), target="y")
    assert torch.equal(after.train.x, before.train.x)
    assert torch.equal(after.train.y, before.train.y)
    levels = torch.cat([after.val.x, after.test.x])[:, 1:].sum(1)
    assert sorted(levels.tolist()) == [0.0] + [1.0] * 17


def test_the_split_is_the_seeds(tmp_path):
    path = table(tmp_path / "t.csv")
    assert torch.equal(ready(path).train.x, ready(path).train.x)
    assert not torch.equal(ready(path).train.x, ready(path, seed=1).train.x)


def test_classes_are_split_in_proportion(tmp_path):
    data = ready(table(tmp_path / "t.csv"), target="city", targets="classes", batch_size=8)
    assert (data.num_classes, data.classes) == (3, ["Lyon", "Nice", "Paris"])
    for part in (data.train, data.val, data.test):
        counts = part.y.bincount()
        assert counts.max() - counts.min() <= 2
    assert not hasattr(data, "num_outputs")


def test_numbers_as_classes_keep_their_order(tmp_path):
    path = written(tmp_path / "t.csv", "x,grade", *(f"{i},{(2, 10, 9)[i % 3]}" for i in range(60)))
    assert ready(path, target="grade", targets="classes").classes == ["2", "9", "10"]


def test_several_targets_and_labels(tmp_path):
    rows = [f"{i},{i * 2},{i % 2},{'yes' if i % 3 else 'no'}" for i in range(60)]
    path = written(tmp_path / "t.csv", "x,y,even,third", *rows)
    data = ready(path, target=["x", "y"])
    assert (data.num_outputs, data.train.y.shape) == (2, (42, 2))
    data = ready(path, target=["even", "third"], targets="labels")
    assert (data.num_outputs, data.train.y.shape) == (2, (42, 2))
    assert data.train.y.unique().tolist() == [0, 1]
    assert ready(path, target="third", targets="binary").train.y.sum() == 28  # of 40 "yes", 70%


@pytest.mark.parametrize(("word", "sign"), [("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
def test_other_delimiters_quotes_blank_lines_and_marks(tmp_path, word, sign):
    text = (
        sign.join(["\ufeffa", f'"b{sign}c"', " y "])
        + "\r\n\r\n"
        + "".join(f"{i}{sign}{i % 3}{sign}{i}\r\n" for i in range(40))
    )
    (tmp_path / "t.csv").write_bytes(text.encode())
    data = ready(tmp_path / "t.csv", target="y", delimiter=word, batch_size=8)
    assert data.feature_names == ["a", f"b{sign}c"]
    (tmp_path / "u.csv").write_bytes(text.lstrip("\ufeff").encode("utf-16"))
    assert torch.equal(ready(tmp_path / "u.csv", target="y", delimiter=word, batch_size=8).train.x, data.train.x)


ROWS = [f"{i},{i % 3},{i * 2}" for i in range(40)]
HEAD = "a,b,y"


def bad(*changes, head=HEAD, rows=ROWS):
    """The table with row `place` replaced by `line` for each (place, line)."""
    rows = list(rows)
    for place, line in changes:
        rows[place] = line
    return [head, *rows]


BAD = [
    ([], {}, ["data.path", "is empty"]),
    ([HEAD], {}, ["has no rows below"]),
    (["", " , "], {}, ["has no rows"]),
    (bad(head="a,a,y"), {}, ["[a]", "once"]),
    (bad(head="a,,y"), {}, ["2th has no name"]),
    (ROWS, {}, ["must name the columns"]),
    (bad((3, "1,2")), {}, ["line 5 has 2", "3 fields"]),
    (bad((3, '"1,2,3')), {}, ["cannot be read"]),
    (bad(head="a;b;y", rows=[row.replace(",", ";") for row in ROWS]), {}, ["data.delimiter=semicolon"]),
    (bad(), {"target": "yy"}, ["data.target=yy", "the columns are: a b y", "did you mean y?"]),
    (bad(), {"target": None}, ["data.target", "there are: a b y"]),
    (bad(), {"features": ["c"], "exclude": ["d"]}, ["data.features=c", "data.exclude=d"]),
    (bad(), {"features": ["y"]}, ["is the target"]),
    (bad(), {"exclude": ["a", "b"]}, ["leaves no column"]),
    (bad((2, "2,2,many")), {}, ["data.target=y", "many (line 4)", "task=classification"]),
    (bad((2, "2,2,nan"), (7, "7,1,")), {}, ["no value in 2 of 40 rows (lines 4, 9)"]),
    (bad((2, "2,2,inf")), {}, ["inf (line 4)"]),
    (bad(rows=[f"{i},{i % 3},5" for i in range(40)]), {}, ["data.target=y", "is 5 in every row"]),
    (bad(rows=[f"7,{i},{i}" for i in range(40)]), {}, ["data=a", "in every row", "data.exclude=[a]"]),
    (bad((5, "five,2,10")), {}, ["five (line 7)", "data.missing=[five]", "data.categorical=[a]"]),
    (bad((5, "NA,2,10"), (6, "x,2,10")), {}, ["data.missing=[NA,x]"]),
    (bad(rows=[f"id{i},{i % 3},{i}" for i in range(40)]), {"max_levels": 30}, ["40 different values", "[a]"]),
    (bad(), {"targets": "classes", "max_levels": 30}, ["40 different values", "task=regression"]),
    (bad(), {"targets": "binary", "target": "b"}, ["two values", "it has 3: 0 1 2"]),
    (bad(), {"targets": "binary", "target": ["a", "b"]}, ["must be one column"]),
    (bad(), {"targets": None}, ["data.targets"]),
    (bad(), {"val_fraction": 0.001}, ["data.val_fraction", "one for validation"]),
    (bad(), {"val_fraction": 0.6, "test_fraction": 0.5}, ["data.val_fraction"]),
    (bad(), {"batch_size": 64}, ["data.batch_size=64", "28 samples"]),
]


@pytest.mark.parametrize(("lines", "settings", "words"), BAD)
def test_a_bad_table_is_answered_in_a_sentence(tmp_path, lines, settings, words):
    (tmp_path / "t.csv").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(ConfigError) as error:
        ready(tmp_path / "t.csv", **({"target": "y"} | settings))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,y\nü,1\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        ready(tmp_path / "t.csv", target="y")


def test_every_column_at_fault_is_named_at_once(tmp_path):
    written(tmp_path / "t.csv", "a,b,y", *(f"7,id{i},{i}" for i in range(40)))
    with pytest.raises(ConfigError) as error:
        ready(tmp_path / "t.csv", target="y", max_levels=10)
    assert [fault.value for fault in error.value.faults] == ["a", "b"]


RUN = ("trainer=cpu", "logger=none", "model=mlp", "data=csv", "warmup=none", "optimizer=adam", "optimizer.lr=0.03")
LONG = ("trainer.max_epochs=40", "trainer.check_val_every_n_epoch=40", "model.net.depth=0")


def trained(directory, path, *overrides):
    assert run_here(directory, *RUN, f"data.path={path}", *overrides) == 0
    return read_result(directory)


def test_the_command_for_a_price_needs_no_more(tmp_path):
    """price is linear in the features; the error is in its own unit, of which the standard deviation is 150 000."""
    result = trained(tmp_path / "run", table(tmp_path / "t.csv"), "task=regression", "data.target=price", *LONG)
    assert result["metrics"]["val/loss"] < 1e-3
    assert result["metrics"]["test/r2"] == pytest.approx(1, abs=1e-3)
    assert 1 < result["metrics"]["val/mae"] < 5000
    assert result["best"]["metric"] == "val/mae"


KINDS = [
    (["task=classification", "data.target=kind"], "acc"),
    (["task=binary", "data.target=even"], "acc"),
    (["task=multilabel", "data.target=[even,big]"], "f1"),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("overrides", "metric"), KINDS)
def test_the_other_tasks_read_their_targets(tmp_path, overrides, metric):
    names = ["zero", "one", "two"]
    rows = [f"c{i % 6},{names[i % 3]},{i % 2},{'yes' if i % 6 > 3 else 'no'}" for i in range(300)]
    path = written(tmp_path / "t.csv", "code,kind,even,big", *rows)
    result = trained(tmp_path / "run", path, *overrides, "data.features=[code]", *LONG)
    assert result["metrics"][f"test/{metric}"] == 1
    assert result["best"]["metric"] == f"val/{metric}"
