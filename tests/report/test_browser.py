"""report.html in a headless Chromium: draws, sorts, filters, copies, changes theme, fits a phone, asks no network."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kasoku.report import page
from tests.report import made
from tests.report.test_page import EVIL, a_race, a_sweep

pytestmark = [pytest.mark.proof, pytest.mark.xdist_group("browser")]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("plotly", reason="plotly is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium is installed: apt-get install chromium", allow_module_level=True)

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """opened(folder, ...) is the page of its runs; at the end: no error, and no request but for the file."""
    wrong: list[str] = []
    contexts: list[Any] = []

    def start(folder: Path, **options: Any) -> Any:
        file = tmp_path / "report.html"
        page.write(file, [folder], f"kasoku report {folder} --html")
        context = browser.new_context(**options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url))
        tab.goto(file.as_uri())
        tab.wait_for_selector("html[data-ready]")
        return tab

    yield start
    for context in contexts:
        context.close()
    assert wrong == []


def six(folder: Path) -> Path:
    for seed in range(3):
        for name, top, lr in (("SGD", 0.95, 0.3), ("AdamW", 0.8, 0.1)):
            curves = {"lr": [lr, lr / 2, 0], "val/acc": [0.1 + seed / 100, top - 0.1, top + seed / 100]}
            text = made.config(seed, name, lr)
            lines = [f"optimizer={name.lower()}", f"optimizer.lr={lr}"]
            made.run(folder / f"{name}{seed}", top + seed / 100, lines, seed, text, curves)
    return folder


def column(tab: Any, name: str) -> list[str]:
    heads = tab.locator("#table thead th").all_inner_texts()
    return tab.locator(f"#table tbody tr > td:nth-child({heads.index(name) + 1})").all_inner_texts()


def texts_drawn(tab: Any, figure: str) -> str:
    return " ".join(tab.locator(f"figure:has-text('{figure}') .plot svg text").all_text_contents())


def test_a_click_on_a_head_sorts_up_and_then_down(opened, tmp_path):
    tab = opened(six(tmp_path / "six"))
    assert column(tab, "optimizer") == ["sgd", "adamw"]  # best first
    head = tab.locator("#table th", has=tab.get_by_role("button", name="optimizer.lr", exact=True))
    head.get_by_role("button").click()
    assert (column(tab, "optimizer.lr"), head.get_attribute("aria-sort")) == (["0.1", "0.3"], "ascending")
    tab.keyboard.press("Enter")  # the focus stays on the head
    assert (column(tab, "optimizer.lr"), head.get_attribute("aria-sort")) == (["0.3", "0.1"], "descending")


def test_the_filter_takes_words_and_comparisons_and_the_curves_follow(opened, tmp_path):
    tab = opened(six(tmp_path / "six"))
    search = tab.get_by_role("searchbox")
    for text, left in {
        "adamw": ["adamw"],
        "median>0.9": ["sgd"],
        "optimizer=sgd n=3": ["sgd"],
        "sgd adamw": [],
    }.items():
        search.fill(text)
        assert column(tab, "optimizer") == left
    search.fill("adamw")
    tab.wait_for_function("document.querySelectorAll('#curves .plot .legend .traces').length === 2")  # one a figure
    assert "1 of 2 rows" in tab.locator("#table .controls").inner_text()


def test_columns_are_hidden_and_a_row_opens_its_seeds_with_their_commands(opened, tmp_path):
    tab = opened(six(tmp_path / "six"))
    tab.locator("#table summary", has_text="Columns").click()
    tab.get_by_label("status").uncheck()
    assert "status" not in tab.locator("#table thead th").all_inner_texts()
    tab.locator("#table .open").first.click()
    inner = tab.locator("tr.inner")
    assert inner.locator("li").count() == 3
    inner.get_by_role("button").first.click()
    assert "optimizer=sgd" in tab.evaluate("navigator.clipboard.readText()")
    tab.locator("#table .open").first.click()
    assert inner.count() == 0


def test_the_axis_changes_between_steps_samples_and_seconds_with_the_target_line(opened, tmp_path):
    tab = opened(six(tmp_path / "six"))
    ends = {}
    for axis in ("steps", "samples", "seconds of training"):
        tab.get_by_role("radio", name=axis, exact=True).check()
        traces = tab.evaluate("[...document.querySelectorAll('#curves .plot')].map(p => p.data.map(t => t.x))")
        ends[axis] = max(x for trace in traces[0] for x in trace if x is not None)
        assert axis in texts_drawn(tab, "Each seed thin")
    assert ends == {"steps": 30, "samples": 30 * 64, "seconds of training": pytest.approx(3.0)}
    assert "target 0.9" in texts_drawn(tab, "Each seed thin")
    tab.get_by_label("target", exact=True).uncheck()
    assert "target" not in texts_drawn(tab, "Each seed thin")


def test_the_median_over_seeds_is_drawn_thick(opened, tmp_path):
    tab = opened(six(tmp_path / "six"))
    traces = tab.evaluate("document.querySelector('#curves .plot').data.map(t => [t.name, t.line.width, t.y])")
    thick = {name: y for name, width, y in traces if width > 3}
    assert thick["optimizer=sgd lr=0.3 (median of 3)"] == pytest.approx([0.11, 0.85, 0.96])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_follow_the_system_change_by_a_button_and_can_be_read(opened, tmp_path, scheme):
    tab = opened(six(tmp_path / "six"), color_scheme=scheme)
    for theme in (scheme, "dark" if scheme == "light" else "light"):
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
        assert contrast(tab, "body") > 7
        for part in (".quiet", "th button", "figcaption"):
            assert contrast(tab, part) > 4.5
        ink = tab.evaluate("getComputedStyle(document.querySelector('#curves .plot .xtick text')).fill")
        assert luminance(ink) > 0.5 if theme == "dark" else luminance(ink) < 0.1
        tab.locator("#theme").click()


def luminance(text: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", text)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(tab: Any, selector: str) -> float:
    """The contrast of WCAG 2 between the text and the page behind it."""
    ink = luminance(tab.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color"))
    back = luminance(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    return (max(ink, back) + 0.05) / (min(ink, back) + 0.05)


def test_a_race_opens_with_its_verdict_and_the_ratios(opened, tmp_path):
    a_race(tmp_path / "race")
    tab = opened(tmp_path / "race", viewport={"width": 1200, "height": 800})
    verdict = tab.locator(".verdict").first
    assert verdict.inner_text() == "b v a: 2.0 times sooner"
    assert verdict.bounding_box()["y"] < 800
    assert "2×, 4 of 5" in texts_drawn(tab, "How much sooner")
    assert tab.get_by_role("region", name="Verdicts").locator("tbody tr").inner_text().split("\t")[2] == "1.5 to ∞"
    assert column(tab, "phase") == ["confirmation"] * 2  # the filter begins with it
    tab.get_by_label("steps, tuning included").check()
    xs = tab.evaluate("document.querySelector('#curves .plot').data.map(t => t.x)")
    assert min(x for trace in xs for x in trace if x is not None) > 400


def searched(folder: Path) -> Path:
    """A sweep of two objectives over two numbers and a word, with one trial that was ended early."""
    values = [(0.9, 5.0), (0.5, 1.0), (0.7, 9.0), (0.1, 7.0), (0.3, 3.0)]
    best = [{"number": 3, "values": [0.1, 7.0], "command": "kasoku optimizer.lr=0.3"}]
    numbers = [0.001, 0.01, 0.1, 0.3, 0.5]
    words = ["<b>x</b>", "sgd", "sgd", "adamw", "adamw"]
    given = {"optimizer__lr": numbers, "optimizer__weight_decay": numbers[::-1], "optimizer": words}
    a_sweep(folder, values, ["val/loss", "score"], ["min", "max"], {4: "pruned"}, best, **given)
    return folder


def test_the_figures_of_a_search_are_drawn_for_each_objective(opened, tmp_path):
    tab = opened(searched(tmp_path / "sweep"))
    assert tab.locator(".verdict").first.inner_text() == "Best, trial 3: val/loss 0.1, score 7"
    for figure in ("Pareto front", "Values in the order", "Contour", "Parallel coordinates", "Slices"):
        place = tab.locator(f"figure:has-text('{figure}') .plot")
        assert place.evaluate("p => p.data.filter(trace => trace.x.length).length") > 0
        assert place.locator("svg.main-svg").count() > 0
        assert "5 trials over optimizer.lr, optimizer.weight_decay" in place.get_attribute("aria-label")
    assert "val/loss" in texts_drawn(tab, "Values in the order")
    tab.get_by_label("Objective").select_option("score")
    assert "score" in texts_drawn(tab, "Values in the order")
    assert "<b>x</b>" in texts_drawn(tab, "Slices")
    assert "undefined" not in tab.locator("main").inner_text()
    symbols = tab.locator("figure:has-text('Slices') .plot").evaluate("p => p.data[0].marker.symbol")
    assert sorted(symbols) == ["circle"] * 4 + ["x"]


def test_the_strong_colours_of_a_search_stand_out_in_both_themes(opened, tmp_path):
    tab = opened(searched(tmp_path / "sweep"), color_scheme="light")
    strongest = (
        "[...document.querySelectorAll('.plot')].map(p => p.data.find(t => t.type === 'contour')?.colorscale[4][1])"
    )
    for theme, lightness in (("light", 30), ("dark", 82)):
        (found,) = [scale for scale in tab.evaluate(strongest) if scale]
        assert (tab.evaluate("document.documentElement.dataset.theme"), found) == (
            theme,
            f"hsl(210, 90%, {lightness}%)",
        )
        tab.locator("#theme").click()


def test_the_runs_behind_a_figure_are_those_that_it_draws(opened, tmp_path):
    a_race(tmp_path / "race")
    tab = opened(tmp_path / "race")
    curves = tab.locator("figure:has-text('Each seed thin')")
    assert "the 2 runs behind" in curves.inner_text()  # those of the confirmation
    tab.get_by_label("runs of tuning too").check()
    assert "the 4 runs behind" in curves.inner_text()


def test_a_phone_scrolls_no_sideways(opened, tmp_path):
    a_race(tmp_path / "both" / "race")
    six(tmp_path / "both" / "six")
    searched(tmp_path / "both" / "sweep")
    tab = opened(tmp_path / "both", viewport=PHONE, has_touch=True, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    widths = tab.locator("figure").evaluate_all("all => all.map(p => p.getBoundingClientRect().right)")
    assert max(widths) <= PHONE["width"]


def test_every_control_and_figure_has_a_name_for_a_screen_reader(opened, tmp_path):
    tab = opened(six(tmp_path / "six"))
    unnamed = """[...document.querySelectorAll('button, select, input')].filter(e =>
        !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length"""
    assert tab.evaluate(unnamed) == 0
    labels = tab.locator(".plot").evaluate_all("all => all.map(p => p.role + p.ariaLabel)")
    assert all(label.startswith("img") and "lines" in label for label in labels)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the table"


def test_texts_of_a_run_are_shown_as_they_are_and_run_nothing(opened, tmp_path):
    bold = "<b>x</b><img src=x onerror=alert(1)>"
    for seed in range(2):
        curves = {f"val/acc{bold}": [0.1, 0.5]}
        lines = [f"task_name={EVIL}", f"optimizer={bold}{seed}"]
        made.run(tmp_path / "r" / f"x{seed}", 0.5, lines, 0, made.config(lr=seed), curves, metric=f"val/acc{bold}")
    tab = opened(tmp_path / "r")
    assert bold in " ".join(column(tab, "optimizer"))
    assert tab.locator("main img, main b, .plot b").count() == 0
    assert bold in texts_drawn(tab, "Each seed thin")
