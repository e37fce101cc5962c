"""The plan of a race: out of the runs that have ended, those to start next. Pure, so that all who share a study agree.

A race first finds its cap where none was given, then tunes each strategy within the same budget of steps, then confirms
all of them with seeds that tuning never used. The seeds take turns among the strategies, so that a machine that slows
down does so for all.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kasoku.search.race.runs import Done, Planned, Rules, Strategy, Tuned
from kasoku.search.race.tuning import on_line_about, together, tuned
from kasoku.search.race.work import Work

ATTEMPTS = 4  # the confirmation, and at most three longer ones
ENOUGH, LONGER = 0.8, 1.25  # share of seeds that must hit for a length to stand, and what it is multiplied by else
CONFIRMING = 500_000  # confirmation's seeds begin so far after those of tuning

Results = Mapping[str, Done]


@dataclass
class Contest:
    """One strategy in one study: its tuning, and its runs of confirmation, a list for each attempt."""

    strategy: Strategy
    work: Work
    tuned: Tuned | None = None
    is_tuned: bool = False
    attempts: list[list[tuple[Planned, Done | None]]] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        return self.is_tuned and self.tuned is None

    @property
    def steps(self) -> int:
        """The length of the last attempt."""
        return self.attempts[-1][0][0].steps or self.work.cap if self.attempts else self.work.cap

    @property
    def confirmed(self) -> list[Done]:
        """The runs of the last attempt that have ended."""
        return [done for _, done in self.attempts[-1] if done] if self.attempts else []

    def learn_slope(self) -> None:
        """Take the slope at the confirmed length from all runs that there are, those of the confirmation included."""
        confirmed = [(run, done) for attempt in self.attempts for run, done in attempt if done]
        if self.tuned and self.strategy.decays:
            now = replace(self.tuned, steps=self.steps)
            made = [*self.work.made, *confirmed]
            if found := together(self.work, now, made) or on_line_about(self.work, now, made):
                self.tuned = replace(found, values=now.values, steps=now.steps, warnings=now.warnings)

    def time(self, done: Done) -> float:
        """Steps that the run needed for the target, infinite for a miss.

        Where the schedule decays, a run of T steps that ended e beyond the target would have just reached it in
        T exp(-e / slope) steps; slope is what the final metric gains with the log of the length. The lengths of two
        strategies are tuned with some error, which this takes out of their comparison, as modded-nanogpt's track 3
        does with (loss + steps x slope). It goes no further than to lengths that the slope was seen at: a run that
        would have needed a longer one, or more than the cap, is a miss.
        """
        if not self.strategy.decays or done.final is None or self.tuned is None:
            return done.crossing
        if not self.tuned.slope:
            return float(done.steps) if self.work.reached(done) else math.inf
        needed = done.steps * math.exp(-self.work.rules.excess(done.final) / self.tuned.slope)
        shortest, longest = min(self.tuned.shortest, done.steps), max(self.tuned.longest, done.steps)
        return max(needed, shortest) if needed <= min(longest, self.work.cap) else math.inf


@dataclass
class Plan:
    """A race as far as its runs have come: the `pending` ones, in their order, or why it was `stopped`."""

    strategies: Sequence[Strategy]
    rules: Rules
    cap: int | None = None
    contests: list[Contest] = field(default_factory=list)
    pending: list[Planned] = field(default_factory=list)
    stopped: str = ""

    @property
    def is_over(self) -> bool:
        return not self.pending

    def contest_of(self, name: str) -> list[Contest]:
        return [contest for contest in self.contests if contest.strategy.name == name]

    @property
    def steps_left(self) -> float:
        """The most steps that the race may still take, but for confirmations that must be longer."""
        budget = self.rules.tuning * (self.cap or 0)
        tuning = sum(max(0.0, budget - c.work.spent) for c in self.contests if not c.is_tuned)
        confirming = sum((self.rules.seeds - len(c.confirmed)) * c.steps for c in self.contests if not c.has_failed)
        return tuning + confirming


def plan(strategies: Sequence[Strategy], rules: Rules, done: Results) -> Plan:
    """The race of `strategies` after the runs `done`."""
    race = Plan(strategies, rules, rules.cap)
    probe = _probe(race, done)
    if race.pending or race.stopped:
        return race
    for study in range(rules.studies):
        race.contests += [Contest(s, Work(s, rules, race.cap or 1, study)) for s in strategies]
    if probe is not None:
        race.contests[strategies.index(probe)].work.made = [_first(probe, race, done)]
    waiting = [(contest, _replay(contest, done)) for contest in race.contests]
    race.stopped = _met_at_once(race, done) or _unreachable(race, done)
    if race.stopped:
        return race
    has_hit = any(contest.work.hit for contest in race.contests)
    race.pending = [run for contest, runs in waiting if has_hit or not contest.work.missed for run in runs]
    if not race.pending:
        _confirm(race, done)
    return race


def _probe(race: Plan, done: Results) -> Strategy | None:
    """The strategy whose first run shows the cap: the baseline, or the first after it that did not fail."""
    if race.cap is not None:
        return None
    ordered = sorted(race.strategies, key=lambda strategy: strategy.name != race.rules.baseline)
    for strategy in ordered:
        first = Work(strategy, race.rules, 1).planned(0, strategy.defaults, None)
        if first.key not in done:
            race.pending = [first]
            return None
        if done[first.key].final is not None:
            race.cap = max(1, done[first.key].steps)
            return strategy
    reasons = {f"{s.name}: {done[Work(s, race.rules, 1).planned(0, {}, None).key].reason}" for s in ordered}
    race.stopped = f"no strategy can be trained; {'; '.join(sorted(reasons))}"
    return None


def _first(strategy: Strategy, race: Plan, done: Results) -> tuple[Planned, Done]:
    planned = Work(strategy, race.rules, 1).planned(0, strategy.defaults, None)
    return planned, done[planned.key]


def _replay(contest: Contest, done: Results) -> list[Planned]:
    """Go through the tuning with what is done; the runs that it waits for."""
    steps: Generator[list[Planned], Any, Tuned | None] = tuned(contest.work)
    found: list[Done] | None = None
    while True:
        try:
            wanted = steps.send(found)
        except StopIteration as end:
            contest.tuned, contest.is_tuned = end.value, True
            return []
        if missing := [run for run in wanted if run.key not in done]:
            contest.work.missed = contest.work.missed and not contest.work.hit
            return missing
        found = [done[run.key] for run in wanted]


def _met_at_once(race: Plan, done: Results) -> str:
    """A sentence where a run met the target before its first step."""
    if not any(run.crossing == 0 for run in done.values()):
        return ""
    target = race.rules.target
    return f"the target {target.metric} {race.rules.goal:g} is met before the first step, give a harder one"


def _unreachable(race: Plan, done: Results) -> str:
    """A sentence where no strategy reached the target in a run as long as the cap."""
    if not all(_misses(contest, race.rules, done) for contest in race.contests):
        return ""
    made = [(run.final, c) for c in race.contests for run in _ended(c, race.rules, done) if run.final is not None]
    if not made:
        reasons = {f"{c.strategy.name}: {c.work.made[-1][1].reason}" for c in race.contests if c.work.made}
        return f"no strategy can be trained; {'; '.join(sorted(reasons))}"
    best, contest = max(made, key=lambda item: race.rules.excess(item[0]))
    target = race.rules.target
    return (
        f"no strategy reaches the target {target.metric} {race.rules.goal:g} within the cap of {race.cap} steps: "
        f"the best came to {best:.5g} ({contest.strategy.name}); give a larger race.cap or an easier target.value"
    )


def _misses(contest: Contest, rules: Rules, done: Results) -> bool:
    """True if nothing hit, not at the cap either: in tuning, or where its budget ended, in a first confirmation."""
    work, found = contest.work, contest.tuned
    if work.hit:
        return False
    if found is None or work.missed:
        return work.missed or contest.has_failed
    first = done.get(_confirmation(contest, rules, 0, 0, found.steps).key)
    return first is not None and found.steps >= work.cap and not work.reached(first)


def _ended(contest: Contest, rules: Rules, done: Results) -> list[Done]:
    """The runs of the tuning, and the first confirmation."""
    first = done.get(_confirmation(contest, rules, 0, 0, 1).key)
    return [run for _, run in contest.work.made] + ([first] if first else [])


def _confirm(race: Plan, done: Results) -> None:
    """Fill in the confirmations, and what of them is pending: the first seed of each strategy, then the second, ..."""
    lanes = [_attempts(contest, race.rules, done) for contest in race.contests if contest.tuned]
    longest = max((len(lane) for lane in lanes), default=0)
    race.pending = [lane[turn] for turn in range(longest) for lane in lanes if turn < len(lane)]


def _attempts(contest: Contest, rules: Rules, done: Results) -> list[Planned]:
    """The pending runs of the attempt that the contest is at."""
    steps = contest.tuned.steps if contest.tuned else 1
    for attempt in range(ATTEMPTS):
        runs = [_confirmation(contest, rules, attempt, turn, steps) for turn in range(rules.seeds)]
        contest.attempts.append([(run, done.get(run.key)) for run in runs])
        if pending := [run for run in runs if run.key not in done]:
            return pending
        hits = sum(contest.work.reached(done[run.key]) for run in runs)
        if not contest.strategy.decays or hits >= ENOUGH * rules.seeds or steps >= contest.work.cap:
            break
        steps = min(contest.work.cap, math.ceil(LONGER * steps))
    contest.learn_slope()
    return []


def _confirmation(contest: Contest, rules: Rules, attempt: int, turn: int, steps: int) -> Planned:
    name, study = contest.strategy.name, contest.work.study
    key = f"{name}/{study}/confirmation/{attempt}/{turn}"
    seed = (rules.seed + CONFIRMING + 10_000 * study + 1000 * attempt + turn) % 2**32
    values = contest.tuned.values if contest.tuned else {}
    return Planned(key, name, "confirmation", values, steps, seed)
