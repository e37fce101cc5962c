"""Optuna's figures of a search: what is drawn of which study, and that nothing in one can break or mark up the page."""

import json

import pytest

from kasoku.report import search_figures
from kasoku.report.search_figures import Searched
from kasoku.report.studies import Study

pytest.importorskip("plotly", reason="plotly is not installed")

LRS = (0.001, 0.01, 0.1, 0.3, 0.03, 0.5)


def trials(*values, states=None, **parameters):
    """A trial for each of `values`, numbered from 0; `parameters` are lists of theirs, by their names."""
    found = []
    for i, value in enumerate(values):
        own = {name.replace("__", "."): listed[i] for name, listed in parameters.items() if listed[i] is not None}
        both = {"values": list(value), "value": None} if isinstance(value, tuple) else {"value": value}
        found.append({"number": i, "state": (states or {}).get(i, "completed"), "parameters": own} | both)
    return found


def drawn(found, metrics=("val/acc",), modes=("max",), importance=None):
    figures = list(search_figures.sweep(Searched(metrics, modes, found), importance or {}))
    json.dumps(figures, allow_nan=False)
    return figures


def named(figures, name):
    (figure,) = [one for one in figures if one["name"] == name]
    return figure


def traces(figures, name):
    return {trace.get("name"): trace for trace in named(figures, name)["data"]}


WORDS = ["sgd", "adamw", "sgd", "adamw", "muon", "muon"]
USUAL = ["history", "parallel", "slices"]
SIX = (0.1, 0.2, 0.5, 0.4, 0.3, 0.6)


@pytest.mark.parametrize(
    ("found", "names"),
    [
        pytest.param([], [], id="none"),
        pytest.param(trials(0.5, lr=[0.1]), [], id="one trial"),
        pytest.param(trials(None, None, None, lr=LRS), [], id="all failed"),
        pytest.param(trials(0.5, None, lr=LRS), [], id="all but one failed"),
        pytest.param(trials(*SIX, lr=[0.1] * 6), ["history"], id="nothing varied"),
        pytest.param(trials(0.5, 0.5, 0.5, lr=LRS), USUAL, id="equal values"),
        pytest.param(trials(*SIX, opt=WORDS), USUAL, id="words alone"),
        pytest.param(trials(*SIX, lr=LRS, wd=LRS[::-1]), ["contour", *USUAL], id="two numbers"),
        pytest.param(
            trials(*SIX, lr=LRS, wd=LRS[::-1], states=dict.fromkeys(range(6), "pruned")),
            ["contour", *USUAL],
            id="all ended early",
        ),
        pytest.param(trials(*SIX, on=[True, False, None, 1, "x", 2.5]), USUAL, id="of all kinds"),
        pytest.param(
            trials(*SIX, lr=LRS, wd=[None, None, 0.1, 0.2, 0.3, None]),
            ["contour", *USUAL],
            id="a parameter that some lack",
        ),
        pytest.param(trials(*SIX, a=["", " ", "\n", "é", "x" * 300, "$x$"]), USUAL, id="odd"),
    ],
)
def test_a_study_is_drawn_as_far_as_there_is_something_in_it(found, names):
    assert sorted(one["name"] for one in drawn(found)) == names


def test_each_of_several_objectives_has_its_figures_and_its_own_direction():
    found = trials((0.9, 5.0), (0.5, 1.0), (0.7, 9.0), (0.1, 7.0), lr=LRS, wd=LRS[::-1])
    figures = drawn(found, ["val/loss", "score"], ["min", "max"])
    assert {one["of"] for one in figures if one["name"] in ("history", "slices", "contour")} == {"val/loss", "score"}
    best = {one["of"]: one["data"][1]["y"] for one in figures if one["name"] == "history"}
    assert best == {"val/loss": [0.9, 0.5, 0.5, 0.1], "score": [5, 5, 9, 9]}
    reversed_scale = {one["of"]: one["data"][0]["reversescale"] for one in figures if one["name"] == "contour"}
    assert reversed_scale == {"val/loss": True, "score": False}  # the strong end is the better one
    front = traces(figures, "pareto")["none is better in both"]
    assert sorted(zip(front["x"], front["y"], strict=True)) == [(0.1, 7), (0.7, 9)]
    assert named(figures, "parallel")["layout"]["xaxis"]["ticktext"] == ["val/loss", "score", "lr", "wd"]


def test_three_objectives_have_no_front_that_could_be_drawn_flat():
    found = trials((1.0, 2.0, 3.0), (2.0, 1.0, 3.0), lr=LRS)
    names = [one["name"] for one in drawn(found, "abc", ["min"] * 3)]
    assert sorted(set(names)) == USUAL
    assert names.count("history") == 3


def test_trials_keep_their_numbers_and_those_ended_early_are_told_apart():
    found = trials(0.1, None, 0.9, 0.4, opt=WORDS, states={1: "failed", 2: "pruned"})[:4]
    figures = drawn([trial for trial in found if trial["number"] != 1])
    points = traces(figures, "history")
    assert (points["val/acc"]["x"], points["ended early"]["x"]) == ([0, 3], [2])
    assert points["best so far"]["y"] == [0.1, 0.1, 0.1, 0.4]
    (slices,) = named(figures, "slices")["data"]
    assert sorted(slices["marker"]["color"]) == [0, 2, 3]  # the page marks them there, by their numbers


def test_the_importances_are_those_that_the_sweep_said():
    shares = {"b (adamw)": 0.5, "c": 0.25, "b (sgd)": 0.125, "a": 0.125}  # (adamw): of the trials with it alone
    figures = drawn(trials(*SIX, a=LRS, b=LRS[::-1], c=LRS[1:] + LRS[:1]), importance=shares)
    (bars,) = named(figures, "importance")["data"]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == shares
    assert bars["y"][-1] == "b (adamw)"  # the greatest on top
    axes = named(figures, "contour")["layout"]
    assert {axes["xaxis"]["title"]["text"], axes["yaxis"]["title"]["text"]} == {"b", "c"}


def test_a_number_over_more_than_a_decade_has_a_log_scale():
    axes = named(drawn(trials(*SIX, a=LRS, b=[1.5, 2, 3, 4, 5, 6])), "slices")["layout"]
    assert (axes["xaxis"]["type"], axes["xaxis2"].get("type")) == ("log", None)


def test_a_few_whole_numbers_have_each_their_place():
    found = trials(*SIX, lr=LRS, hidden=[16, 64, 256, 16, 64, 256])
    figures = drawn(found)
    assert named(figures, "slices")["layout"]["xaxis"]["categoryarray"] == ["16", "64", "256"]
    ticks = [(word["x"], word["text"]) for word in named(figures, "parallel")["layout"]["annotations"]]
    assert [text for axis, text in ticks if axis == 1] == ["16", "64", "256"]


def test_no_name_and_no_value_is_markup():
    bold = "<b>x</b><img src=x>"
    found = trials(*SIX, **{bold: LRS, f"{bold}y": [f"{bold}{i}" for i in range(6)], f"{bold}z": LRS[::-1]})
    figures = drawn(found, [bold], importance={bold: 0.5, f"{bold}y": 0.5})
    assert {one["name"] for one in figures} == {"importance", "history", "slices", "contour", "parallel"}
    shown = json.dumps([one["data"] for one in figures] + [one["layout"] for one in figures])
    assert "&lt;b&gt;x" in shown
    assert not any(mark in shown for mark in ("<b>", "<img", "</b>"))


def test_what_optuna_cannot_draw_is_left_out(monkeypatch):
    monkeypatch.setattr(search_figures, "plot_slice", lambda *args, **kwargs: 1 / 0)
    assert sorted(one["name"] for one in drawn(trials(*SIX, lr=LRS))) == ["history", "parallel"]


def test_a_race_has_the_tuning_of_each_strategy():
    phases = ["tuning"] * 5 + ["confirmation"]
    found = trials(*SIX, strategy=["a", "b", "a", "b", "a", "a"], phase=phases, lr=LRS)
    figures = list(search_figures.race(Searched(["val/loss"], ["min"], found)))
    assert {one["of"] for one in figures if one["name"] == "slices"} == {"a", "b"}
    points = {trace["name"]: trace["x"] for trace in named(figures, "history")["data"] if trace["x"]}
    assert points == {"a": [0, 2, 4], "b": [1, 3]}
    assert list(search_figures.race(Searched(["val/loss"], ["min"], []))) == []


@pytest.mark.parametrize(
    ("sweep", "modes"),
    [
        ({"settings": {"metric": "val/acc"}, "modes": ["min"]}, ["min"]),
        ({"settings": {"metric": ["val/loss", "val/acc"]}}, ["min", "max"]),  # as sweep.json was once
        ({}, ["max"]),
    ],
)
def test_the_directions_are_those_of_sweep_json(sweep, modes, tmp_path):
    assert Study(tmp_path, sweep).modes == modes


def test_the_trials_of_a_front_are_told_with_their_values(tmp_path):
    best = [{"number": 3, "values": [0.25, 12.0], "command": "kasoku lr=1"}]
    study = Study(tmp_path, {"settings": {"metric": ["val/loss", "train_seconds"]}, "best": best})
    assert study.lines == ["best, trial 3 (val/loss 0.25, train_seconds 12): kasoku lr=1"]
