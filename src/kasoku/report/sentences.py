"""A verdict in words, such that the challenger's name can stand before them."""

import math
from typing import NamedTuple


class Hits(NamedTuple):
    """The number of hits among `n` runs."""

    hits: int
    n: int


def sooner(ratio: float, low: float, high: float, baseline: Hits, challenger: Hits) -> str:
    """
    >>> sooner(1.83, 1.5, 2.21, Hits(5, 5), Hits(5, 5)), sooner(1.8, 1.4, math.inf, Hits(3, 5), Hits(5, 5))
    ('1.8 times sooner (1.5 to 2.2, 5 of 5 runs each)', 'at least 1.4 times sooner; 2 of 5 baseline runs missed')
    """
    return _differs("sooner", ratio, low, high, baseline, challenger)


def later(ratio: float, low: float, high: float, baseline: Hits, challenger: Hits) -> str:
    """Of the same ratios, baseline / challenger, here below 1; said the other way round.

    >>> later(0.8, 0.5, 0.9, Hits(5, 5), Hits(4, 5)), later(0, 0, 0.5, Hits(5, 5), Hits(1, 5))
    ('1.2 times later (1.1 to 2.0, 4 of 5 runs, baseline 5 of 5)', 'at least 2.0 times later; 4 of 5 runs missed')
    """
    ratio, low, high = (1 / bound if bound else math.inf for bound in (ratio, high, low))
    return _differs("later", ratio, low, high, baseline, challenger)


def no_difference(low: float, high: float, baseline: Hits, challenger: Hits, scatter: float | None = None) -> str:
    """`scatter` of the runs, in units of the baseline's, where it is why a difference of ranks does not count.

    >>> no_difference(0.88, 1.3, Hits(5, 5), Hits(5, 5))
    'no difference found (could be between 0.9 and 1.3 times)'
    >>> no_difference(0.88, math.inf, Hits(4, 5), Hits(5, 5))
    'no difference found (could be 0.9 times or more); 1 of 5 baseline runs missed'
    >>> no_difference(0.88, 4.2, Hits(5, 5), Hits(5, 5), 5.2)
    "no difference found (could be between 0.9 and 4.2 times); the runs scatter 5.2 times as much as the baseline's"
    >>> no_difference(0.88, 4.2, Hits(5, 5), Hits(5, 5), 0.25).partition("; ")[2]
    "the baseline's runs scatter 4.0 times as much as the others"
    >>> no_difference(1, 1, Hits(5, 5), Hits(5, 5))
    'no difference found: all runs took the same'
    """
    if not baseline.hits + challenger.hits:
        return "no difference found: no run reached the target"
    if low == high:
        return "no difference found: all runs took the same"
    if math.isfinite(high):
        span = f"between {number(low)} and {number(high)} times" if low else f"up to {number(high)} times"
    else:
        span = f"{number(low)} times or more" if low else "anything"
    return f"no difference found (could be {span}){_missed(baseline, challenger)}{_scattered(scatter)}"


def too_few_seeds(baseline: Hits, challenger: Hits, needed: int) -> str:
    """
    >>> too_few_seeds(Hits(3, 3), Hits(4, 5), 4)
    'too few seeds: 3 and 5 runs where a verdict needs 4 of each'
    """
    return f"too few seeds: {baseline.n} and {challenger.n} runs where a verdict needs {needed} of each"


def number(ratio: float) -> str:
    """A ratio with the digits that tell it from 1.

    >>> [number(ratio) for ratio in (0.043, 0.76, 0.987, 1, 1.034, 1.5, 2, 12.3)]
    ['0.043', '0.8', '0.99', '1', '1.03', '1.5', '2.0', '12']
    """
    if ratio < 0.1 or ratio == 1:
        return f"{ratio:.2g}"
    if ratio >= 10:
        return f"{ratio:.0f}"
    digits = -math.floor(math.log10(abs(ratio - 1)))
    return f"{ratio:.{min(max(digits, 1), 3)}f}"


def _differs(word: str, ratio: float, low: float, high: float, baseline: Hits, challenger: Hits) -> str:
    if math.isfinite(high):
        return f"{number(ratio)} times {word} ({number(low)} to {number(high)}, {_hits(baseline, challenger)})"
    factor = f"at least {number(low)} times {word}" if low > 1 else f"{word}, by what factor is open"
    return factor + _missed(baseline, challenger)


def _hits(baseline: Hits, challenger: Hits) -> str:
    own = f"{challenger.hits} of {challenger.n} runs"
    return (
        f"{own} each"
        if own == f"{baseline.hits} of {baseline.n} runs"
        else f"{own}, baseline {baseline.hits} of {baseline.n}"
    )


def _scattered(scatter: float | None) -> str:
    match scatter:
        case None:
            return ""
        case 0:
            return "; the baseline's runs scatter and the others do not"
        case math.inf:
            return "; the runs scatter and the baseline's do not"
    if scatter < 1:
        return f"; the baseline's runs scatter {number(1 / scatter)} times as much as the others"
    return f"; the runs scatter {number(scatter)} times as much as the baseline's"


def _missed(baseline: Hits, challenger: Hits) -> str:
    """The number of runs that missed, after a semicolon; nothing where none did."""
    sides = ((baseline, "baseline runs"), (challenger, "runs"))
    parts = [f"{side.n - side.hits} of {side.n} {whose}" for side, whose in sides if side.hits < side.n]
    return f"; {' and '.join(parts)} missed" if parts else ""
