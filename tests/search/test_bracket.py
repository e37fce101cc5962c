"""sweeper=bracket: which trials it plans, and small searches through the command."""

import math
from pathlib import Path

import pytest

from kasoku import results
from kasoku.search.bracket import WHOLE, Search, pending
from kasoku.search.objective import Objective
from kasoku.search.race.runs import Dimension, Done, Planned
from kasoku.search.space import Numbers, Parameter

from .conftest import Sweep
from .test_resume import content, has_finished, running, start, wait_until

LR = Parameter("optimizer.lr", Numbers(1e-5, 1.0, log=True), "optimizer.lr")
BRACKET = ["sweeper=bracket", "search=lr", "optimizer=adamw", "sweeper.workers=2"]
SHORT = ["scheduler=linear", "target.metric=val/loss", "target.mode=min"]


def search(n_trials: int = 8, mode: str = "min", short: int = 25, low: float = 1e-5) -> Search:
    dimension = Dimension("optimizer.lr", 0.003, low, 1.0)
    shorter = {"trainer.max_steps": 5} if short < WHOLE else {}
    return Search(LR, dimension, Objective("val/loss", mode), n_trials, short, shorter)


def conducted(asked: Search, best: float, limit: float = math.inf) -> list[Planned]:
    """All runs of a search where the loss is a parabola over log lr with its bottom at `best`, or diverges."""
    runs, done = list[Planned](), dict[str, Done]()
    while left := pending(asked, done):
        assert len({run.key for run in left}) == len(left)
        for run in left:
            lr = run.values["optimizer.lr"]
            loss = math.log(lr / best) ** 2
            done[run.key] = Done(None if lr > limit else loss if asked.objective.mode == "min" else -loss, 1)
        runs += left
    return runs


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("n_trials", [4, 6, 8, 10])
@pytest.mark.parametrize("best", [0.0005, 0.003, 0.008, 0.04])
def test_the_default_and_both_sides_of_it_then_the_bottom_of_the_parabola_at_full_length(best, n_trials, mode):
    runs = conducted(search(n_trials, mode), best)
    assert [run.values["optimizer.lr"] for run in runs[:3]] == [0.003, 0.009, 0.001]
    assert all(run.steps == 25 for run in runs[:3])
    whole = [run.values["optimizer.lr"] for run in runs if run.steps == WHOLE]
    assert len(runs) <= n_trials
    assert n_trials // 3 <= len(whole)
    assert n_trials < 6 or abs(math.log(whole[0] / best)) < 0.5
    assert n_trials < 8 or min(abs(math.log(lr / best)) for lr in whole) < 0.2
    assert len(whole) < 2 or whole[1] < whole[0]  # the lower side first


def test_without_short_runs_all_are_whole():
    runs = conducted(search(short=WHOLE), 0.01)
    assert {run.steps for run in runs} == {WHOLE}
    assert runs[-1].values["optimizer.lr"] == pytest.approx(0.01, rel=0.01)


def test_what_diverges_is_censored_and_does_not_bend_the_parabola_away():
    runs = conducted(search(10), 0.01, limit=0.02)
    assert 0.004 < next(run for run in runs if run.steps == WHOLE).values["optimizer.lr"] <= 0.02
    lower = [run.values["optimizer.lr"] for run in conducted(search(10), 1e-4, limit=5e-4)]
    assert lower[:5] == pytest.approx([0.003, 0.009, 0.001, 0.001 / 3, 0.001 / 9], rel=1e-3)


def test_the_runs_are_the_same_whoever_asks_and_however_much_is_done():
    asked, done = search(), dict[str, Done]()
    for run in conducted(asked, 0.01):
        assert run.key in {other.key for other in pending(asked, done)} or run.key in done
        done[run.key] = Done(math.log(run.values["optimizer.lr"] / 0.01) ** 2, 1)
    assert pending(asked, done) == []


@pytest.mark.proof
def test_a_search_of_the_learning_rate_with_two_workers(sweep: Sweep) -> None:
    swept = sweep(*BRACKET, *SHORT)
    assert swept.code == 0, swept.out + swept.err
    assert "at most 8 trials, bracket of optimizer.lr, first with trainer.max_steps=5" in swept.err
    rows = swept.json["trials"]
    assert [row["parameters"]["optimizer.lr"] for row in rows[:3]] == [0.003, 0.009, 0.001]
    short = [row for row in rows if "trainer.max_steps" in row["parameters"]]
    assert 3 <= len(short) <= 6
    assert len(rows) <= 8
    steps = [results.read(Path(row["directory"])).steps for row in rows]
    assert steps == [5] * len(short) + [20] * (len(rows) - len(short))
    assert f"{len(rows)} of {len(rows)} trials" in swept.out
    assert set(swept.states) == {"completed"}
    assert swept.json["n_trials"] == len(rows)


@pytest.mark.proof
def test_a_schedule_that_does_not_know_the_length_has_whole_runs(sweep: Sweep) -> None:
    swept = sweep(*BRACKET, "scheduler=constant", "sweeper.n_trials=4", "sweeper.metric=val/loss", "sweeper.mode=min")
    assert swept.code == 0, swept.out + swept.err
    assert "all whole runs" in swept.err
    assert {results.read(Path(row["directory"])).steps for row in swept.json["trials"]} == {20}


@pytest.mark.proof
def test_a_killed_search_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    directory = tmp_path / "sweep"
    process = start(directory, *BRACKET, *SHORT)
    wait_until(lambda: has_finished(directory, 2) and len(running(directory)) >= 1)
    process.kill()
    process.wait()
    wait_until(lambda: not running(directory), 10)
    swept = sweep(f"resume={directory}", tiny=False)
    assert swept.code == 0, swept.out + swept.err
    ended = [row["parameters"] for row in content(directory)["trials"] if row["state"] == "completed"]
    assert len({str(row) for row in ended}) == len(ended) <= 8
    assert {row["optimizer.lr"] for row in ended if "trainer.max_steps" in row} >= {0.003, 0.009, 0.001}
    assert any("trainer.max_steps" not in row for row in ended)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["search=lr_wd"], ["one number on a log scale", "optimizer.lr optimizer.weight_decay", "search=lr alone"]),
        (["search=recipe"], ["one number on a log scale"]),
        (["search=none", "optimizer.lr=interval(0.001,0.1)"], ["one number on a log scale"]),
        (["optimizer=sgd,adamw"], ["one number on a log scale"]),
        (["optimizer.search.lr='tag(log,interval(0.01,0.1))'"], ["optimizer.lr=0.003", "0.01 to 0.1", "widen"]),
        (["sweeper.n_trials=3"], ["sweeper.n_trials=3: must be >= 4"]),
        (["sweeper.pruner=asha"], ["sweeper.pruner=asha: must be none"]),
        (["sweeper.short=0"], ["sweeper.short=0"]),
        (["sweeper.metric=time_to_target", "target.value=0.5"], ["sweeper.metric=time_to_target", "sweeper=race"]),
        (["sweeper.metric=[val/loss,steps]"], ["sweeper=bracket takes one"]),
        (["warmup=linear", "warmup.length=10"], ["warmup.length", "sweeper.short=0.25; 1 has none"]),
    ],
)  # fmt: skip
def test_what_it_cannot_search_is_said_before_the_first_trial(sweep: Sweep, lines, words) -> None:
    given = [line for line in [*BRACKET, *SHORT] if line.split("=")[0] not in {one.split("=")[0] for one in lines}]
    swept = sweep(*given, *lines)
    assert swept.code == 2, swept.out + swept.err
    assert [word for word in words if word not in swept.err] == [], swept.err
    assert not swept.directory.exists()
