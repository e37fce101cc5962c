"""kasoku dashboard: the objects as JSON, and what it asks of a stand-in for W&B's server on loopback."""

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kasoku.report import dashboard
from tests.conftest import ROOT

pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")


def dry(capsys, *words: str) -> dict[str, Any]:
    assert dashboard.main(["team/proj", "--dry-run", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_workspace_has_its_sections_and_the_target_in_its_direction(capsys, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)  # nobody is asked
    view = dry(capsys, "--metric", "val/loss")["workspace"]
    sections = {one["name"]: one for one in view["spec"]["section"]["panelBankConfig"]["sections"]}
    assert list(sections) == ["Race", "Target", "Learning curves", "Learning rate", "Search", "System"]
    assert "best/val/loss" in json.dumps(sections["Target"])
    for axis in ("trainer/global_step", "samples", "train_seconds"):
        assert axis in json.dumps(sections["Learning curves"])
    (runs,) = view["spec"]["section"]["runSets"]
    assert [key["ascending"] for key in runs["sort"]["keys"]] == [True]  # a loss: the least first
    assert (view["entity"], view["project"]) == ("team", "proj")


def test_the_report_has_the_verdicts_of_races(capsys):
    spec = dry(capsys)["report"]["spec"]
    assert "verdict" in json.dumps(spec)
    heads = [block["children"][0]["text"] for block in spec["blocks"] if block["type"] == "heading"]
    assert heads == ["Races", "Target", "Learning curves", "Search"]


def test_two_dry_runs_name_the_same_view(capsys):
    first, second = dry(capsys)["workspace"], dry(capsys)["workspace"]
    assert first["name"] == second["name"] == "nw-kasoku-v"


@pytest.mark.parametrize("words", [["proj"], ["a/b/c"], ["a/b?c"], []])
def test_a_wrong_address_is_refused(words, capsys):
    assert dashboard.main(words) == 2
    assert "ENTITY/PROJECT" in capsys.readouterr().err


USER = {"id": "u", "name": "u", "username": "u", "email": "a@b", "photoUrl": "", "entity": "team", "flags": "{}"}
USER |= {"admin": False, "deletedAt": None, "apiKeys": {"edges": []}, "teams": {"edges": []}}
PAGE = {"endCursor": None, "hasNextPage": False}


class Server(ThreadingHTTPServer):
    """Answers as much of W&B's GraphQL as the command asks for, and keeps the mutations."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mutations: list[dict[str, Any]] = []
        self.kept: dict[str, dict[str, Any]] = {}  # views by their type

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertView" in query:
            self.mutations.append(variables)
            made = {"id": f"id of {variables['type']}", "description": "", "project": {"id": "P", "name": "proj"}}
            made |= {key: variables[key] for key in ("name", "displayName", "spec")}
            made["project"] |= {"entityName": "team"}
            made |= {"createdAt": "2026-01-01T00:00:00", "updatedAt": "2026-01-01T00:00:00", "user": USER}
            self.kept[variables["type"]] = made
            return {"upsertView": {"view": made, "inserted": True}}
        if "allViews" in query:
            found = self.kept.get(variables.get("viewType") or "runs")
            edges = [{"node": found, "cursor": "c"}] if found else []
            return {"project": {"allViews": {"edges": edges, "pageInfo": PAGE}}}
        if "models(" in query:
            project = {"id": "P", "name": "proj", "entityName": "team", "createdAt": "2026-01-01", "isBenchmark": False}
            return {"models": {"edges": [{"node": project | {"user": USER}, "cursor": "c"}], "pageInfo": PAGE}}
        return {"viewer": USER | {"teams": {"edges": []}}}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        is_query = self.path.endswith("/graphql") and raw.startswith(b"{")
        asked = json.loads(raw) if is_query else {}
        data = {"data": self.server.answer(asked["query"], asked.get("variables") or {})} if is_query else {}
        out = json.dumps(data).encode()
        self.send_response(200 if is_query else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


def ask(server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}", "WANDB_API_KEY": "a" * 40}
    env |= {"PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)}
    words = [sys.executable, "-m", "kasoku", "dashboard", "team/proj"]
    return subprocess.run(words, capture_output=True, text=True, timeout=100, env=env, cwd=folder)


@pytest.mark.proof
def test_called_twice_it_saves_one_view_and_one_report(server, tmp_path):
    first = ask(server, tmp_path)
    assert first.returncode == 0, first.stderr
    assert [m["type"] for m in server.mutations] == ["project-view", "runs"]
    assert not any(m.get("id") for m in server.mutations)  # new
    again = ask(server, tmp_path)
    assert again.returncode == 0, again.stderr
    assert [m["id"] for m in server.mutations[2:]] == ["id of project-view", "id of runs"]
    assert server.mutations[0]["name"] == server.mutations[2]["name"]
    assert "nw=kasoku" in again.stdout
