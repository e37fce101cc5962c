"""Tuning of one strategy within its budget: first what it is tuned by, then the length of its runs.

Each function is a generator that yields runs and is sent what came of them, so that the same study gives the same next
runs to whoever asks. Short runs are full schedules: a long one that is cut tells little of its end.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from kasoku.search.race.fits import LOCAL, NEAR, Line, Point, line, line_near, surface
from kasoku.search.race.runs import Done, Planned, Tuned
from kasoku.search.race.tuners import WIDEST, closer, search
from kasoku.search.race.work import Tried, Work

SHORT = 4  # the first runs that compare settings have this part of the cap, less where the budget is small
FEWEST = 10  # at least so many steps where the cap has them: fewer tell little, and cost their start all the same
CLOSE = math.log(1.25)  # settings so near are taken for one, where it is the length that is looked for
REPEATS = 4  # runs near the length that is looked for before its line is believed


def tuned(work: Work) -> Generator[list[Planned], Sequence[Done], Tuned | None]:
    """The settings and the length that tuning finds; None where every trial failed or diverged."""
    values, cap = work.strategy.defaults, work.cap
    if not work.made:
        yield from work.run([(values, cap)])  # its default, as a user would run it
    found = yield from (_length(work, values) if work.strategy.decays else _crossing(work, values))
    return found if any(done.final is not None for _, done in work.made) else None


def _crossing(work: Work, values: dict[str, float]) -> Generator[list[Planned], Sequence[Done], Tuned]:
    """A schedule without decay is measured at its first confirmed crossing, in runs as long as the cap.

    Where the budget does not pay for so many, its settings are looked for in shorter ones.
    """
    steps = work.cap if work.left >= WIDEST * work.cap else _short(work)
    tried: Tried = []
    for dimension in work.strategy.dimensions:
        tried = [
            (values[dimension.key], work.score(done))
            for planned, done in work.made
            if planned.values == values and (planned.steps or work.cap) == steps
        ]
        values[dimension.key] = yield from search(work, values, dimension, steps, tried)
    work.missed = steps == work.cap and not work.hit
    for dimension in reversed(work.strategy.dimensions):
        comparable = tried if steps == work.cap else []
        values[dimension.key] = yield from closer(work, values, dimension, work.cap, comparable)
        tried = []
    return Tuned(values, work.cap, warnings=_at_borders(work, values))


def _short(work: Work) -> int:
    """The length of the runs that compare settings: half of the budget is left for what follows."""
    runs = 2 * WIDEST * max(1, len(work.strategy.dimensions))
    return max(1, min(work.cap // SHORT, max(FEWEST, int(work.left) // runs)))


def _length(work: Work, values: dict[str, float]) -> Generator[list[Planned], Sequence[Done], Tuned]:
    """First the settings at a short length, then the shortest length that reaches the target, then both together."""
    short = _short(work)
    for dimension in work.strategy.dimensions:
        values[dimension.key] = yield from search(work, values, dimension, short, [])
    points = about(work, values, work.made)
    yield from shorten(work, values, points, 2 * short)
    if all(done.final is None for _, done in work.made):
        return Tuned(values, work.cap)
    if not any(work.reached(done) for _, done in points):
        values = (yield from _at_the_cap(work, values)) if work.affords(work.cap) else likelier(work, values, points)
        points = about(work, values, work.made)
        yield from shorten(work, values, points, work.cap)
    now = replace(_chosen(work, points), values=dict(values))
    now = together(work, now, work.made) or now
    while found := (yield from work.run([(near, now.steps) for near in _around(work, now.values)])):
        points += [(now.steps, found[0])]
        now = together(work, now, work.made) or replace(_chosen(work, points), values=now.values)
    return replace(now, warnings=_at_borders(work, now.values) + _not_narrowed(work, now, points))


def about(work: Work, values: Mapping[str, float], made: Sequence[tuple[Planned, Done]]) -> list[tuple[int, Done]]:
    """Those of `made` whose settings are within a quarter of `values`, as (length, what came of it)."""
    return [
        (planned.steps or work.cap, done)
        for planned, done in made
        if all(abs(math.log(planned.values[key] / value)) <= CLOSE for key, value in values.items())
    ]


def _at_the_cap(work: Work, values: dict[str, float]) -> Generator[list[Planned], Sequence[Done], dict[str, float]]:
    """The settings by runs as long as the cap, that of the default among them: what short runs found misses there."""
    ran = _of_the_cap(work)
    values = dict(max(ran, key=lambda one: work.score(one[1]))[0]) if ran else values
    for dimension in work.strategy.dimensions:
        key = dimension.key
        tried = [(v[key], work.score(done)) for v, done in ran if {**v, key: 0.0} == {**values, key: 0.0}]
        values[key] = yield from search(work, values, dimension, work.cap, tried)
    return values


def likelier(work: Work, values: dict[str, float], points: Sequence[tuple[int, Done]]) -> dict[str, float]:
    """`values`, or those of the best run at the cap if it is beyond their line; for a budget that pays for no other."""
    logs = _on_logs(work, points)
    found = line(logs) if logs else None
    longest = max(logs, default=(0.0, -math.inf))[1]
    expected = found.intercept + found.slope * math.log(work.cap) if found else longest
    ran = [(work.rules.excess(done.final), own) for own, done in _of_the_cap(work) if done.final is not None]
    best, own = max(ran, key=lambda one: one[0], default=(-math.inf, values))
    return dict(own) if best > expected else values


def _of_the_cap(work: Work) -> list[tuple[Mapping[str, float], Done]]:
    return [(planned.values, done) for planned, done in work.made if (planned.steps or work.cap) == work.cap]


def _around(work: Work, values: Mapping[str, float]) -> list[Mapping[str, float]]:
    """`values` themselves, and with each of them doubled and halved."""
    pairs = [(d, factor) for d in work.strategy.dimensions for factor in (2.0, 0.5)]
    return [values, *({**values, d.key: d.inside(values[d.key] * factor)} for d, factor in pairs)]


def together(work: Work, now: Tuned, made: Sequence[tuple[Planned, Done]]) -> Tuned | None:
    """Settings and length by the surface through those runs that lie near `now`; None where there is none.

    One that hits only at lengths far beyond all that it was fitted to is none: a run that went astray made it flat.
    """
    dimensions = work.strategy.dimensions
    points = []
    for planned, done in made:
        off = [abs(math.log(planned.values[d.key] / now.values[d.key])) for d in dimensions]
        steps = planned.steps or work.cap
        if done.final is not None and max(off, default=0) <= NEAR and abs(math.log(steps / now.steps)) <= LOCAL:
            logs = [math.log(planned.values[d.key]) for d in dimensions]
            points.append((logs, math.log(steps), work.rules.excess(done.final)))
    if (found := surface(points)) is None or found.line.where(found.line.sd) > found.line.greatest + LOCAL:
        return None
    values = {d.key: d.inside(math.exp(x)) for d, x in zip(dimensions, found.tops, strict=True)}
    return replace(_on_line(work, found.line), values=values)


def shorten(
    work: Work, values: Mapping[str, float], points: list[tuple[int, Done]], start: int
) -> Generator[list[Planned], Sequence[Done], None]:
    """Add runs to `points`, (length, what came of it), until they show the shortest length that reaches the target."""
    steps: int | None = _following(work, points) if points else min(start, work.cap)
    while steps is not None:
        found = yield from work.run([(values, steps)])
        if not found:
            return
        points.append((steps, found[0]))
        steps = _following(work, points)


def _following(work: Work, points: Sequence[tuple[int, Done]]) -> int | None:
    """The next length to try: twice or half of the last where all missed or all hit, else what the line says."""
    hits = [steps for steps, done in points if work.reached(done)]
    misses = [steps for steps, done in points if not work.reached(done)]
    if not hits:
        work.missed = max(misses) >= work.cap
        return None if work.missed else min(work.cap, 2 * max(misses))
    if not misses:
        return min(hits) // 2 or None
    steps = _chosen(work, points).steps
    near = sum(abs(math.log(other / steps)) < 0.25 for other, _ in points)
    return None if near >= REPEATS else steps


def _on_logs(work: Work, points: Sequence[tuple[int, Done]]) -> list[Point]:
    """(log of the length, how far beyond the target it ended) of those that did not fail."""
    return [(math.log(steps), work.rules.excess(done.final)) for steps, done in points if done.final is not None]


def _chosen(work: Work, points: Sequence[tuple[int, Done]]) -> Tuned:
    """The length by the line over log lengths; without one the shortest length that hit, or else the cap."""
    logs = _on_logs(work, points)
    if (found := line_near(logs) if logs else None) is None:
        return Tuned({}, min((steps for steps, done in points if work.reached(done)), default=work.cap))
    return _on_line(work, found)


def _on_line(work: Work, found: Line) -> Tuned:
    """The length at which the line is one standard deviation of seeds beyond the target, the cap at most."""
    log = min(found.where(found.sd), math.log(work.cap))
    steps = max(1, math.ceil(math.exp(max(log, found.least - LOCAL))))
    return Tuned({}, steps, found.slope, math.exp(found.least), math.exp(found.greatest))


def on_line_about(work: Work, now: Tuned, made: Sequence[tuple[Planned, Done]]) -> Tuned | None:
    """`now` with the slope of the line through the runs with about its settings; None where there is none."""
    logs = _on_logs(work, about(work, now.values, made))
    found = line(logs) if logs else None
    return None if found is None else replace(_on_line(work, found), values=now.values)


def _not_narrowed(work: Work, now: Tuned, points: Sequence[tuple[int, Done]]) -> tuple[str, ...]:
    """A sentence where the budget ended before a run missed that was shorter than those that hit."""
    if now.slope is not None or any(not work.reached(done) for _, done in points) or now.steps <= 1:
        return ()
    more = f"its time may be less, give more than race.tuning={work.rules.tuning:g}"
    return (f"no run shorter than {now.steps} steps was tried with these settings, {more}",)


def _at_borders(work: Work, values: Mapping[str, float]) -> tuple[str, ...]:
    """A sentence for each tuned value that lies at the border of its range."""
    said = (d.warning(values[d.key]) for d in work.strategy.dimensions)
    return tuple(warning for warning in said if warning)
