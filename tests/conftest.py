"""Shared by all tests: composing, running in this process, and running the command as a user does."""

import atexit
import functools
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import DictConfig

import kasoku.command.main  # noqa: F401  sets variables of the environment, for all tests
from kasoku.config import resolvers
from tests.forked import Forks

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
COUNTED, LISTED = "counted", "listed"
SMALL = ("model=mlp", "trainer=cpu", "logger=none")  # trains an epoch in a fraction of a second

# A deadline is a wall-clock assertion. A landing must not depend on the luck of the draw; all other runs look further.
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_MODE", "offline")
resolvers.register()


def composed(*overrides: str) -> DictConfig:
    """The configuration that `python train.py *overrides` trains with."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def run_here(directory: Path, *overrides: str, callbacks: Sequence[object] = ()) -> int:
    """Run in this process what `python train.py *overrides hydra.run.dir=directory` runs; the exit code."""
    from kasoku.command import modes
    from kasoku.config import trust

    cfg = composed(*overrides)
    origin = modes.Origin(directory, overrides, trust.trusted(CONF), time.time(), callbacks)
    return modes.run(cfg, origin)


def read_result(directory: Path) -> dict[str, Any]:
    """The result.json in `directory` as other programs read it."""
    return json.loads((directory / "result.json").read_text())


@functools.cache
def forks() -> Forks:
    """The process that `command` forks from, started at its first use."""
    started = Forks()
    atexit.register(started.close)
    return started


def command(*words: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python train.py *words` in a process of its own, started in `cwd`, with the imports done."""
    return forks().run(words, cwd, env)


def options(group: str) -> list[str]:
    """The options of a configuration group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave every n-th case of a test marked `sample(n)` to `make test`; the others are proofs."""
    seen: Counter[str] = Counter()
    for item in items:
        if sample := item.get_closest_marker("sample"):
            test = item.nodeid.partition("[")[0]
            if seen[test] % sample.args[0]:
                item.add_marker(pytest.mark.proof)
            seen[test] += 1


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """counted("attacks refused"), or ("kills survived", 100): the sum over all tests stands at the end of the run."""
    return lambda what, number=1: record_property(COUNTED, (what, number))


@pytest.fixture
def listed(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """listed("W&B, a run each", line): the lines of all tests stand under the title at the end of the run."""
    return lambda title, line: record_property(LISTED, (title, line))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    passed = terminalreporter.stats.get("passed", [])
    found = [(kind, *value) for report in passed for kind, value in report.user_properties if kind in (COUNTED, LISTED)]
    for title in dict.fromkeys(title for kind, title, _ in found if kind == LISTED):
        lines = [line for _, of, line in found if of == title]
        terminalreporter.write_line("\n  ".join([f"{title}:", *lines]))
    for what in dict.fromkeys(what for kind, what, _ in found if kind == COUNTED):
        terminalreporter.write_line(f"{what}: {sum(number for _, of, number in found if of == what)}")


@pytest.fixture(autouse=True)
def own_environment():
    """What a test sets in the environment, or a command that it runs in this process, ends with it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run(tmp_path: Path):
    """Run in this process, in a fresh directory: run("optimizer=sgd") -> that directory."""

    def start(*overrides: str, expect: int = 0, name: str = "run") -> Path:
        assert run_here(tmp_path / name, *SMALL, *overrides) == expect
        return tmp_path / name

    return start
