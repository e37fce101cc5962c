"""The outcome of a race: race.json and its sentences. Plain data out of the plan."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kasoku.files import write_text
from kasoku.report.verdict import Comparison, verdicts
from kasoku.results import finite
from kasoku.search.race.plan import Contest, Plan
from kasoku.search.race.runs import Done, Planned

FILE = "race.json"


@dataclass(frozen=True)
class Standing:
    """A strategy's times in the verdict, in steps, and what they rest on."""

    name: str
    contests: Sequence[Contest]

    @property
    def has_failed(self) -> bool:
        return any(contest.has_failed for contest in self.contests)

    @property
    def times(self) -> list[float]:
        """A time for each seed; with several studies the median of each, since one study's seeds share their tuning."""
        each = [[contest.time(done) for done in contest.confirmed] for contest in self.contests]
        return each[0] if len(each) == 1 else [statistics.median(times) for times in each]

    @property
    def seconds_per_step(self) -> float:
        """The median over the runs of confirmation, which took turns with those of the other strategies."""
        rates = [d.seconds / d.steps for contest in self.contests for d in contest.confirmed if d.steps]
        return statistics.median(rates) if rates else math.nan

    @property
    def spent(self) -> int:
        """Steps of tuning."""
        return sum(contest.work.spent for contest in self.contests)

    @property
    def reason(self) -> str:
        """The reason for which the last trial of its tuning failed."""
        return next((done.reason for c in self.contests for _, done in reversed(c.work.made) if done.reason), "")


def standings(race: Plan) -> dict[str, Standing]:
    return {s.name: Standing(s.name, race.contest_of(s.name)) for s in race.strategies}


def judged(race: Plan) -> list[dict[str, Any]]:
    """The verdict on each challenger, once the race is over: in steps, and in seconds of training."""
    if race.stopped or not race.is_over:
        return []
    all_of_them = standings(race)
    base = all_of_them.pop(race.rules.baseline)
    fit = {name: one for name, one in all_of_them.items() if not one.has_failed}
    steps = verdicts(base.times, _times(fit), cap=race.cap) if fit and not base.has_failed else {}
    is_timed = all(one.seconds_per_step > 0 for one in (base, *fit.values()))
    seconds = verdicts(_in_seconds(base), {n: _in_seconds(o) for n, o in fit.items()}) if steps and is_timed else {}
    return [_entry(one, base, steps.get(name), seconds.get(name)) for name, one in all_of_them.items()]


def _times(fit: Mapping[str, Standing]) -> dict[str, list[float]]:
    return {name: one.times for name, one in fit.items()}


def _in_seconds(one: Standing) -> list[float]:
    return [time * one.seconds_per_step for time in one.times]


def _entry(one: Standing, base: Standing, steps: Comparison | None, seconds: Comparison | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"strategy": one.name, "baseline": base.name}
    if steps is None:
        which = base if base.has_failed else one
        said = f"not compared: every trial of {which.name} failed or diverged ({which.reason})"
        nothing = {"ratio": None, "low": None, "high": None, "hits": 0, "n": 0, "p": None}
        lost = {**nothing, "ratio": 0.0, "low": 0.0, "high": 0.0} if one.has_failed and not base.has_failed else nothing
        return entry | lost | {"sentence": said}
    return entry | {
        **_figures(steps),
        "hits": steps.hits,
        "n": steps.n,
        "p": steps.p,
        "p_adjusted": steps.p_adjusted,
        "p_sooner": steps.p_sooner,
        "sentence": steps.sentence,
        "seconds": {**_figures(seconds), "sentence": seconds.sentence} if seconds else None,
        "payback": payback(one, base),
    }


def _figures(found: Comparison) -> dict[str, float]:
    return {"ratio": found.ratio, "low": found.low, "high": found.high}


def payback(one: Standing, base: Standing) -> float | None:
    """Trainings after which the steps that the strategy saves have paid for its tuning; None where it saves none."""
    saved = statistics.median(base.times) - statistics.median(one.times)
    return one.spent / saved if 0 < saved < math.inf else None


def content(race: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """race.json: the plan, the settings, every run, the verdict. A number that is not finite is null."""
    rules = asdict(race.rules) | {"cap": race.cap}
    return finite(
        {
            "settings": {**settings, "rules": rules},
            "strategies": {name: _strategy(one) for name, one in standings(race).items()},
            "runs": [_run(planned, found, contest) for contest in race.contests for planned, found in _all(contest)],
            "pending": [asdict(planned) for planned in race.pending],
            "stopped": race.stopped or None,
            "verdict": judged(race),
        }
    )


def _all(contest: Contest) -> list[tuple[Planned, Done]]:
    confirmed = [(planned, found) for attempt in contest.attempts for planned, found in attempt if found]
    return [*contest.work.made, *confirmed]


def _run(planned: Planned, found: Done, contest: Contest) -> dict[str, Any]:
    time = contest.time(found) if planned.phase == "confirmation" else None
    return {**asdict(planned), **asdict(found), "reached": contest.work.reached(found), "time": time}


def _strategy(one: Standing) -> dict[str, Any]:
    tuned = [asdict(contest.tuned) if contest.tuned else None for contest in one.contests]
    times = [time for time in one.times if time] if all(c.confirmed for c in one.contests) and one.contests else []
    return {
        "overrides": list(one.contests[0].strategy.overrides) if one.contests else [],
        "decays": one.contests[0].strategy.decays if one.contests else None,
        "tuned": tuned,
        "lengths": [[attempt[0][0].steps for attempt in contest.attempts] for contest in one.contests],
        "tuning_steps": one.spent,
        "times": times,
        "seconds_per_step": one.seconds_per_step,
    }


def lines(race: Plan) -> list[str]:
    """The end of a race in words."""
    if race.stopped:
        return [f"the race stops: {race.stopped}"]
    found = [text for one in standings(race).values() for text in _settled(one, race)]
    goal = f"{race.rules.target.metric} {race.rules.goal:g}"
    head = f"steps to {goal}, given these settings, a cap of {race.cap} steps and {race.rules.seeds} fresh seeds each:"
    verdict = [text for entry in judged(race) for text in _verdict(entry)]
    return [*found, head, *verdict]


def _settled(one: Standing, race: Plan) -> list[str]:
    if one.has_failed:
        return [f"{one.name}: every trial of its tuning failed or diverged: {one.reason}"]
    texts = []
    for contest in one.contests:
        tuned, confirmed = contest.tuned, contest.confirmed
        if tuned is None or not confirmed:
            continue
        texts += [
            f"{one.name}: at {a[0][0].steps} steps only {_hits(contest, a)} of {len(a)} seeds reached it, so once more "
            "with fresh seeds, longer"
            for a in contest.attempts[:-1]
        ]
        values = " ".join(f"{key}={value:g}" for key, value in tuned.values.items())
        length, there = (f" trainer.max_steps={contest.steps}", " there") if contest.strategy.decays else ("", "")
        median = statistics.median(map(contest.time, confirmed))
        texts.append(
            f"{one.name}: {values}{length}, {_hits(contest, contest.attempts[-1])} of {len(confirmed)} seeds reached "
            f"it{there}, median {_steps(median)}; tuned in {len(contest.work.made)} runs, {contest.work.spent} steps"
        )
        texts += [f"{one.name}: {warning}" for warning in tuned.warnings]
    return texts


def _hits(contest: Contest, attempt: Sequence[tuple[Planned, Done | None]]) -> int:
    return sum(bool(done and contest.work.reached(done)) for _, done in attempt)


def _steps(time: float) -> str:
    return f"{time:.0f} steps" if math.isfinite(time) else "never"


def _verdict(entry: Mapping[str, Any]) -> list[str]:
    text = f"  {entry['strategy']} v {entry['baseline']}: {entry['sentence']}"
    if entry.get("seconds"):
        text += f"; in seconds of training {entry['seconds']['sentence']}"
    if entry.get("payback") and entry["low"] > 1:
        text += f"; its tuning is paid back after {math.ceil(entry['payback'])} trainings"
    return [text]


def write(directory: Path, race: Plan, settings: Mapping[str, Any]) -> None:
    write_text(directory / FILE, json.dumps(content(race, settings), indent=2) + "\n")
