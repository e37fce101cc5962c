"""Fits that tuning rests on: a parabola over the log of a setting, a line over the log of the length, and both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]

NEAR = math.log(3.2)  # a parabola holds about so far to both sides of its top
LOCAL = math.log(2.5)  # and a line so far to both sides of the length that is looked for


@dataclass(frozen=True)
class Line:
    """value = intercept + slope x, with the standard deviation of the values around it, 0 where two points say none."""

    slope: float
    intercept: float
    sd: float
    least: float  # the ends of what it was fitted to
    greatest: float

    def where(self, value: float) -> float:
        return (value - self.intercept) / self.slope


def top(points: Sequence[Point]) -> float | None:
    """The x at which the parabola through `points` is highest, by least squares; None where it has no top."""
    xs, ys = np.array(points, float).T
    if len(set(xs)) < 3:
        return None
    middle = xs.mean()
    curvature, slope, _ = np.polyfit(xs - middle, ys, 2)
    return float(middle - slope / (2 * curvature)) if curvature < 0 else None


def line(points: Sequence[Point]) -> Line | None:
    """The line through `points` by least squares; None unless it rises."""
    xs, ys = np.array(points, float).T
    if len(set(xs)) < 2:
        return None
    slope, intercept = np.polyfit(xs, ys, 1)
    if not slope > 0:
        return None
    left = len(xs) - 2
    sd = float(np.sqrt(((ys - intercept - slope * xs) ** 2).sum() / left)) if left else 0.0
    return Line(float(slope), float(intercept), sd, float(xs.min()), float(xs.max()))


def line_near(points: Sequence[Point]) -> Line | None:
    """The line through those of `points` that lie near the x where they go from below 0 to above it.

    None where they do not, or where it does not rise.
    """
    above, below = [x for x, y in points if y >= 0], [x for x, y in points if y < 0]
    if not above or not below:
        return None
    guess = (min(above) + max(below)) / 2
    local = [point for point in points if abs(point[0] - guess) <= LOCAL]
    nearest = sorted(points, key=lambda point: abs(point[0] - guess))
    while len({x for x, _ in local}) < 2 and len(local) < len(points):
        local = nearest[: len(local) + 1]
    return line(local)


@dataclass(frozen=True)
class Surface:
    """Parabolas over the logs of the settings, each with its top at `tops`, and a line over the log of the length.

    `line` is the one at the tops.
    """

    tops: tuple[float, ...]
    line: Line


def surface(points: Sequence[tuple[Sequence[float], float, float]]) -> Surface | None:
    """The surface through `points`, (logs of the settings, log of the length, value), by least squares.

    None where they are too few for it, or where it has no top or does not rise with the length.
    """
    if not points:
        return None
    settings = np.array([point[0] for point in points], float).reshape(len(points), -1)
    lengths, values = (np.array([point[i] for point in points], float) for i in (1, 2))
    unknowns = 2 + 2 * settings.shape[1]
    if len(points) <= unknowns:
        return None
    middles, middle = settings.mean(axis=0), lengths.mean()
    off = settings - middles
    columns = np.column_stack([np.ones(len(points)), lengths - middle, off, off**2])
    found, _, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
    level, slope, (linear, curvature) = found[0], found[1], np.split(found[2:], 2)
    if rank < unknowns or not slope > 0 or not (curvature < 0).all():
        return None
    # half-way to the ends at most: few noisy runs tell the side of a top beyond them better than how far it is
    tops = np.clip(-linear / (2 * curvature), off.min(axis=0) / 2, off.max(axis=0) / 2)
    level += (linear * tops + curvature * tops**2).sum()
    sd = float(np.sqrt(((values - columns @ found) ** 2).sum() / (len(points) - unknowns)))
    ends = float(lengths.min()), float(lengths.max())
    return Surface(tuple(map(float, tops + middles)), Line(float(slope), float(level - slope * middle), sd, *ends))
