"""The second opinion of normal theory on log times: Welch for one challenger, Dunnett for several.

Narrower where times are log-normal, silent where a run missed: a mean has no answer to infinity.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Opinion:
    """The ratio of geometric means baseline / challenger (2 = twice as soon), its interval, the two-sided p."""

    ratio: float
    low: float
    high: float
    p: float

    @property
    def p_longer(self) -> float:
        """The one-sided p: small where the baseline took longer."""
        return self.p / 2 if self.ratio >= 1 else 1 - self.p / 2


def welch(
    baseline: ArrayLike,
    challenger: ArrayLike,
    confidence: float = CONFIDENCE,
    observed: tuple[int, int] | None = None,
) -> Opinion | None:
    """Welch's t test on log times, the variances apart (Welch 1947), with an interval at `confidence`.

    None where a run missed, a side has fewer than two runs, or neither side's times vary.

    Args:
        observed: how many of each side's times were observed, by default all. One that was not, but is given as the
            least it can have been, moves the mean and adds no degree of freedom, to the variance nor to t.
    """
    sides = _logs([baseline, challenger])
    if sides is None:
        return None
    from scipy import special  # a third of a second to import, and only where nobody missed

    freedoms = [max(number - 1, 1) for number in observed or (side.size for side in sides)]
    shares = [side.var() / freedom for side, freedom in zip(sides, freedoms, strict=True)]
    error = math.sqrt(sum(shares))
    freedom = sum(shares) ** 2 / sum(share**2 / freedom for share, freedom in zip(shares, freedoms, strict=True))
    log_ratio = float(sides[0].mean() - sides[1].mean())
    margin = error * float(special.stdtrit(freedom, (1 + confidence) / 2))
    p = 2 * float(special.stdtr(freedom, -abs(log_ratio) / error))
    return Opinion(math.exp(log_ratio), math.exp(log_ratio - margin), math.exp(log_ratio + margin), p)


def dunnett(baseline: ArrayLike, challengers: Mapping[str, ArrayLike]) -> dict[str, Opinion]:
    """Dunnett's many-to-one test on log times with one pooled variance (Dunnett 1955): the 95% holds for all at once.

    Empty where `welch` would be None. The quadrature behind it is random; its seed is fixed.
    """
    sides = _logs([baseline, *challengers.values()])
    if sides is None:
        return {}
    from scipy import stats  # another half second

    told = stats.dunnett(*sides[1:], control=sides[0], random_state=np.random.default_rng(0))
    bounds = told.confidence_interval(CONFIDENCE)
    ratios = [math.exp(sides[0].mean() - side.mean()) for side in sides[1:]]
    columns = (ratios, np.exp(-bounds.high), np.exp(-bounds.low), told.pvalue)
    return {name: Opinion(*map(float, row)) for name, *row in zip(challengers, *columns, strict=True)}


def _logs(sides: Sequence[ArrayLike]) -> list[np.ndarray] | None:
    """The logarithms of all times, or None where normal theory has nothing to say of them."""
    logs = [np.log(np.asarray(side, float)) for side in sides]
    judged = all(side.size > 1 and np.isfinite(side).all() for side in logs) and any(np.ptp(side) for side in logs)
    return logs if judged else None
