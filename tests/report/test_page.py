"""report.html as data and as text: what it holds, what it cannot hold, and that it never fails a sweep."""

import json
import re

import pytest

from kasoku.faults import ConfigError
from kasoku.report import content, page
from kasoku.report.__main__ import main
from tests.report import made

pytest.importorskip("plotly", reason="plotly is not installed")

EVIL = "</script><script>alert(1)</script><!--&\u2028<b>x</b>"


def data_in(text: str) -> dict:
    """The JSON that the page's script reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def a_race(folder, times=(10.0, 12.0, None, 11.0)) -> None:
    """Two strategies of two confirmation runs each, and one of tuning."""
    trials = []
    for number, (strategy, phase, steps) in enumerate(
        [("a", "tuning", 40), ("a", "confirmation", 20), ("a", "confirmation", 30), ("b", "confirmation", 20)]
    ):
        lines = [f"optimizer={strategy}", f"trainer.max_steps={steps}"]
        text = made.config(number, strategy) + f"trainer:\n  max_steps: {steps}\n"
        made.run(folder / str(number), 0.5, lines, number, text)
        parameters = {"strategy": strategy, "phase": phase, "trainer.max_steps": steps}
        trials.append({"number": number, "state": "completed", "value": 0.5, "parameters": parameters})
        trials[-1] |= {"overrides": lines, "directory": "elsewhere", "seconds": 1.0, "steps": steps, "reason": ""}
    entry = {"strategy": "b", "baseline": "a", "ratio": 2.0, "low": 1.5, "high": None, "hits": 4, "n": 5, "p": 0.01}
    entry |= {"p_adjusted": 0.02, "sentence": "2.0 times sooner", "seconds": None, "payback": None}
    tuned = [{"values": {}, "steps": 30, "warnings": ["optimizer.lr=3 lies at the border 3 of its range: widen it"]}]
    a = {"lengths": [[20, 30]], "tuning_steps": 400, "tuned": tuned, "times": list(times)}
    b = {"lengths": [[20]], "tuning_steps": 500, "tuned": [None], "times": [5.0, 5.0]}
    target = {"metric": "val/acc", "value": 0.9, "mode": "max", "stop": False}
    rules = {"baseline": "a", "cap": 100, "tuning": 8, "target": target}
    race = {"settings": {"rules": rules}, "strategies": {"a": a, "b": b}, "verdict": [entry], "stopped": None}
    sweep = {"overrides": ["sweeper=race"], "settings": {"metric": "val/acc"}, "trials": trials, "best": []}
    (folder / "race.json").write_text(json.dumps(race))
    (folder / "sweep.json").write_text(json.dumps(sweep))


def a_sweep(folder, values, metric="val/acc", modes=("max",), states=None, best=(), **parameters) -> None:
    """A sweep with a trial for each of `values`; `parameters` are lists of theirs, by their names."""
    trials = []
    for i, value in enumerate(values):
        own = {name.replace("__", "."): given[i] for name, given in parameters.items()}
        lines = [f"{name}={given}" for name, given in own.items()]
        made.run(folder / str(i), 0.5, lines, i, made.config(i, lr=i))
        trials.append({"number": i, "state": (states or {}).get(i, "completed"), "parameters": own, "overrides": lines})
        trials[-1] |= {"values": list(value)} if isinstance(value, tuple) else {"value": value}
    sweep = {"overrides": ["x=1,2"], "settings": {"metric": metric}, "modes": list(modes), "n_trials": len(values)}
    sweep |= {"trials": trials, "best": list(best), "importance": {}}
    (folder / "sweep.json").write_text(json.dumps(sweep))


def test_a_run_can_put_no_markup_and_no_end_of_a_script_into_the_page(tmp_path):
    made.run(tmp_path / "a", 0.5, [f"task_name={EVIL}", f"tags=[{EVIL}]"], curves={EVIL.split("&")[0]: [1, 2]})
    page.write(tmp_path / "report.html", [tmp_path], EVIL)
    text = (tmp_path / "report.html").read_text()
    assert text.count("</script>") == 3  # data, plotly, the page's own
    assert "alert(1)" not in re.sub(r'id="data">.*?</script>', "", text, flags=re.DOTALL)
    data = data_in(text)
    assert data["command"] == EVIL
    assert EVIL in data["runs"][0]["command"]


def test_the_marks_of_the_template_mean_nothing_in_the_data(tmp_path):
    made.run(tmp_path / "a", 0.5, ["x=<!-- plotly -->"])
    page.write(tmp_path / "r.html", [tmp_path], "kasoku \0script\0")
    text = (tmp_path / "r.html").read_text()
    assert "<!-- plotly -->" in data_in(text)["runs"][0]["command"]
    assert data_in(text)["command"] == "kasoku \0script\0"


def test_the_page_names_no_other_server(tmp_path):
    made.run(tmp_path / "a", 0.5)
    page.write(tmp_path / "r.html", [tmp_path], "")
    text = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)


def test_only_the_runs_that_the_verdict_rests_on_are_its_confirmation(tmp_path):
    a_race(tmp_path)
    data = content.gather([tmp_path])
    phases = {run["path"]: run["phase"] for run in data["runs"]}
    assert phases == {"0": "tuning", "1": "earlier confirmation", "2": "confirmation", "3": "confirmation"}
    assert {run["path"]: run["tuning"] for run in data["runs"]}["3"] == 500
    assert {row["cells"]["phase"] for row in data["rows"]} == set(phases.values())
    assert data["kind"] == "race"


def test_the_notes_of_a_race_name_budget_borders_and_missed_seeds(tmp_path):
    a_race(tmp_path)
    notes = " ".join(content.gather([tmp_path])["studies"][0]["notes"])
    assert "longer than 100 steps; each strategy might spend 800 steps" in notes
    assert "a: tuned in 400 steps" in notes
    assert "lies at the border" in notes
    assert "a: 1 of 4 seeds missed" in notes
    assert "b: " not in notes.replace("b: tuned in 500 steps", "")


def test_the_figures_of_a_search_bring_no_second_plotly(tmp_path):
    a_sweep(tmp_path, [0.1, 0.3, 0.2], optimizer__lr=[0.1, 0.2, 0.3])
    page.write(tmp_path / "r.html", [tmp_path], "")
    text = (tmp_path / "r.html").read_text()
    assert text.count("<script") == 3  # data, plotly, the page's own
    assert {one["name"] for one in data_in(text)["studies"][0]["figures"]} == {"history", "parallel", "slices"}
    assert len(text) < 2.1e6


def test_a_row_has_the_values_of_several_objectives(tmp_path):
    a_sweep(tmp_path, [(0.1, 3.0), (0.2, 2.0)], ["val/loss", "score"], ["min", "max"], optimizer__lr=[0.1, 0.2])
    data = content.gather([tmp_path])
    cells = {row["cells"]["run"]: row["cells"] for row in data["rows"]}
    assert {run: (own["val/loss"], own["score"]) for run, own in cells.items()} == {"0": (0.1, 3.0), "1": (0.2, 2.0)}
    assert {"val/loss", "score"} <= set(data["columns"])


def test_an_objective_that_is_the_target_has_one_column(tmp_path):
    a_sweep(tmp_path, [(0.1, 3.0), (0.2, 2.0)], ["val/acc", "score"], ["max", "max"], optimizer__lr=[0.1, 0.2])
    columns = content.gather([tmp_path])["columns"]
    assert ("val/acc" in columns, "score" in columns) == (False, True)


def test_why_there_are_no_importances_is_said(tmp_path):
    a_sweep(tmp_path, [0.1, 0.3, 0.2], states={1: "pruned"}, optimizer__lr=[0.1, 0.2, 0.3])
    notes = content.gather([tmp_path])["studies"][0]["notes"]
    assert [note for note in notes if "importances" in note] == [
        "No importances: they need 4 whole trials whose values differ"
    ]


@pytest.mark.proof
def test_a_sweep_of_500_trials_makes_less_than_5_mb(tmp_path):
    values = [i / 500 for i in range(500)]
    lists = {f"optimizer__p{k}": [(i * 7919 * (k + 1) % 1009) / 1009 for i in range(500)] for k in range(6)}
    a_sweep(tmp_path, values, states=dict.fromkeys(range(0, 500, 3), "pruned"), **lists)
    page.write(tmp_path / "r.html", [tmp_path], "")
    assert (tmp_path / "r.html").stat().st_size < 5e6


def test_what_differs_in_number_or_was_not_finished_is_noted(tmp_path):
    made.run(tmp_path / "a", 0.5, ["x=1"], text=made.config(lr=1))
    made.run(tmp_path / "b", 0.5, ["x=2"], text=made.config(lr=2))
    made.run(tmp_path / "c", 0.5, ["x=2"], 1, made.config(1, lr=2), ended=False)
    notes = content.gather([tmp_path])["notes"]
    assert any("1, 2 runs" in note for note in notes)
    assert "1 of 3 runs: unfinished." in notes


def test_the_units_of_a_run_come_from_its_result(tmp_path):
    made.run(tmp_path / "a", 0.5)
    made.run(tmp_path / "b", 0.5, ended=False)
    units = {run["path"]: run["per_step"] for run in content.gather([tmp_path])["runs"]}
    assert units == {"a": {"samples": 64.0, "seconds": 0.1}, "b": {"samples": None, "seconds": None}}


def test_html_is_written_beside_the_runs_or_where_it_is_asked_for(tmp_path, capsys):
    made.run(tmp_path / "runs" / "a", 0.5)
    assert main([str(tmp_path / "runs"), "--html"]) == 0
    assert (tmp_path / "runs" / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out
    assert main([str(tmp_path / "runs"), "--html", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").is_file()
    assert main([str(tmp_path / "none"), "--html"]) == 2


def test_500_runs_make_less_than_5_mb(tmp_path):
    curve = [round(1 / (i + 1.2345678), 8) for i in range(200)]
    given = dict.fromkeys(("lr", "train/loss", "val/loss", "val/acc"), curve)
    for i in range(500):
        made.run(tmp_path / str(i), 0.5, [f"optimizer.lr={i}"], text=made.config(lr=i), curves=given)
    page.write(tmp_path / "r.html", [tmp_path], "")
    assert (tmp_path / "r.html").stat().st_size < 5e6


def test_a_page_that_cannot_be_written_is_said_in_one_line_and_fails_nothing(tmp_path, monkeypatch):
    said: list[str] = []
    page.leave(tmp_path, said.append)  # no run in it
    monkeypatch.setattr(content, "gather", lambda folders: 1 / 0)
    page.leave(tmp_path, said.append)
    assert [line.split(":")[1].strip() for line in said] == ["ConfigError", "ZeroDivisionError"]
    assert not any("\n" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch):
    made.run(tmp_path / "a", 0.5)
    page._plotly.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(ConfigError, match="pip install plotly"):
        page.write(tmp_path / "r.html", [tmp_path], "")
