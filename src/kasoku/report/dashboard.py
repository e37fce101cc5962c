"""The W&B dashboard of a project: kasoku dashboard ENTITY/PROJECT

Saves a workspace with the sections race, target, learning curves, lr, search and system, and a report beside it. Called
again it writes the same two anew. Needs pip install 'kasoku[dashboard]'.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from kasoku import home
from kasoku.faults import ConfigError, Fault
from kasoku.results import is_cost

NAME, TITLE = "kasoku", "kasoku: races, sweeps and runs"
STEP, SECONDS, SAMPLES = "trainer/global_step", "train_seconds", "samples"
LACKING = Fault("dashboard", "wandb-workspaces", "is not installed", "pip install 'kasoku[dashboard]'")


def main(arguments: Sequence[str]) -> int:
    """Save the workspace and the report, or print them with --dry-run; 1 where W&B refuses, 2 for a wrong command."""
    try:
        asked = _parser().parse_args(arguments)
    except SystemExit as ended:  # argparse has said why
        return int(ended.code or 0)
    try:
        entity, project = _address(asked.project)
        mode = asked.mode or ("min" if is_cost(asked.metric) else "max")
        made = workspace(entity, project, asked.metric, mode), report(entity, project, asked.metric)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if asked.dry_run:
        print(json.dumps(dict(zip(("workspace", "report"), map(shown, made), strict=True)), indent=2))
        return 0
    try:
        save(*made)
    except Exception as error:  # W&B raises many kinds
        print(f"W&B took no dashboard: {type(error).__name__}: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return 1
    for page in made:
        print(page.url)
    return 0


def workspace(entity: str, project: str, metric: str = "val/acc", mode: str = "max") -> Any:
    """The workspace, not saved yet: runs by their groups and job types, the best first.

    Raises:
        ConfigError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError:
        raise ConfigError(LACKING) from None
    sections = [
        ws.Section(name=name, panels=panels, is_open=name != "System") for name, panels in _panels(wr, metric).items()
    ]
    order = [ws.Ordering(ws.Summary(f"best/{metric}"), ascending=mode == "min")]
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Metric("Group"), ws.Metric("JobType")],
            order=order,
            pinned_columns=["run:displayName", f"summary:best/{metric}", "summary:time_to_target/steps"],
        ),
    )
    made._internal_name = f"nw-{NAME}-v"  # the same view at every call
    return made


def report(entity: str, project: str, metric: str = "val/acc") -> Any:
    """The report, not saved yet: the verdict's table, the curves, the search."""
    import wandb_workspaces.reports.v2 as wr

    panels = _panels(wr, metric)
    verdicts = wr.Runset(name="Verdicts", filters="JobType = 'verdict'")
    runs = wr.Runset(name="Runs", filters="JobType != 'verdict'")
    blocks: list[Any] = [wr.H1("Races"), wr.PanelGrid(runsets=[verdicts], panels=panels["Race"])]
    for name in ("Target", "Learning curves", "Search"):
        blocks += [wr.H1(name), wr.PanelGrid(runsets=[runs], panels=panels[name])]
    return wr.Report(project, entity, title=TITLE, description="Written by kasoku dashboard.", blocks=blocks)


def _panels(wr: Any, metric: str) -> dict[str, list[Any]]:
    """The panels of each section."""
    config, best = wr.Config, wr.SummaryMetric(f"best/{metric}")
    axes = {STEP: "optimizer steps", SAMPLES: "samples", SECONDS: "seconds of training"}
    loss = "val/loss"

    def curve(y: str, x: str = STEP, **more: Any) -> Any:
        return wr.LinePlot(title=f"{y} against {axes[x]}", x=x, y=[y], title_x=axes[x], **more)

    columns = [wr.ParallelCoordinatesPlotColumn(config("optimizer.lr"), log=True)]
    columns += [
        wr.ParallelCoordinatesPlotColumn(config(name)) for name in ("optimizer.weight_decay", "trainer.max_steps")
    ]
    columns += [wr.ParallelCoordinatesPlotColumn(best)]
    return {
        "Race": [
            wr.BarPlot(title="times sooner than the baseline", metrics=[wr.SummaryMetric("ratio")]),
            wr.BarPlot(title="seeds that reached the target", metrics=[wr.SummaryMetric("hits")]),
            wr.WeavePanelSummaryTable(table_name="verdict"),
        ],
        "Target": [
            wr.BarPlot(title=f"best {metric}", metrics=[best]),
            wr.BarPlot(title="steps to the target", metrics=[wr.SummaryMetric("time_to_target/steps")]),
            wr.BarPlot(title="seconds to the target", metrics=[wr.SummaryMetric("time_to_target/seconds")]),
        ],
        "Learning curves": [
            *(curve(metric, x) for x in axes),
            *(curve(loss, x) for x in ((STEP,) if loss != metric else ())),
            curve("train/loss", log_y=True),
        ],
        "Learning rate": [curve("lr"), curve("momentum")],
        "Search": [
            wr.ParameterImportancePlot(with_respect_to=f"best/{metric}"),
            wr.ParallelCoordinatesPlot(columns=columns),
            wr.ScatterPlot(title=f"best {metric} against the lr", x=config("optimizer.lr"), y=best, log_x=True),
        ],
        "System": [
            wr.LinePlot(title="GPU", y=["system/gpu.0.gpu"]),
            wr.LinePlot(title="CPU", y=["system/cpu"]),
            wr.LinePlot(title="memory", y=["system/memory_percent"]),
        ],
    }


def shown(page: Any) -> dict[str, Any]:
    """The content of a workspace or report as W&B would be sent it."""
    return page._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def save(view: Any, page: Any) -> None:
    """Save both, in the place of those that a call before has left."""
    import wandb
    from wandb_workspaces.workspaces import internal

    try:
        view._internal_id = internal.get_view_dict(view.entity, view.project, NAME)["id"]
    except ValueError:  # there is none yet
        view._internal_id = ""
    view.save()
    there = [r for r in wandb.Api().reports(f"{page.entity}/{page.project}") if r.display_name == TITLE]
    if there:
        page.id = there[0].id
    page.save()


def _address(text: str) -> tuple[str, str]:
    if not (found := re.fullmatch(r"([\w.-]+)/([^/\\#?%:]+)", text)):
        raise ConfigError(Fault("dashboard", text, "must be ENTITY/PROJECT, such as my-team/kasoku"))
    return found[1], found[2]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{home.program()} dashboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument("--metric", default="val/acc", help="the target's metric (val/acc)")
    parser.add_argument("--mode", choices=("min", "max"), help="its direction; by its name where not given")
    parser.add_argument("--dry-run", action="store_true", help="print what would be saved, ask nobody")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
