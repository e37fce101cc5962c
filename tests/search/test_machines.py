"""Workers that share a storage: a PostgreSQL of this test's own, submitit's local executor, Ray on this machine."""

import getpass
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kasoku.search.launchers import _work

from .conftest import ROOT, TINY, Sweep
from .test_resume import RANDOM, SLOW, content, has_finished, running, wait_until

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
INITDB = shutil.which("initdb", path=f"{BIN}:{os.environ['PATH']}")


def as_owner(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `command` as a user that PostgreSQL accepts: it refuses root."""
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if getpass.getuser() == "root" else {}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60, **user)  # type: ignore[call-overload]


@dataclass
class Database:
    """A server of PostgreSQL on a free port of the loopback interface."""

    url: str
    folder: Path
    options: str

    def control(self, *words: str) -> None:
        control, data = str(Path(str(INITDB)).with_name("pg_ctl")), str(self.folder / "data")
        as_owner([control, "-D", data, "-o", self.options, "-l", str(self.folder / "log"), "-w", *words], self.folder)


@pytest.fixture
def database() -> Iterator[Database]:
    """An empty database."""
    if INITDB is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/kasoku-pg-XXXXXX"], text=True).strip())
    if getpass.getuser() == "root":
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    as_owner([INITDB, "-D", str(folder / "data"), "-U", "kasoku", "--auth=trust", "--no-sync", "-E", "UTF8"], folder)
    options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
    server = Database(f"postgresql://kasoku@127.0.0.1:{port}/postgres", folder, options)
    server.control("start")
    try:
        yield server
    finally:
        server.control("-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.proof
def test_two_that_share_a_database_of_which_one_is_killed(database: Database, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *SLOW, *RANDOM]
    command += ["sweeper.n_trials=6", f"sweeper.storage={database.url}"]
    folders = [tmp_path / "one", tmp_path / "two"]
    first, second = (subprocess.Popen([*command, f"hydra.sweep.dir={folder}"], cwd=ROOT) for folder in folders)
    wait_until(lambda: has_finished(folders[1], 1) and len(running(folders[0])) == 1)
    first.kill()
    assert second.wait(timeout=90) == 0
    first.wait()
    trials = content(folders[1])["trials"]
    assert sum(trial["state"] == "completed" for trial in trials) == 6
    assert [trial["state"] for trial in trials].count("lost") == 1
    assert {Path(trial["directory"]).parent for trial in trials} == set(folders)


@pytest.mark.proof
def test_a_database_that_restarts_in_the_midst_of_a_sweep(database: Database, tmp_path: Path) -> None:
    """It is away for three seconds, its connections are cut; no trial is lost or trained twice."""
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *SLOW, *RANDOM, "sweeper.workers=2"]
    command += ["sweeper.n_trials=6", f"sweeper.storage={database.url}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    sweep = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: has_finished(tmp_path / "sweep", 2), seconds=240)
    database.control("-m", "immediate", "stop")
    time.sleep(3)
    database.control("start")
    said = sweep.communicate(timeout=120)[0]
    assert sweep.returncode == 0, said
    assert "Traceback" not in said
    states = [trial["state"] for trial in content(tmp_path / "sweep")["trials"]]
    assert states == ["completed"] * 6, said


@pytest.mark.proof
def test_submitit_starts_the_workers(sweep: Sweep) -> None:
    swept = sweep("seed=0,1", "launcher=slurm", "launcher.cluster=local", "sweeper.workers=2")
    assert (swept.code, swept.states) == (0, ["completed"] * 2)
    assert len(list((swept.directory / "jobs").glob("*_result.pkl"))) == 2
    assert swept.json["overrides"][-1] == "sweeper.workers=2"


@pytest.mark.proof
def test_the_workers_of_a_resumed_sweep_read_for_themselves_what_it_stored(sweep: Sweep) -> None:
    first = sweep("seed=0,1", "launcher=slurm", "launcher.cluster=local", "sweeper.n_trials=1")
    assert (first.code, first.states) == (0, ["completed"])
    again = sweep(f"resume={first.directory}", "sweeper.n_trials=2", tiny=False)
    assert (again.code, again.states) == (0, ["completed"] * 2)


@pytest.mark.proof
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'kasoku[ray]')")
def test_ray_starts_the_workers(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, "seed=0,1", "launcher=ray"]
    # The tests beside it leave Ray little of the processor: its workers may take longer than a minute to start.
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_worker_register_timeout_seconds": "300"}
    done = subprocess.run(
        [*command, f"hydra.sweep.dir={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial["state"] for trial in content(tmp_path)["trials"]] == ["completed"] * 2


NO_ROOM = [sys.executable, "-c", "import sys; sys.exit('no room here')"]


def test_a_sweep_whose_workers_are_all_lost_says_why(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kasoku.search.sweep.worker_command", lambda *_: NO_ROOM)
    swept = sweep("seed=0,1", "launcher=slurm", "launcher.cluster=local", "sweeper.workers=2")
    assert swept.code == 1
    assert (swept.out + swept.err).count("a worker was lost: exit code 1: no room here") == 1
    assert "go on with: " in swept.out


def test_a_worker_elsewhere_tells_how_it_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _work(NO_ROOM, {}, str(tmp_path)) == "exit code 1: no room here"
    assert capfd.readouterr().err == "no room here\n"  # for the log there
    assert _work([sys.executable, "-c", "print(1)"], {}, str(tmp_path)) == ""


def test_a_launcher_that_there_is_not(sweep: Sweep) -> None:
    swept = sweep("seed=0,1", "launcher=slurm", "launcher.cluster=local", "+launcher.partition=fast")
    assert swept.code == 2
    assert "launcher.partition" in swept.err
