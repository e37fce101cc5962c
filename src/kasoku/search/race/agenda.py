"""The agenda of a race: the tickets of its study are the runs of its plan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, Trial

from kasoku.search.agenda import END, OPEN, TICKET, Draft, Ticket, is_second
from kasoku.search.objective import Objective
from kasoku.search.race.plan import Plan, plan
from kasoku.search.race.runs import Done, Planned
from kasoku.search.race.strategies import Entries

STEPS, SECONDS = "time_to_target.steps", "train_seconds"
MEASURES = (Objective(STEPS, "min"), Objective(SECONDS, "min"))
RUN = "run"


@dataclass
class RaceAgenda:
    """The race of `entries`. The study's trials are its runs, each by its key."""

    entries: Entries
    _planned: dict[tuple[str, ...], Plan] = field(default_factory=dict)  # the latest plan, by the runs it knew

    def plan(self, trials: Sequence[FrozenTrial]) -> Plan:
        """The plan after those of `trials` that have ended."""
        done = {t.user_attrs[TICKET]: _done(t) for t in trials if t.state not in OPEN and TICKET in t.user_attrs}
        known = tuple(done)
        if known not in self._planned:
            self._planned.clear()
            self._planned[known] = plan(self.entries.strategies, self.entries.rules, done)
        return self._planned[known]

    @property
    def n_trials(self) -> int:
        """The runs that are known of so far."""
        return max((len(known) + len(now.pending) for known, now in self._planned.items()), default=0)

    def is_complete(self, trials: Sequence[FrozenTrial]) -> bool:
        return self.plan(trials).is_over

    def missing(self, trials: Sequence[FrozenTrial]) -> list[Ticket]:
        there = {trial.user_attrs.get(TICKET) for trial in trials}
        return [
            Ticket({}, {TICKET: run.key, RUN: self._attrs(run)})
            for run in self.plan(trials).pending
            if run.key not in there
        ]

    def is_surplus(self, trial: Trial, trials: Sequence[FrozenTrial]) -> bool:
        return is_second(trial, trials)

    def draft(self, trial: Trial) -> Draft:
        run = trial.user_attrs[RUN]
        return Draft(tuple(run["overrides"]), run["parameters"])

    def _attrs(self, run: Planned) -> dict[str, Any]:
        shown = {"strategy": run.strategy, "phase": run.phase, **run.values}
        shown |= {"trainer.max_steps": run.steps} if run.steps else {}
        return {"overrides": self.overrides(run), "parameters": shown}

    def overrides(self, run: Planned) -> list[str]:
        """The overrides of a run, after those of the command.

        Where the schedule decays, the end is the one moment that counts, and the only evaluation. Of all first runs the
        model is evaluated before the first step too, so that a target that is met there shows.
        """
        strategy = next(one for one in self.entries.strategies if one.name == run.strategy)
        lines = [*strategy.overrides, *(f"{key}={value!r}" for key, value in run.values.items()), f"seed={run.seed}"]
        whole = not strategy.decays or run.key.endswith("/tuning/0")
        lines += [f"trainer.num_sanity_val_steps={-1 if whole else 0}", "trainer.limit_test_batches=0"]
        if run.steps is None:
            return [*lines, "target.stop=false"]
        evaluations = 1 if strategy.decays else self.entries.evaluations
        every = max(1, run.steps // evaluations) * self.entries.batches[run.strategy]
        return [
            *lines,
            f"target.stop={str(not strategy.decays).lower()}",
            f"trainer.max_steps={run.steps}",
            "trainer.max_epochs=-1",
            "trainer.check_val_every_n_epoch=null",
            f"trainer.val_check_interval={every}",
        ]


def _done(trial: FrozenTrial) -> Done:
    end = trial.user_attrs.get(END, {})
    value = (end.get("values") or [None])[0]
    measures, well = end.get("measures") or {}, end.get("state") in ("completed", "reached_target")
    final = value if well and value is not None and math.isfinite(value) else None
    crossing, seconds = measures.get(STEPS), measures.get(SECONDS)
    reason = f"{end.get('state', '')}: {end.get('reason', '')}".strip(": ")
    return Done(final, end.get("steps", 0), math.inf if crossing is None else crossing, seconds or 0.0, reason)
