"""The score over several races, read from their directories."""

import json
from pathlib import Path
from typing import Any

from kasoku.report.__main__ import main
from tests.report import made

Times = list[float | None]


def race(folder: Path, times: dict[str, Times], over: bool = True, **other: list[str]) -> Path:
    """The directory of a race whose strategies took `times`, with `other` overrides than their names."""
    made.run(folder / "0")
    strategies = {n: {"overrides": other.get(n, [f"optimizer={n}"]), "times": t} for n, t in times.items()}
    verdict = [{"strategy": "b", "baseline": "a", "sentence": "later"}] if over else []
    content: dict[str, Any] = {"strategies": strategies, "verdict": verdict, "stopped": None}
    (folder / "race.json").write_text(json.dumps(content))
    (folder / "sweep.json").write_text("{}")
    return folder


def rows(said: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in said.splitlines() if "│" in line]
    return {line[0]: line[1:] for line in lines}


def test_the_score_over_three_races_as_worked_out_by_hand(tmp_path, capsys):
    """Ratios to the soonest: a 2, 1, 1; b 1, 1.5, never; c never, 4, 3.4.

    Integrated from 1 to 4, over 3: a (2/3 + 1 + 1) / 3, b (1 + 2.5/3 + 0) / 3, c (0 + 0 + 0.6/3) / 3.
    """
    races = [
        race(tmp_path / "one", {"a": [190, 200, 210, 200], "b": [100, 90, 110, 100], "c": [None, None, None, 9]}),
        race(tmp_path / "two", {"a": [20, 20, 20, 20], "b": [30, 30, 30, None], "c": [80, 80, 80, 80]}),
        race(tmp_path / "three", {"a": [50, 50, 50, 50], "b": [], "c": [170, 170, 170, 170]}),
    ]
    assert main([str(folder) for folder in races]) == 0
    told = rows(capsys.readouterr().out)
    assert told["a"] == ["0.889", "0.67", "0.67", "0.67", "1.00", "1.00"]
    assert told["b"] == ["0.611", "0.33", "0.33", "0.67", "0.67", "0.67"]
    assert told["c"] == ["0.067", "0.00", "0.00", "0.00", "0.00", "0.67"]


def test_what_cannot_be_compared_is_left_out_and_said(tmp_path, capsys):
    four: Times = [10, 10, 10, 10]
    races = [
        race(tmp_path / "one", {"a": four, "b": four, "c": four, "d": four}),
        race(tmp_path / "two", {"a": four, "b": four, "c": four}, c=["optimizer=else"]),
        race(tmp_path / "three", {"a": four, "b": four, "c": four}, over=False),
    ]
    assert main([str(folder) for folder in races]) == 0
    said = capsys.readouterr().out
    assert f"{races[2]} is left out: it has no verdict" in said
    assert "d is left out: it is not in every race" in said
    assert "c is left out: it has other overrides in other races" in said
    assert "2 races" in said
    assert rows(said)["a"][0] == rows(said)["b"][0] == "1.000"
    assert main([str(races[0]), str(races[2])]) == 0
    said = capsys.readouterr().out
    assert "two races must have two strategies in common" in said
    assert main([str(races[0])]) == 0
    assert "score" not in capsys.readouterr().out
