"""The W&B run of a race or sweep as a whole, offline, read back from its files."""

import json

from kasoku.report import studies
from kasoku.training import wandb_study
from tests.report import made
from tests.report.test_page import a_race
from tests.training.test_wandb import listed, of_type, summary

NODE = {"project": "kasoku", "entity": None, "tags": ["x"], "mode": "offline", "patience": 30}


def test_a_race_leaves_its_verdict_as_keys_and_a_table_with_the_report(tmp_path):
    race, said = tmp_path / "race-1", []
    a_race(race)
    (race / "report.html").write_text("<p>page</p>")
    wandb_study.leave(race, NODE, said.append)
    assert said == []
    (run,) = of_type(race, "run")
    assert (run["run_group"], run["job_type"], run["tags"]) == ("race-1", "verdict", ["x"])
    keys = dict(line.split(None, 1) for line in summary(race).splitlines() if len(line.split()) > 1)
    assert (keys["b/ratio"], keys["ratio"], keys["b/low"], keys["hits"], keys["n"]) == ("2", "2", "1.5", "4", "5")
    table = json.loads(next(race.glob("wandb/offline-run-*/files/media/table/verdict*.json")).read_text())
    assert table["data"] == [["b", "a", 2.0, 1.5, None, 4, 5, 0.01, "2.0 times sooner"]]
    (report,) = [one for one in of_type(race, "artifact") if one["type"] == "report"]
    assert [file["path"] for file in report["manifest"]["contents"]] == ["report.html"]


def test_a_sweep_leaves_its_best(tmp_path):
    best = [{"number": 3, "value": 0.5, "command": "kasoku optimizer.lr=1"}]
    (tmp_path / "sweep.json").write_text(json.dumps({"best": best}))
    study = studies.read(tmp_path)
    assert wandb_study.summary(study) == {"best/value": 0.5, "best/command": "kasoku optimizer.lr=1", "best/number": 3}
    assert wandb_study.table(study) == (["number", "value", "command"], [[3, 0.5, "kasoku optimizer.lr=1"]])


def test_several_challengers_have_their_names_before_each_key(tmp_path):
    each = {"b": 2.0, "c": 3.0, "d": None}
    verdict = [{"strategy": name, "ratio": ratio, "high": None, "sentence": name * 2} for name, ratio in each.items()]
    (tmp_path / "race.json").write_text(json.dumps({"verdict": verdict}))
    found = wandb_study.summary(studies.read(tmp_path))
    own = {"b/ratio": 2.0, "b/sentence": "bb", "c/ratio": 3.0, "c/sentence": "cc", "d/sentence": "dd"}
    assert found == own | {"strategy": "c", "ratio": 3.0, "sentence": "cc"}  # the soonest without its name too


def test_the_best_of_several_objectives_has_each_value(tmp_path):
    best = [{"number": 3, "values": [0.25, 12.0], "command": "kasoku lr=1"}]
    settings = {"metric": ["val/loss", "train_seconds"]}
    (tmp_path / "sweep.json").write_text(json.dumps({"settings": settings, "best": best}))
    study = studies.read(tmp_path)
    own = {"best/val/loss": 0.25, "best/train_seconds": 12.0}
    assert wandb_study.summary(study) == {"best/command": "kasoku lr=1", "best/number": 3} | own
    columns = ["number", "val/loss", "train_seconds", "command"]
    assert wandb_study.table(study) == (columns, [[3, 0.25, 12.0, "kasoku lr=1"]])


def test_the_verdicts_keys_are_those_that_the_page_lists(tmp_path):
    a_race(tmp_path)
    told = listed("the summary of the verdict")
    assert {"ratio", "sentence"} <= told
    assert told == {name.replace("b/", "STRATEGY/") for name in wandb_study.summary(studies.read(tmp_path))} | {
        "high",  # infinite in this race, so not there
        "STRATEGY/high",
    }


def test_a_failure_of_w_and_b_is_said_in_one_line(tmp_path, monkeypatch):
    made.run(tmp_path / "0", 0.5)
    (tmp_path / "sweep.json").write_text("{}")
    monkeypatch.setattr("wandb.init", lambda **settings: 1 / 0)
    said: list[str] = []
    wandb_study.leave(tmp_path, NODE, said.append)
    (tmp_path / "sweep.json").write_text('{"best": []}')
    wandb_study.leave(tmp_path, NODE, said.append)
    assert len(said) == 1
    assert said[0].startswith("W&B has no run of the sweep")
