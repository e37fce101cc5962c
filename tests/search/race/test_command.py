"""Small races through the command: their verdict, their refusals, and what a kill leaves."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kasoku import results
from tests.search.conftest import ROOT, TINY, Sweep
from tests.search.test_resume import SLOW, content, has_finished, running, wait_until

RACE = ["sweeper=race", "target.value=0.6", "race.tuning=2", "race.seeds=4", "sweeper.workers=2", "race.baseline=adamw"]
ADAMW = "race.strategies.adamw=[optimizer=adamw,scheduler=linear]"
CONSTANT = "race.strategies.constant=[optimizer=adam,scheduler=constant,warmup=none]"
BROKEN = "race.strategies.broken=[optimizer=adamw,scheduler=cosine,model.net.dropout=2]"
TWO = [ADAMW, CONSTANT]


def race_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "race.json").read_text())


def keys_of(directory: Path) -> Counter[str]:
    """How often each run of the race stands among the trials that count."""
    rows = content(directory)["trials"]
    ended = [row for row in rows if row["state"] not in ("lost", "interrupted", "running")]
    return Counter(" ".join(line for line in row["overrides"]) for row in ended)


def test_a_race_ends_with_its_sentence(sweep: Sweep) -> None:
    swept = sweep(*RACE, *TWO, BROKEN)
    race = race_of(swept.directory)
    assert swept.code == 0, swept.out + swept.err
    verdict = {entry["strategy"]: entry for entry in race["verdict"]}
    assert set(verdict) == {"constant", "broken"}
    assert verdict["constant"].keys() >= {"baseline", "ratio", "low", "high", "hits", "n", "p", "sentence"}
    assert verdict["constant"]["n"] == 4
    assert verdict["constant"]["sentence"] in swept.out
    assert "every trial of broken failed" in verdict["broken"]["sentence"]
    assert race["settings"]["rules"]["cap"] == 20
    assert race["pending"] == []
    _check_runs(race, swept.directory)


def _check_runs(race: dict[str, Any], directory: Path) -> None:
    """The runs are those of the study, they trained as planned, and their times are those of their results."""
    trials = {" ".join(t["overrides"][-12:]): t for t in content(directory)["trials"]}
    assert len(race["runs"]) == len(trials) == len({run["key"] for run in race["runs"]})
    found = [results.read(path.parent) for path in directory.glob("*/result.json")]
    by_seed = {(r.seed, "optimizer=adam" in r.overrides): r for r in found}
    for run in race["runs"]:
        if run["strategy"] == "broken":
            assert run["final"] is None
            assert "model.net.dropout" in run["reason"]
            continue
        result = by_seed[run["seed"], run["strategy"] == "constant"]
        assert result.steps == run["steps"] if run["strategy"] == "adamw" else result.steps <= 20
        assert result.best.value == run["final"]
        if run["strategy"] == "constant" and run["phase"] == "confirmation":
            assert run["time"] == result.time_to_target.steps
    tuned = race["strategies"]["constant"]
    assert tuned["decays"] is False
    assert race["strategies"]["adamw"]["decays"] is True
    assert all(strategy["tuning_steps"] <= 2 * 20 for strategy in race["strategies"].values())


@pytest.mark.sample(8)
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*RACE, *TWO, "target.value=null"], ["target.value", "target.value=0.97"]),
        ([*RACE, *TWO, "race.baseline=sgd"], ["race.baseline=sgd", "adamw constant"]),
        ([*RACE, *TWO, "race.only=[konstant]"], ["race.only=konstant", "did you mean constant?"]),
        ([*RACE, *TWO, "race.cap=0"], ["race.cap=0"]),
        ([*RACE, *TWO, "race.seeds=2"], ["race.seeds=2"]),
        ([*RACE, *TWO, "race.studies=2"], ["race.studies=2", "4 and more"]),
        ([*RACE, *TWO, "sweeper.tuner=guess"], ["sweeper.tuner=guess", "bracket"]),
        ([*RACE, *TWO, "race.strategies.c=[optimizer=adamm]"], ["optimizer=adamm", "(strategy c)"]),
        ([*RACE, *TWO, "race.strategies.c=[seed=3]", "race.strategies.d=[data.batch_size=8,target.value=1]"],
         ["sets seed", "sets target data"]),
        ([*RACE, *TWO, "race.strategies.c=[scheduler=linear,optimizer=adamw]"], ["race.strategies.c", "same as adamw"]),
        ([*RACE, *TWO, "race.strategies.c=[optimizer=adamw,optimizer.lr=1000]"], ["optimizer.lr=1000", "(strategy c)"]),
        ([*RACE, *TWO, "race.strategies.c=[optimizer=sgd,trainer.max_steps=5,trainer.val_check_interval=1]"],
         ["race.strategies.c", "sets trainer.max_steps trainer.val_check_interval", "race.cap"]),
        ([*RACE, *TWO, "sweeper.n_trials=9", "sweeper.pruner=asha"],
         ["sweeper.n_trials=9", "race.tuning", "sweeper.pruner=asha: must be none"]),
        ([*RACE, *TWO, "race.strategies.c=adam"], ["race.strategies.c=adam", "list of overrides"]),
        ([*RACE, *TWO, "optimizer.lr=0.1,0.2"], ["optimizer.lr", "one value in a race"]),
        (RACE, ["race.strategies", "nobody to race"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_the_first_run(sweep: Sweep, lines: list[str], words: list[str]) -> None:
    swept = sweep(*lines)
    assert swept.code == 2
    assert [word for word in words if word not in swept.err] == []
    assert not swept.directory.exists()


def test_a_target_that_is_met_before_the_first_step(sweep: Sweep) -> None:
    swept = sweep(*RACE, *TWO, "target.value=0.001")
    assert swept.code == 1
    assert "met before the first step" in swept.out
    assert len(swept.states) <= 2


@pytest.mark.proof
def test_a_target_that_nobody_reaches(sweep: Sweep) -> None:
    swept = sweep(*RACE, *TWO, "target.value=1.01", "trainer.max_steps=4")
    assert swept.code == 1
    assert "no strategy reaches the target val/acc 1.01 within the cap of 4 steps" in swept.out
    assert race_of(swept.directory)["verdict"] == []


@pytest.mark.proof
def test_a_race_goes_on_after_everything_was_killed(sweep: Sweep, tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *SLOW, *RACE, *TWO, f"hydra.sweep.dir={directory}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: has_finished(directory, 4) and len(running(directory)) == 2)
    process.kill()
    process.wait()
    wait_until(lambda: not running(directory), 10)
    swept = sweep(f"resume={directory}", tiny=False)
    race = race_of(directory)
    assert swept.code == 0, swept.out + swept.err
    assert set(keys_of(directory).values()) == {1}
    assert len(keys_of(directory)) == len(race["runs"])
    assert race["verdict"][0]["n"] == 4
    assert math.isclose(race["verdict"][0]["p"], race["verdict"][0]["p_adjusted"])


@pytest.mark.proof
def test_two_that_share_a_storage_run_each_run_once(sweep: Sweep, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *RACE, *TWO]
    command += [f"sweeper.storage={tmp_path}/shared.journal"]
    folders = [tmp_path / "one", tmp_path / "two"]
    both = [subprocess.Popen([*command, f"hydra.sweep.dir={folder}"], cwd=ROOT) for folder in folders]
    assert [process.wait(timeout=240) for process in both] == [0, 0]
    first, second = map(race_of, folders)
    assert first["verdict"] == second["verdict"]
    assert set(keys_of(folders[0]).values()) == {1}
    assert len(keys_of(folders[0])) == len(first["runs"])
    assert all(list(folder.glob("*/result.json")) for folder in folders)
