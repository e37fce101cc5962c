"""Several races together: AlgoPerf's score and performance profile of the strategies that took part in all of them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kasoku.report.profile import WORST, profile, score
from kasoku.report.studies import Study

WITHIN = (1.0, 1.25, 1.5, 2.0, WORST)  # ratios to the soonest at which the profile is shown


@dataclass(frozen=True)
class Field:
    """The strategies that all of some races have.

    times: for each race, each strategy's median steps over its fresh seeds; infinite where half of them missed, or
        where no trial of it could be trained.
    said: who or what was left out, and why.
    """

    times: Mapping[str, Mapping[str, float]]
    said: Sequence[str]


def field(studies: Sequence[Study]) -> Field | None:
    """The field of those of `studies` that are races; None where they are fewer than two."""
    races = {str(study.directory): study.race for study in studies if study.race}
    if len(races) < 2:
        return None
    said = [f"{name} is left out: it has no verdict" for name, race in races.items() if not race.get("verdict")]
    races = {name: race for name, race in races.items() if race.get("verdict")}
    names = list(dict.fromkeys(name for race in races.values() for name in race["strategies"]))
    kept = []
    for name in names:
        found = [race["strategies"].get(name) for race in races.values()]
        if not all(found):
            said.append(f"{name} is left out: it is not in every race")
        elif any(one["overrides"] != found[0]["overrides"] for one in found):
            said.append(f"{name} is left out: it has other overrides in other races")
        else:
            kept.append(name)
    if len(races) < 2 or len(kept) < 2:
        said.append("no score over races: two races must have two strategies in common")
        return Field({}, said)
    return Field({race: {name: _median(node, name) for name in kept} for race, node in races.items()}, said)


def _median(race: Mapping[str, Any], name: str) -> float:
    times = [math.inf if time is None else time for time in race["strategies"][name]["times"]]
    return statistics.median(times) if times else math.inf


def table(times: Mapping[str, Mapping[str, float]]) -> Table:
    """A row a strategy, the highest score first: its score, and in what share of the races it was within a ratio."""
    scores, shares = score(times), profile(times, WITHIN)
    heads = ["the soonest" if ratio == 1 else f"within {ratio:g} times" for ratio in WITHIN]
    told = f"{len(times)} races, steps to the target; the score is AlgoPerf's, its profile from 1 to {WORST:g} times"
    shown = Table("strategy", "score", *heads, title=told, title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name in sorted(scores, key=lambda one: -scores[one]):
        shown.add_row(name, f"{scores[name]:.3f}", *(f"{share:.2f}" for share in shares[name]))
    return shown
