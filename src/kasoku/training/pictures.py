"""Curves as files and in the terminal: CSV columns, PNG panels, a chart of block characters."""

import csv
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kasoku.training.suggestions import Curve, Rule

BLOCKS = " ▁▂▃▄▅▆▇█"


def write_columns(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """A CSV file with a head of names and a row for each place in the columns, which are equally long."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def draw_schedule(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """One panel for each setting, over the optimizer steps."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(7, 1 + 2 * len(columns)), layout="tight")
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)
    for panel, (name, values) in zip(panels[:, 0], columns.items(), strict=True):
        panel.plot(values, linewidth=1.5, color="#2563eb")
        panel.set_ylabel(name)
        panel.set_ylim(bottom=0 if name.startswith("lr") else None)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("optimizer step")
    figure.savefig(path, dpi=120)


def svg_of(steps: Sequence[int], columns: Mapping[str, Sequence[float]], width: int = 640, height: int = 120) -> str:
    """An SVG with a panel for each of `columns` over `steps`, from 0 or its least value to its greatest."""
    panels = []
    for place, (name, values) in enumerate(columns.items()):
        bottom, top = min(0.0, *values), max(values)
        across, up = (width - 1) / max(1, steps[-1] - steps[0]), (height - 40) / ((top - bottom) or 1.0)
        points = " ".join(
            f"{(step - steps[0]) * across:.1f},{height - 10 - (value - bottom) * up:.1f}"
            for step, value in zip(steps, values, strict=True)
        )
        said = f"{html.escape(name)}: {bottom:g} to {top:g}, steps {steps[0]} to {steps[-1]}"
        panels.append(
            f'<g transform="translate(0 {place * height})"><text y="16" font-size="13" fill="gray">{said}</text>'
            f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/></g>'
        )
    tall = height * len(panels)
    return f'<svg viewBox="0 0 {width} {tall}" width="100%" font-family="sans-serif">{"".join(panels)}</svg>'


def draw_range_test(path: Path, curve: Curve, lrs: Mapping[Rule, float]) -> None:
    """The losses of a range test over the lr, with the suggestions marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="tight")
    panel = figure.subplots()
    panel.plot(curve.lrs, curve.losses, linewidth=0.8, color="#93c5fd", label="loss")
    panel.plot(curve.lrs, curve.smoothed, linewidth=1.8, color="#2563eb", label="smoothed")
    for (rule, lr), color in zip(lrs.items(), ("#dc2626", "#d97706", "#059669", "#7c3aed"), strict=True):
        panel.plot(lr, _at(curve, lr), "o", color=color, label=f"{rule} {lr:g}")
    panel.set(xscale="log", xlabel="lr", ylabel="training loss", ylim=_limits(curve.smoothed))
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def chart(name: str, values: Sequence[float], width: int = 72, height: int = 8) -> str:
    """`values` as a small chart of block characters, the y axis from 0 (or the least value) to the greatest."""
    columns = [values[i * len(values) // width] for i in range(width)] if len(values) > width else list(values)
    top, bottom = max(columns), min(0.0, *columns) if name.startswith("lr") else min(columns)
    span = (top - bottom) or 1.0
    eighths = [round((value - bottom) / span * height * 8) for value in columns]
    rows = []
    for row in range(height, 0, -1):
        label = top if row == height else bottom if row == 1 else None
        cells = "".join(BLOCKS[min(max(level - (row - 1) * 8, 0), 8)] for level in eighths)
        rows.append(f"{name if row == height else '':>10} {'' if label is None else f'{label:.3g}':>9} |{cells}")
    return "\n".join(rows)


def _at(curve: Curve, lr: float) -> float:
    """The smoothed loss at `lr`."""
    return float(np.interp(math.log(lr), np.log(curve.lrs), curve.smoothed))


def _limits(smoothed: Sequence[float]) -> tuple[float, float]:
    """The loss before it diverges fills the panel."""
    least, first = min(smoothed), smoothed[0]
    margin = 0.5 * (first - least) or 1.0
    return least - 0.3 * margin, first + margin
