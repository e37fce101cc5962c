"""W&B with a sick server, a refused key, a dead process, no room: exit code and weights are those of the training.

The last test prints a table of the runs.
"""

import os
import re
import socket
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from kasoku import results
from kasoku.training import wandb_server
from tests.conftest import command
from tests.training.loopback import Loopback
from tests.training.test_wandb import inspect

SICK = """
import os, resource, signal, time
from pathlib import Path
import pytorch_lightning as pl


def processes():
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, state = (folder / "cmdline").read_bytes(), (folder / "stat").read_text()
        except OSError:
            continue
        if b"wandb-core" in words and state.rpartition(")")[2].split()[1] == str(os.getpid()):
            yield int(folder.name)


class Harm(pl.Callback):
    def __init__(self, how):
        self.how = how

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 10:
            [logger.experiment for logger in trainer.loggers]  # waits until the run has begun
            for pid in processes():
                if self.how == "kill":
                    os.kill(pid, signal.SIGKILL)
                else:
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, 100))
"""
RUN = ("model=mlp", "trainer=cpu", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "logger=wandb")
QUICK = "logger.wandb.patience=3"
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for W&B's process in /proc")

# case -> server, words, environment, what is said, folders that `wandb sync` is told
CASES = {
    "key refused, 401": (Loopback(401), (), {}, r"W&B: 127.0.0.1 refuses the key \(401\), going on offline", 1),
    "key refused, 403": (Loopback(403), (), {}, r"W&B: 127.0.0.1 refuses the key \(403\), going on offline", 1),
    "answers 500": (Loopback(500), (), {}, r"W&B: 127.0.0.1 answers 500, going on offline", 1),
    "hangs": (Loopback(None), (), {}, r"W&B: 127.0.0.1 does not answer within 1 s, going on offline", 1),
    "no key, mode=online": (
        None, ("logger.wandb.mode=online",),
        {"NETRC": os.devnull, "WANDB_API_KEY": "", "WANDB_BASE_URL": "http://wandb.invalid"},
        r"W&B: no key for wandb.invalid is configured: wandb login, or WANDB_API_KEY, going on offline", 1,
    ),
    "dies in the middle": (Loopback(then="dies"), (QUICK,), {}, r"did not take everything within .*patience=3 s", 1),
    "hangs in the middle": (Loopback(then="hangs"), (QUICK,), {}, r"did not take everything within .*patience=3 s", 1),
    "500 in the middle": (Loopback(then=500), (QUICK,), {}, r"did not take everything within .*patience=3 s", 1),
    "hangs from the run on": (Loopback(begins="hangs"), (QUICK,), {}, r"W&B: CommError: .* going on offline", 1),
    "its process killed": (
        Loopback(), ("+callbacks.harm._target_=sick.Harm", "+callbacks.harm.how=kill"), {},
        r"W&B: .* going on offline", 2,
    ),
    "its disk full": (
        Loopback(401), ("+callbacks.harm._target_=sick.Harm", "+callbacks.harm.how=full"), {},
        r"W&B could not write all of .*, is the disk full\?", 1,
    ),
    "its folder is a file": (Loopback(401), (), {}, r"logger.wandb failed and is left out from here on, .*Error", 0),
    "well": (Loopback(), (), {}, "", 0),
}  # fmt: skip
IN_PROC = {"its process killed", "its disk full"}
EACH_TIME = ("key refused, 401", "no key, mode=online", "dies in the middle", "its process killed", "well")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> results.Result:
    """The run without W&B."""
    folder = tmp_path_factory.mktemp("plain")
    done = command(*RUN[:-1], "logger=csv", "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return results.read(folder / "run")


def cases():
    for name in CASES:
        marks = [needs_proc] if name in IN_PROC else []
        yield pytest.param(name, marks=[*marks, *([] if name in EACH_TIME else [pytest.mark.proof])], id=name)


@pytest.mark.parametrize("name", list(cases()))
def test_the_run_is_that_without_wandb(name, tmp_path, plain, listed):
    server, words, env, says, folders = CASES[name]
    (tmp_path / "sick.py").write_text(SICK)
    if name == "its folder is a file":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "wandb").write_text("")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "KASOKU_TRUST": "sick", "WANDB_MODE": "offline", "WANDB_SERVICE": "", **env}
    with server or nullcontext():
        started = time.monotonic()
        variables = own | (server.variables if server else {})
        done = command(*RUN, *words, "hydra.run.dir=run", cwd=tmp_path, env=variables)
    seconds = time.monotonic() - started
    text = done.stdout + done.stderr
    synced = re.findall(r"wandb sync (.*)", text)
    told = " ".join(re.findall(says, text)[:1]) or "-"
    listed("W&B, a run each", f"{name:24} exit code {done.returncode}  {seconds:5.1f} s  {told}")
    result = results.read(tmp_path / "run")
    assert (done.returncode, result.status, result.metrics) == (0, "completed", plain.metrics)
    assert re.search(says, text), text
    assert len(re.findall("going on offline|left out", text)) <= 1, "said once"
    assert "Traceback" not in text
    assert [len(line.split()) for line in synced] == ([folders] if folders else [])
    if folders and name not in IN_PROC and not name.endswith("in the middle"):
        assert sum(record["type"] == "history" for record in inspect(tmp_path / "run")) >= result.steps


def test_the_server_has_every_row_where_all_is_well(tmp_path):
    with Loopback() as server:
        done = command(*RUN, "hydra.run.dir=run", cwd=tmp_path, env=server.variables)
    assert done.returncode == 0
    sent = "".join(request for request in server.requests if "file_stream" in request)
    steps = {int(step) for step in re.findall(r'trainer/global_step\\*":\s*(\d+)', sent)}
    assert steps >= set(range(results.read(tmp_path / "run").steps))


@pytest.mark.parametrize(
    ("server", "mode"),
    [(Loopback(), "online"), (Loopback(401), "offline"), (Loopback(404), "offline"), (Loopback(None), "offline"),
     (Loopback(viewer=None), "offline"), (Loopback(page="<html>"), "offline")],
)  # fmt: skip
def test_the_server_is_asked_once_before_the_first_batch(server, mode, monkeypatch):
    with server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        assert wandb_server.decided("auto") == mode
    assert len(server.requests) == 1


def test_a_server_that_speaks_another_protocol_is_none_of_wandbs(monkeypatch):
    """Mutant: the error of the http package not caught, which is neither an OSError nor a ValueError."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")

        def greet() -> None:
            with listening.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ready\r\n")

        greeting = threading.Thread(target=greet)
        greeting.start()
        assert wandb_server.refusal() == "127.0.0.1 does not answer as W&B does"
        greeting.join()


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("logger.wandb.project=a/b", "logger.wandb.project=a/b: must be a name of at most 128 characters without"),
        ("logger.wandb.project=''", "logger.wandb.project='': must be a name"),
        ("logger.wandb.mode=onlin", "logger.wandb.mode=onlin: must be one of auto online offline disabled"),
        ("logger.wandb.tags=5", "logger.wandb.tags=5: must be a list"),
        ("logger.wandb.tags=[a,'']", "logger.wandb.tags=[a,'']: must be a list in which each is 1 to 64 characters"),
        ("logger.wandb.patience=0", "logger.wandb.patience=0: must be a positive finite number or null"),
    ],
)
def test_what_wandb_would_refuse_is_refused_before_the_run_begins(tmp_path, words, fault):
    done = command(*RUN, words, "hydra.run.dir=run", cwd=tmp_path)
    assert (done.returncode, fault in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "run").exists()
