"""The W&B run of a sweep or race as a whole: its verdict as plain keys and as a table, and report.html.

It stands in the group of the trials, with a job type of its own.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kasoku.report import page, studies
from kasoku.training import wandb_server
from kasoku.training.guests import TookTooLong, in_short, within

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

log = logging.getLogger("kasoku")

FIGURES = ("ratio", "low", "high", "hits", "n", "p")
PASSED_ON = ("project", "entity", "tags")


def leave(directory: Path, settings: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Leave the W&B run of the sweep in `directory`, logged as `settings` of logger.wandb say; a failure is said."""
    try:
        study = studies.read(directory)
        if study is not None:
            with within(settings.get("patience")):
                _leave(study, settings)
    except (Exception, TookTooLong) as error:
        say(f"W&B has no run of the {'race' if (directory / studies.RACE).exists() else 'sweep'}: {in_short(error)}")


def _leave(study: studies.Study, settings: Mapping[str, Any]) -> None:
    import wandb

    kind = "race" if study.race else "sweep"
    given = {name: settings.get(name) for name in PASSED_ON}
    run = wandb.init(
        **given,
        dir=study.directory,
        group=study.directory.name,
        job_type="verdict" if study.race else "sweep",
        name=f"{kind} {study.directory.name}",
        mode=wandb_server.decided(settings.get("mode") or "auto"),  # type: ignore[arg-type]
        config={kind: dict((study.race or study.sweep).get("settings") or {})},
        settings=wandb.Settings(silent=True),
    )
    run.summary.update(summary(study))
    columns, lines = table(study)
    run.log({"verdict" if study.race else "best": wandb.Table(columns, lines)})
    if (report := study.directory / page.FILE).exists():
        artifact = wandb.Artifact(f"report-{study.directory.name}", "report")
        artifact.add_file(str(report))
        run.log_artifact(artifact)
    run.finish()


def summary(study: studies.Study) -> dict[str, Any]:
    """Of a race ratio, low, high, hits, n, p and the sentence of each challenger; of a sweep its best.

    The soonest one's stand there without its name too, which is under `strategy`: a chart of several races has one key
    for all of them. What is not finite is left out.
    """
    if not study.race:
        best = (study.bests or [{}])[0]
        found = {f"best/{name}": best.get(name) for name in ("value", "command", "number")}
        found |= {f"best/{name}": value for name, value in zip(study.metrics, best.get("values") or [], strict=False)}
        return {name: value for name, value in found.items() if value is not None}
    verdict = study.race.get("verdict") or []
    found = {f"{v['strategy']}/{name}": v.get(name) for v in verdict for name in (*FIGURES, "sentence")}
    if verdict:
        soonest = max(verdict, key=lambda entry: entry.get("ratio") or 0.0)
        found |= {name: soonest.get(name) for name in ("strategy", *FIGURES, "sentence")}
    return {name: value for name, value in found.items() if value is not None}


def table(study: studies.Study) -> tuple[list[Any], list[list[Any]]]:
    """The columns and lines of the table of a race's verdict, or of a sweep's best trials."""
    if study.race:
        columns = ["strategy", "baseline", *FIGURES, "sentence"]
        return columns, [[entry.get(name) for name in columns] for entry in study.race.get("verdict") or []]
    several = study.metrics if len(study.metrics) > 1 else []
    lines = [
        [best.get("number"), *(best["values"] if several else [best.get("value")]), best.get("command")]
        for best in study.bests
    ]
    return ["number", *(several or ["value"]), "command"], lines
