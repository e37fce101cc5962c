"""Draw the pictures of the README. usage: python tools/figures.py FOLDER [NAME=DIR ...]        (make figures calls it)

Every curve is that of the option as its file in conf/ has it, through the same Recipe that training uses. With names
and directories of runs, a sweep or a race, such as race=sweeps/race_digits/2026-11-27_15-48-00, their pages alone are
pictured instead, with the chromium that is installed.
"""

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from hydra import compose, initialize_config_dir
from PIL import Image

from kasoku import home
from kasoku.command.build import build_recipe
from kasoku.config import resolvers
from kasoku.durations import Clock
from kasoku.recipe import Recipe
from kasoku.report import page

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CONF = Path(__file__).parent.parent / "conf"
STEPS = 1000
BLUE, GREY = "#2563eb", "#9ca3af"
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 1500}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 1500}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 1300}, "is_mobile": True, "has_touch": True},
}


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


def draw_page(folder: Path, name: str, directory: Path) -> None:
    """The head of the page on each of SCREENS, and of a sweep its search."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, tempfile.TemporaryDirectory() as made:
        file = Path(made) / page.FILE
        page.write(file, [directory], home.typed("report", directory.name, "--html"))
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for screen, looks in SCREENS.items():
            tab = browser.new_page(**looks)
            tab.goto(file.as_uri())
            tab.wait_for_selector("html[data-ready]")
            tab.wait_for_timeout(500)  # what plotly.js draws after the rest
            parts = {screen: tab} | ({"search": tab.get_by_role("region", name="Search")} if screen == "light" else {})
            for part, shown in parts.items():
                if part != "search" or name == "sweep":
                    save(shown.screenshot(), folder / f"report_{name}_{part}.png")
        browser.close()


def save(picture: bytes, path: Path) -> None:
    """With 256 colours: a third of the size, and no eye sees it on a page of few."""
    Image.open(BytesIO(picture)).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    print(path)


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
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    resolvers.register()
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for argument in sys.argv[2:]:
        name, _, directory = argument.partition("=")
        draw_page(folder, name, Path(directory))
    if sys.argv[2:]:
        sys.exit()
    draw_schedules(folder / "schedules.png")
    draw_warmups(folder / "warmups.png")
