"""Decay schedules: pure functions `factor(step, total, *, shape...)` that multiply the base value of a hyper-parameter.

`step` counts the optimizer steps taken since the end of the warmup, `total` how many there will be; the first step is
step 0, the last one total - 1. Lengths are in steps by now. A schedule starts at factor 1, except `onecycle` and
`cyclic`, which start low and rise to it, and holds its final value should training go on past `total`. It is above
zero at every step of the run unless a zero was asked for. Where `total` may be None the schedule needs no horizon.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, MinLen, Unit

Steps = Annotated[int, Unit("steps"), Ge(1)]
Factor = Annotated[float, Interval(ge=0, le=1)]
Ratio = Annotated[float, Interval(gt=0, le=1)]
Anneal = Literal["cosine", "linear"]
Mode = Literal["triangular", "triangular2", "exp_range"]


def constant(step: int, total: int | None, /) -> float:
    """The base value throughout: 1.

    >>> constant(70, None)
    1.0
    """
    return 1.0


def step(step: int, total: int | None, /, *, every: Steps, gamma: Ratio = 0.1) -> float:
    """A drop at regular intervals: gamma^floor(step / every).

    >>> [step(s, None, every=30, gamma=0.5) for s in (0, 29, 30, 60)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return gamma ** (step // every)


def multistep(
    step: int, total: int | None, /, *, milestones: Annotated[Sequence[Steps], MinLen(1)], gamma: Ratio = 0.1
) -> float:
    """A drop at each milestone: gamma^(how many of the milestones are at or before the step).

    Milestones are steps after the warmup, each later than the one before (`check_shape`). ResNet, arXiv 1512.03385.

    >>> [multistep(s, 100, milestones=[50, 75], gamma=0.5) for s in (49, 50, 75)]
    [1.0, 0.5, 0.25]
    """
    return gamma ** sum(step >= milestone for milestone in milestones)


def exponential(step: int, total: int | None, /, *, every: Steps, gamma: Ratio = 0.1) -> float:
    """The same ratio over each interval, smoothly: gamma^(step / every).

    >>> [exponential(s, None, every=10, gamma=0.25) for s in (0, 5, 10)]
    [1.0, 0.5, 0.25]
    """
    return math.pow(gamma, step / every)


def time_based(step: int, total: int | None, /, *, every: Steps, rate: Annotated[float, Gt(0)] = 1.0) -> float:
    """Inverse time: 1 / (1 + rate * step / every); for `rate` k a step, as in 1 / (1 + k t), set `every` to 1.

    Robbins and Monro, "A Stochastic Approximation Method", 1951.

    >>> [time_based(s, None, every=10) for s in (0, 10, 30)]
    [1.0, 0.5, 0.25]
    """
    return 1 / (1 + rate * step / every)


def inverse_sqrt(step: int, total: int | None, /, *, timescale: Steps) -> float:
    """Inverse square root: sqrt(timescale / (step + timescale)).

    With a linear warmup of `timescale` steps it is the schedule of "Attention Is All You Need", arXiv 1706.03762.

    >>> [inverse_sqrt(s, None, timescale=100) for s in (0, 300)]
    [1.0, 0.5]
    """
    return math.sqrt(timescale / (step + timescale))


def linear(step: int, total: int, /, *, final_factor: Factor = 0.0) -> float:
    """A straight line from 1 to `final_factor` f: f + (1 - f) (1 - step / total).

    To zero it is the schedule of arXiv 2502.15938.

    >>> [linear(s, 100, final_factor=0.5) for s in (0, 50, 100)]
    [1.0, 0.75, 0.5]
    """
    return _between(final_factor, _left(step, total))


def polynomial(step: int, total: int, /, *, power: Annotated[float, Gt(0)] = 2.0, final_factor: Factor = 0.0) -> float:
    """A power of what is left of the run: f + (1 - f) (1 - step / total)^power, f being `final_factor`.

    >>> [polynomial(s, 100, power=2) for s in (0, 50, 100)]
    [1.0, 0.25, 0.0]
    """
    return _between(final_factor, _left(step, total) ** power)


def cosine(step: int, total: int, /, *, final_factor: Factor = 0.0) -> float:
    """Half a cosine from 1 to `final_factor` f: f + (1 - f) (1 + cos(pi step / total)) / 2.

    SGDR without its restarts, arXiv 1608.03983.

    >>> [round(cosine(s, 100), 6) for s in (0, 25, 50, 100)]
    [1.0, 0.853553, 0.5, 0.0]
    """
    return _between(final_factor, _half_cosine(_left(step, total)))


def cosine_restarts(
    step: int, total: int | None, /, *, period: Steps, multiplier: Annotated[int, Ge(1)] = 1, final_factor: Factor = 0.0
) -> float:
    """A cosine that starts again at 1 after each period, every period `multiplier` times as long as the one before.

    SGDR, arXiv 1608.03983: T_0 is `period`, T_mult is `multiplier`.

    >>> [round(cosine_restarts(s, None, period=10, multiplier=2), 6) for s in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    while multiplier > 1 and step >= period:
        step, period = step - period, period * multiplier
    return cosine(step % period, period, final_factor=final_factor)


def wsd(
    step: int,
    total: int,
    /,
    *,
    decay: Steps,
    anneal: Anneal | Literal["sqrt", "power"] = "sqrt",
    power: Annotated[float, Gt(0)] = 1.2,
    final_factor: Factor = 0.0,
    horizon: Steps | None = None,
) -> float:
    """Warmup, stable, decay: 1, then over the last `decay` steps down to `final_factor` f.

    The decay is f + (1 - f) r with r the share of it that is left ("linear"), or in place of r 1 - sqrt(1 - r)
    ("sqrt"), (1 - cos(pi r)) / 2 ("cosine"), or r^power ("power", which alone reads `power`). It ends after `horizon`
    steps where that is given and not with the run, which may then be the first part of a longer one. MiniCPM, arXiv
    2404.06395; sqrt: arXiv 2405.18392; power: PowerCool of modded-nanogpt's track 3, 1.2.

    >>> [wsd(s, 100, decay=20, anneal="linear") for s in (0, 80, 90, 100)]
    [1.0, 1.0, 0.5, 0.0]
    >>> [wsd(s, 100, decay=20, anneal="power", power=2) for s in (80, 90, 100)]
    [1.0, 0.25, 0.0]
    """
    stable = (horizon or total) - decay
    left = _left(step - stable, decay)
    return _between(final_factor, left**power if anneal == "power" else _annealed(left, anneal))


def onecycle(
    step: int,
    total: int,
    /,
    *,
    rise: Steps,
    start_factor: Ratio = 1 / 25,
    final_factor: Factor = 1 / 25e4,
    anneal: Anneal = "cosine",
) -> float:
    """One cycle: up from `start_factor` to the base lr as the peak over `rise` steps, then down to `final_factor`.

    The end is reached at `total`, as in every schedule here: `total` steps are torch's OneCycleLR of total + 1.
    Smith and Topin, "Super-Convergence", arXiv 1708.07120.

    >>> [round(onecycle(s, 100, rise=30), 6) for s in (0, 15, 30, 65, 100)]
    [0.04, 0.52, 1.0, 0.500002, 4e-06]
    """
    lowest = start_factor if step < rise else final_factor
    return _between(lowest, _one_cycle(step, total, rise, anneal))


def onecycle_momentum(
    step: int, total: int, /, *, rise: Steps, low_factor: Factor = 0.85 / 0.95, anneal: Anneal = "cosine"
) -> float:
    """The momentum of one cycle, lowest where the lr peaks: 1 to `low_factor` over `rise` steps, and back to 1.

    Smith, arXiv 1803.09820.

    >>> [round(0.95 * onecycle_momentum(s, 100, rise=30), 6) for s in (0, 15, 30, 65, 100)]
    [0.95, 0.9, 0.85, 0.9, 0.95]
    """
    return 1 - (1 - low_factor) * _one_cycle(step, total, rise, anneal)


def cyclic(
    step: int,
    total: int | None,
    /,
    *,
    rise: Steps,
    fall: Steps,
    low_factor: Ratio = 0.1,
    mode: Mode = "triangular",
    gamma: Ratio = 0.5,
) -> float:
    """Triangles: up from `low_factor` to the base lr over `rise` steps, down over `fall` steps, and again.

    "triangular2" halves the height of each triangle, "exp_range" multiplies it by gamma^(step / (rise + fall)), thus
    by `gamma` a cycle; the other modes do not read `gamma`. Smith, arXiv 1506.01186.

    >>> [cyclic(s, None, rise=10, fall=10, low_factor=0.5) for s in (0, 5, 10, 20)]
    [0.5, 0.75, 1.0, 0.5]
    """
    return _between(low_factor, _triangles(step, rise, fall, mode, gamma))


def cyclic_momentum(
    step: int,
    total: int | None,
    /,
    *,
    rise: Steps,
    fall: Steps,
    low_factor: Factor = 0.8 / 0.9,
    mode: Mode = "triangular",
    gamma: Ratio = 0.5,
) -> float:
    """The momentum of `cyclic`, lowest where the lr peaks: 1 - (1 - low_factor) times the height of the triangle.

    >>> [cyclic_momentum(s, None, rise=10, fall=10, low_factor=0.5) for s in (0, 5, 10, 20)]
    [1.0, 0.75, 0.5, 1.0]
    """
    return 1 - (1 - low_factor) * _triangles(step, rise, fall, mode, gamma)


def check_shape(
    schedule: Callable[..., float],
    steps: Mapping[str, Any],
    total: int | None,
    written: Mapping[str, Any] | None = None,
) -> list[tuple[str, str]]:
    """Faults of a `schedule`'s shape that no annotation can state: pairs of an argument's name and what must hold.

    `steps`: its arguments with the lengths in steps.  `written`: as the user gave them, where that is not the same.
    """
    written = written or steps
    if schedule is multistep:
        return [("milestones", must) for must in _wrong_milestones(steps["milestones"], written["milestones"], total)]
    name = {wsd: "decay", onecycle: "rise", onecycle_momentum: "rise"}.get(schedule)
    most = steps.get("horizon") or total
    if name is None or most is None or steps[name] <= most:
        return []
    return [(name, f"must fit into the {most} steps that the warmup leaves, {steps[name]} steps do not")]


def _wrong_milestones(steps: Sequence[int], written: Sequence[object], total: int | None) -> list[str]:
    pairs = zip(pairwise(steps), pairwise(written), strict=True)
    unsorted = [f"{late} follows {early}" for (a, b), (early, late) in pairs if b < a or early == late]
    wrong = ["must be strictly increasing: " + ", ".join(unsorted)] if unsorted else []
    # a percentage and the warmup are rounded by up to a step each, which is all there is in a run of a few steps
    slack = [2 if str(length).endswith("%") else 0 for length in written]
    late = [str(w) for m, w, more in zip(steps, written, slack, strict=True) if total is not None and m >= total + more]
    return [*wrong, f"must be inside the {total} steps that the warmup leaves: {', '.join(late)}"] if late else wrong


def _left(step: int, total: int) -> float:
    """The share of `total` steps that is left at `step`: 1 up to step 0, and 0 from `total` on."""
    if step <= 0:
        return 1.0
    return (total - step) / total if step < total else 0.0


def _between(low: float, height: float) -> float:
    return low + (1 - low) * height


def _half_cosine(height: float) -> float:
    """(1 - cos(pi height)) / 2, from 0 to 1, as a square that rounding does not turn into zero."""
    return math.sin(math.pi / 2 * height) ** 2


def _annealed(left: float, anneal: str) -> float:
    match anneal:
        case "cosine":
            return _half_cosine(left)
        case "sqrt":
            return left / (1 + math.sqrt(1 - left))  # 1 - sqrt(1 - left), which rounds to zero where little is left
    return left


def _one_cycle(step: int, total: int, rise: int, anneal: str) -> float:
    """The height of one cycle: 0 at the start, 1 after `rise` steps, 0 at `total`."""
    return _annealed(step / rise if step < rise else _left(step - rise, total - rise), anneal)


def _triangles(step: int, rise: int, fall: int, mode: str, gamma: float) -> float:
    """The height of a row of triangles: 0 at the start of each, and 1 at the first one's peak."""
    cycle, position = divmod(step, rise + fall)
    height = position / rise if position < rise else (rise + fall - position) / fall
    match mode:
        case "triangular2":
            return height * 0.5**cycle
        case "exp_range":
            return height * math.pow(gamma, step / (rise + fall))
    return height
