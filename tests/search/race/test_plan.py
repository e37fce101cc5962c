"""The plan of a race: budgets, seeds, longer confirmations, strategies that fail, targets that nobody reaches."""

import itertools
import math
import random

import pytest

from kasoku.results import Target
from kasoku.search.race import outcome
from kasoku.search.race.plan import Contest, plan
from kasoku.search.race.runs import Done, Planned, Rules, Strategy, Tuned
from kasoku.search.race.tuning import likelier, together
from kasoku.search.race.work import Work

from .synthetic import GOAL, Truth, luck, race, strategy

FAIR = Truth(400)
TRUTHS = {"a": FAIR, "b": Truth(200, best=0.01), "c": Truth(300, decays=False)}


def test_no_strategy_spends_more_than_the_budget_and_confirmation_has_seeds_of_its_own():
    now, _ = race(TRUTHS, tuning=6)
    assert all(0.8 * 6000 <= contest.work.spent <= 6000 for contest in now.contests if contest.strategy.decays)
    assert all(contest.work.spent <= 6000 for contest in now.contests)
    tuning = {run.seed for contest in now.contests for run, _ in contest.work.made}
    confirming = {run.seed for contest in now.contests for attempt in contest.attempts for run, _ in attempt}
    assert not tuning & confirming
    for contest in now.contests:
        seeds = [run.seed for attempt in contest.attempts for run, _ in attempt]
        assert len(set(seeds)) == len(seeds)


def test_the_first_trial_is_the_default_at_the_whole_length():
    now, _ = race(TRUTHS)
    for contest in now.contests:
        first, _ = contest.work.made[0]
        assert (first.values, first.steps) == ({"optimizer.lr": 0.002}, 1000)


def test_whatever_order_the_runs_end_in_and_however_often_it_is_asked_the_plan_is_the_same():
    expected, whole = race(TRUTHS)
    draw, strategies = random.Random(1), [strategy(name, truth) for name, truth in TRUTHS.items()]
    rules, done = expected.rules, dict[str, Done]()
    while (now := plan(strategies, rules, done)).pending:
        run = draw.choice(now.pending)
        assert [other.key for other in plan(strategies, rules, dict(reversed(done.items()))).pending] == [
            other.key for other in now.pending
        ]
        done[run.key] = TRUTHS[run.strategy].run(run, run.values["optimizer.lr"], 1000, luck(0, run.key))
    assert done == whole
    assert outcome.judged(now) == outcome.judged(expected)


def test_the_seeds_of_the_confirmation_take_turns_among_the_strategies():
    _, whole = race(TRUTHS)
    strategies = [strategy(name, truth) for name, truth in TRUTHS.items()]
    tuned = {key: run for key, run in whole.items() if "/tuning/" in key}
    now = plan(strategies, Rules("a", Target("val/acc", GOAL), 1000), tuned)
    assert [run.strategy for run in now.pending] == list("abc") * 5
    assert all(run.phase == "confirmation" for run in now.pending)


def test_a_length_that_too_few_seeds_reach_is_lengthened_at_most_three_times():
    unlucky = {f"a/0/confirmation/{attempt}/{turn}": -1 for attempt in range(4) for turn in range(5)}
    strategies, rules = [strategy("a", FAIR), strategy("b", FAIR)], Rules("a", Target("val/acc", GOAL), 2000)
    done: dict[str, Done] = {}
    while (now := plan(strategies, rules, done)).pending:
        for run in now.pending:
            found = FAIR.run(run, run.values["optimizer.lr"], 2000, luck(0, run.key))
            done[run.key] = Done(0.5, found.steps) if run.key in unlucky else found
    lengths = [attempt[0][0].steps for attempt in now.contests[0].attempts]
    assert len(lengths) == 4
    assert all(second == math.ceil(1.25 * first) for first, second in itertools.pairwise(lengths))
    assert now.contests[0].confirmed == [done[f"a/0/confirmation/3/{turn}"] for turn in range(5)]
    [entry] = outcome.judged(now)
    assert (entry["ratio"], entry["low"] > 1, entry["sentence"][:8]) == (math.inf, True, "at least")
    assert sum("once more" in line for line in outcome.lines(now)) >= 3


def test_a_strategy_whose_every_trial_diverges_loses_and_the_race_goes_on():
    now, done = race({"a": FAIR, "b": Truth(400, limit=0.0), "c": FAIR})
    entry = outcome.judged(now)[0]
    assert (entry["strategy"], entry["ratio"], entry["n"]) == ("b", 0.0, 0)
    assert "every trial of b failed or diverged" in entry["sentence"]
    assert outcome.judged(now)[1]["n"] == 5
    assert not any(key.startswith("b/0/confirmation") for key in done)
    assert 4 < len([key for key in done if key.startswith("b/")]) < 12  # at lower rates too, but not on and on


def test_without_its_baseline_a_race_has_no_ratio():
    now, _ = race({"a": Truth(400, limit=0.0), "b": FAIR})
    [entry] = outcome.judged(now)
    assert (entry["ratio"], entry["low"]) == (None, None)
    assert "every trial of a failed" in entry["sentence"]


def test_a_target_that_nobody_reaches_stops_the_race_after_its_first_round():
    now, done = race({"a": Truth(30_000), "b": Truth(20_000)})
    assert "no strategy reaches the target val/acc 0.9 within the cap of 1000 steps" in now.stopped
    assert "(b)" in now.stopped
    assert sum(run.steps for run in done.values()) < 2 * 5 * 1000
    assert outcome.judged(now) == []
    assert all("confirmation" not in key for key in done)


@pytest.mark.parametrize("decays", [True, False])
def test_a_budget_without_a_run_at_the_cap_does_not_make_a_target_unreachable(decays):
    far = Truth(400, best=0.1, decays=decays)  # the default misses, and what short runs find was not run at the cap
    now, _ = race({"a": far, "b": far}, tuning=2)
    assert now.stopped == ""
    assert [entry["hits"] for entry in outcome.judged(now)] == [5]
    never = Truth(30_000, best=0.1, decays=decays)
    now, done = race({"a": never, "b": never}, tuning=2)
    assert (
        "no strategy reaches the target val/acc 0.9 within the cap of 1000 steps: the best came to 0.7" in now.stopped
    )
    assert sum("confirmation" in key for key in done) <= 10


def test_a_strategy_that_misses_at_the_cap_is_confirmed_there_and_loses():
    now, _ = race({"a": FAIR, "b": Truth(30_000)})
    [entry] = outcome.judged(now)
    assert (entry["hits"], entry["n"], entry["low"]) == (0, 5, 0.0)
    assert "later" in entry["sentence"]


def test_a_rate_that_short_runs_found_and_misses_at_the_cap_gives_way_to_one_that_hits_there():
    misled = Truth(700, best=0.004, bend=0.5, drift=1.0, sd=0.02)  # runs of 250 steps like a rate of 0.001 best
    assert misled.needed(0.001, 0) > 1000 > misled.needed(0.002, 0)
    now, _ = race({"a": misled, "b": FAIR})
    contest, _ = now.contests
    assert [run.steps for run, _ in contest.work.made[:4]] == [1000, 250, 250, 250]
    assert contest.tuned is not None
    assert 0.002 <= contest.tuned.values["optimizer.lr"] <= 0.008
    assert all(map(contest.work.reached, contest.confirmed))
    assert contest.work.spent <= 8 * 1000


def test_without_the_budget_for_the_cap_a_default_that_did_better_there_stays():
    """The lengths and losses are those of AdamW on a text: short runs like a lower rate."""
    [dimension] = strategy("a", FAIR).dimensions
    key = dimension.key
    work = Work(strategy("a", FAIR), Rules("a", Target("val/loss", 2.1, "min"), 500, tuning=3), 500)
    found = [(0.003, 500, 2.2424), (0.001436, 142, 2.5604), (0.001436, 284, 2.4677)]
    work.made = [(work.planned(i, {key: lr}, steps), Done(loss, steps)) for i, (lr, steps, loss) in enumerate(found)]
    points = [(steps, done) for (_, steps, _), (_, done) in zip(found[1:], work.made[1:], strict=True)]
    assert likelier(work, {key: 0.001436}, points) == {key: 0.003}  # 2.39 is what their line comes to at 500 steps
    better = [points[0], (284, Done(2.35, 284))]  # and here 2.18
    assert likelier(work, {key: 0.001436}, better) == {key: 0.001436}


@pytest.mark.parametrize(
    ("cap", "tuning", "short"),
    [
        (1000, 8, 250),  # a quarter of the cap
        (400, 1.2, 10),  # its default is run, 80 steps are left, and half of them would make runs of 5
        (24, 8, 6),  # a quarter again: the cap has no ten
    ],
)
def test_the_runs_that_compare_settings_have_ten_steps_where_the_cap_has_them(cap, tuning, short):
    now, _ = race({"a": Truth(cap // 2), "b": Truth(cap // 2)}, cap=cap, tuning=tuning)
    lengths = [run.steps for run, _ in now.contests[0].work.made]
    assert lengths[:2] == [cap, short]


def test_a_run_that_went_astray_does_not_flatten_the_surface():
    """The lengths and losses are those of a race on the digits, where 1.387 is of a rate that was too high."""
    [dimension] = strategy("a", FAIR).dimensions
    work = Work(strategy("a", FAIR), Rules("a", Target("val/loss", 0.17, "min"), 240), 240)
    found = [(0.15, 60, 0.1476), (0.45, 60, 0.1060), (0.2656, 60, 0.1119), (0.2555, 60, 0.1113), (0.2555, 30, 0.1807)]
    found += [(0.2555, 34, 0.1565), (0.2555, 35, 0.1553), (0.2555, 34, 0.1633)]
    found += [(0.3406, 31, 0.16), (0.6812, 31, 0.3575), (0.1703, 31, 0.1871), (1.0, 60, 1.3872)]
    made = [(work.planned(0, {dimension.key: lr}, steps), Done(loss, steps)) for lr, steps, loss in found]
    now = Tuned({dimension.key: 0.3406}, 31)
    told = together(work, now, made[:-1])
    assert told is not None
    assert 27 <= told.steps <= 45
    assert together(work, now, made) is None


def test_a_length_that_the_budget_could_not_narrow_is_said():
    now, _ = race({"a": Truth(20), "b": Truth(200)}, tuning=1)
    [contest, _] = now.contests
    assert all(map(contest.work.reached, (done for _, done in contest.work.made)))
    assert any("a: no run shorter than 1000 steps" in line and "race.tuning=1" in line for line in outcome.lines(now))
    now, _ = race({"a": Truth(20), "b": Truth(200)})
    assert not any("no run shorter" in line for line in outcome.lines(now))


def test_the_time_of_seeds_far_beyond_the_target_is_that_of_their_slope():
    """All hit at a length that nothing shorter was tried of with these settings, but one run with about these."""
    [dimension] = strategy("a", FAIR).dimensions
    work = Work(strategy("a", FAIR), Rules("a", Target("val/loss", 0.45, "min"), 400), 400)
    work.made = [(work.planned(0, {dimension.key: 0.081}, 100), Done(0.24, 100))]
    contest = Contest(work.strategy, work, Tuned({dimension.key: 0.087}, 200), True)
    runs = [(work.planned(turn, {dimension.key: 0.087}, 200), Done(0.14, 200)) for turn in range(1, 6)]
    contest.attempts = [list(runs)]
    assert contest.time(runs[0][1]) == 200
    contest.learn_slope()
    assert contest.tuned is not None
    assert contest.tuned.slope == pytest.approx(0.1 / math.log(2))
    assert contest.time(runs[0][1]) == pytest.approx(
        100
    )  # 200 exp(-0.31 / slope) is 23, and 100 the least that was run
    assert contest.time(Done(0.4, 200)) == pytest.approx(200 * math.exp(-0.05 / contest.tuned.slope))


def test_a_target_that_is_met_at_once_stops_the_race():
    rules, strategies = Rules("a", Target("val/acc", GOAL), 100), [strategy("a", FAIR), strategy("b", FAIR)]
    first = plan(strategies, rules, {}).pending[0]
    assert "before the first step" in plan(strategies, rules, {first.key: Done(0.95, 100, 0.0)}).stopped


def test_without_a_cap_the_first_run_of_the_baseline_shows_it():
    rules, strategies = Rules("b", Target("val/acc", GOAL)), [strategy("a", FAIR), strategy("b", FAIR)]
    [first] = plan(strategies, rules, {}).pending
    assert (first.strategy, first.steps) == ("b", None)
    failed = plan(strategies, rules, {first.key: Done(None, 3, reason="diverged")})
    assert [run.strategy for run in failed.pending] == ["a"]
    now = plan(strategies, rules, {first.key: Done(0.7, 190)})
    assert now.cap == 190
    assert all(run.steps and run.steps <= 190 for run in now.pending)


@pytest.mark.parametrize("studies", [1, 4])
def test_every_study_tunes_anew_and_gives_its_median(studies):
    now, _ = race({"a": FAIR, "b": FAIR}, studies=studies)
    tuned = {contest.tuned.values["optimizer.lr"] for contest in now.contest_of("a")}
    assert len(tuned) == studies
    assert len(outcome.standings(now)["a"].times) == (5 if studies == 1 else 4)


def test_a_tuned_value_near_the_border_of_its_range_is_said():
    dimension = strategy("a", FAIR).dimensions[0]
    assert dimension.border_near(0.8) == 1.0
    assert dimension.border_near(1.2e-5) == 1e-5
    assert dimension.border_near(0.01) is None
    now, _ = race({"a": Truth(200, best=5.0), "b": FAIR})
    assert any("a: optimizer.lr=" in line and "lies at the border 1 " in line for line in outcome.lines(now))


def test_race_json_is_json_with_every_run():
    now, done = race({"a": FAIR, "b": Truth(30_000)})
    content = outcome.content(now, {})
    assert {run["key"] for run in content["runs"]} == set(done)
    assert "inf" not in repr(content).lower().replace("'inf", "")
    assert isinstance(now.strategies[0], Strategy)
    assert isinstance(now.contests[0].work.made[0][0], Planned)
