"""Directories of runs as the command leaves them, made without training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from kasoku.results import Best, Result, Target, TimeToTarget

Curves = Mapping[str, Sequence[float]]


def config(seed: int = 0, optimizer: str = "AdamW", lr: float = 0.1, mode: str = "max", metric: str = "val/acc") -> str:
    """A config.yaml without its head, of a few blocks."""
    return (
        f"target:\n  metric: {metric}\n  mode: {mode}\n  value: 0.9\n  stop: false\n"
        f"optimizer:\n  _target_: torch.optim.{optimizer}\n  lr: {lr}\n  betas:\n  - 0.9\n  - 0.999\n"
        f"scheduler:\n  _target_: kasoku.schedules.linear\nlogger:\n  name: of seed {seed}\n"
        f"seed: {seed}\ntask_name: train\n"
    )


def run(
    folder: Path,
    value: float | None = 0.5,
    overrides: Sequence[str] = (),
    seed: int = 0,
    text: str | None = None,
    curves: Curves | None = None,
    mode: str = "max",
    metric: str = "val/acc",
    ended: bool = True,
) -> Path:
    """A run that has `ended` with `value`, or has left its metrics.csv so far; `text` of its configuration."""
    folder.mkdir(parents=True)
    lines = [*overrides, f"seed={seed}"]
    body = config(seed, mode=mode, metric=metric) if text is None else text
    (folder / "config.yaml").write_text(f"# kasoku\n# overrides: {json.dumps(lines)}\n{body}")
    given = curves or {metric: [0.1, value or 0.0]}
    rows = zip(*given.values(), strict=True)
    lines_of_csv = [",".join(["step", "epoch", *given])]
    lines_of_csv += [",".join(map(str, [10 * i + 9, i, *row])) for i, row in enumerate(rows)]
    (folder / "metrics.csv").write_text("\n".join(lines_of_csv) + "\n")
    if ended:
        target = Target(metric, 0.9, "max" if mode == "max" else "min")
        best = None if value is None else Best(metric, value, 20)
        hit = value is not None and target.reached(value)
        reached = TimeToTarget(metric, 0.9, 15.0, 960, 1.5, True) if hit else None
        status = "failed" if value is None else "completed"
        made = Result(status, target, {}, best, 20, 2.0, 1280, 2.0, 3.0, reached, seed, lines)
        made.write(folder)
    return folder
