"""Draw the pictures of the README. usage: python tools/figures.py FOLDER        (make figures calls it)

Every curve is that of the option as its file in conf/ has it, through the same Recipe that training uses.
"""

import sys
from pathlib import Path

import matplotlib
from hydra import compose, initialize_config_dir

from kasoku.command.build import build_recipe
from kasoku.config import resolvers
from kasoku.durations import Clock
from kasoku.recipe import Recipe

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CONF = Path(__file__).parent.parent / "conf"
STEPS = 1000
BLUE, GREY = "#2563eb", "#9ca3af"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def recipe(*overrides: str) -> Recipe:
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return build_recipe(compose("train", list(overrides)))


def draw_schedules(path: Path) -> None:
    """The lr's factor over a run of 1000 steps for each pure schedule, with a linear warmup of 5%; momentum in grey."""
    names = [name for name in options("scheduler") if name != "plateau"]
    figure, panels = plt.subplots(3, 5, figsize=(13, 6), sharex=True, sharey=True)
    for panel, name in zip(panels.flat, names, strict=False):
        for key, curve in (
            recipe("optimizer=nesterov", f"scheduler={name}", "warmup=linear").curves(Clock(STEPS)).items()
        ):
            panel.plot([curve(step) for step in range(STEPS)], color=BLUE if key == "lr" else GREY, linewidth=1.6)
        panel.set_title(f"scheduler={name}", fontsize=9, family="monospace")
    finish(figure, panels, path)


def draw_warmups(path: Path) -> None:
    """Each warmup over 20% of a run, in front of a linear decay."""
    names = [name for name in options("warmup") if name not in ("none", "untuned")]
    figure, panels = plt.subplots(1, len(names), figsize=(11, 2.2), sharex=True, sharey=True)
    for panel, name in zip(panels.flat, names, strict=True):
        curve = recipe(f"warmup={name}", "warmup.length=20%").curves(Clock(STEPS))["lr"]
        panel.plot([curve(step) for step in range(STEPS)], color=BLUE, linewidth=1.6)
        panel.set_title(f"warmup={name}", fontsize=9, family="monospace")
    finish(figure, panels, path)


def finish(figure, panels, path: Path) -> None:  # type: ignore[no-untyped-def]
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
        panel.tick_params(labelsize=8)
        panel.set_visible(bool(panel.lines))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    resolvers.register()
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    draw_schedules(folder / "schedules.png")
    draw_warmups(folder / "warmups.png")
