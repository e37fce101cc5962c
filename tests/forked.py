"""The command in processes of its own that need not import torch again: forks of one that has the imports done.

A fork is what `python train.py WORDS` is after its imports: its own arguments, folder, environment, output and exit
code. Nothing may run a tensor operation or start a thread before the fork.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST = 600.0  # seconds of a command


class Forks:
    """Starts commands as forks of one process, which lives as long as this object."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forked"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str] | None = None,
        kill_after: float = LONGEST,
        program: str | Path = ROOT / "train.py",
        merged: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """`python train.py *words`, started in `cwd` with `env` in its environment; killed after so many seconds.

        `program` is what it is called in its own words, or another script, which is run instead. With `merged`, stdout
        has what is said on stderr too, in order.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            err = out if merged else Path(folder, "err")
            whole = dict(os.environ) | dict(env or {})
            order = {"words": list(words), "cwd": str(cwd), "env": whole, "out": str(out), "err": str(err)}
            order |= {"seconds": kill_after, "program": str(program)}
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(list(words), code, out.read_text(), "" if merged else err.read_text())

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


def serve() -> None:
    """Fork for each line of standard input; write each one's exit code, negative for a signal, to standard output."""
    import torchmetrics.classification  # noqa: F401

    import kasoku.command.main
    import kasoku.command.modes
    import kasoku.search.preload  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
        print(_wait(pid, order["seconds"]), flush=True)


def _become(order: dict) -> None:
    """Be the command in `order`; does not return."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, path in ((1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644), stream)
    sys.argv = [order["program"], *order["words"]]
    sys.modules["__main__"].__spec__ = None  # Lightning starts further ranks by it, or else by sys.argv
    sys.path[:0] = [entry for entry in order["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]
    from kasoku.command import main

    main.STARTED = time.time()
    code = 1
    try:
        code = main.main() if Path(sys.argv[0]).stem in ("train", "kasoku") else _script(sys.argv[0])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _script(path: str) -> int:
    """What `python path` is."""
    sys.path.insert(0, str(Path(path).parent.absolute()))
    runpy.run_path(path, run_name="__main__")
    return 0


def _wait(pid: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


if __name__ == "__main__":
    serve()
