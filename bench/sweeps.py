"""Trials per minute with two workers, beside Optuna alone and hydra-optuna-sweeper 1.3.0: `python -m bench sweeps`.

The same 24 trainings of the digits, 200 to 4,800 steps long in a shuffled order, by

- kasoku: python train.py -m sweeper.workers=2, each trial in a process of its own;
- Optuna alone: two processes that share a journal and call the same training function, without Hydra, without a process
  a trial. What the training itself takes, and the least that a sweep can add to it;
- hydra-optuna-sweeper 1.3.0 with hydra-joblib-launcher 1.2.0 and optuna 2, in an environment of its own that takes the
  rest from this one.

Wall time is from the command to its end, imports included; CPU seconds are those of all its processes. The first of the
two is what a user waits for, the second holds on a machine that others use too.
"""

import argparse
import ctypes
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from bench.runs import ROOT

LENGTHS = [200 * (index + 1) for index in range(24)]
FIXED = ["trainer=cpu", "model=mlp", "logger=none"]
ROUNDS = int(os.environ.get("ROUNDS", 2))
PEER = ["hydra-optuna-sweeper==1.3.0", "hydra-joblib-launcher==1.2.0", "hydra-core==1.3.8"]
ENVIRONMENT = Path(tempfile.gettempdir()) / "kasoku-bench-hydra-optuna"
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Print a row for each of the three, `ROUNDS` times round."""
    random.Random(0).shuffle(LENGTHS)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # the fork server outlives the sweep: its CPU time counts too
    candidates = {"kasoku": kasoku, "Optuna alone": optuna_alone}
    if python := peer_python():
        candidates["hydra-optuna-sweeper"] = lambda folder: peer(python, folder)
    print(f"{len(LENGTHS)} trials, {sum(LENGTHS)} steps, 2 workers")
    for _ in range(ROUNDS):
        for name, start in candidates.items():
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = measure(start(Path(folder)))
                print(
                    f"{name:>22}  {60 * len(LENGTHS) / wall:6.1f} trials a minute  {wall:6.1f} s  {cpu:6.1f} CPU s",
                    flush=True,
                )


def measure(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of `command` and of all that it starts."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before, began = _cpu(), time.monotonic()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    wall = time.monotonic() - began
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return wall, _cpu() - before


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def kasoku(folder: Path) -> list[str]:
    steps = ",".join(map(str, LENGTHS))
    settings = ["sweeper.workers=2", f"hydra.sweep.dir={folder}/sweep", f"trainer.max_steps={steps}"]
    return [sys.executable, "train.py", "-m", *FIXED, *settings]


def optuna_alone(folder: Path) -> list[str]:
    return [sys.executable, "-m", "bench.sweeps", "--optuna", str(folder)]


def peer(python: str, folder: Path) -> list[str]:
    steps = ",".join(map(str, LENGTHS))
    sweeper = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra/launcher=joblib"]
    sweeper += ["hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2", f"hydra.sweeper.n_trials={len(LENGTHS)}"]
    settings = [f"hydra.sweep.dir={folder}/sweep", f"trainer.max_steps=choice({steps})"]
    return [python, "bench/sweeps_peer.py", "-m", *sweeper, *FIXED, *settings]


def peer_python() -> str | None:
    """The interpreter of the environment with hydra-optuna-sweeper, made at the first call; None where pip cannot."""
    python = ENVIRONMENT / "bin" / "python"
    try:
        if not (ENVIRONMENT / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER, "setuptools<81"], check=True)
            packages = next((ENVIRONMENT / "lib").glob("*/site-packages"))
            (packages / "rest.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT / 'src'}\n")
            (ENVIRONMENT / "ready").touch()
    except subprocess.CalledProcessError as error:
        print(f"without hydra-optuna-sweeper: {error}")
        return None
    return str(python)


def run_optuna(folder: Path) -> None:
    """Two processes, a shared journal, the lengths enqueued before them."""
    import optuna

    study = optuna.create_study(study_name="s", storage=_journal(folder), direction="maximize")
    for steps in LENGTHS:
        study.enqueue_trial({"steps": steps})
    command = [sys.executable, "-m", "bench.sweeps", "--worker", str(folder)]
    for process in [subprocess.Popen(command) for _ in range(2)]:
        if process.wait():
            raise SystemExit(1)


def work(folder: Path) -> None:
    """Take what is waiting until nothing is."""
    import optuna
    from optuna.trial import TrialState

    study = optuna.load_study(study_name="s", storage=_journal(folder))
    while study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        trial = study.ask()
        steps = trial.suggest_int("steps", 1, 10**6)
        study.tell(trial, train(folder / str(trial.number), f"trainer.max_steps={steps}"))


def train(directory: Path, *overrides: str) -> float:
    """Train in this process, and leave what a run leaves; the best val/acc."""
    from bench.runs import CONF, composed, quieten
    from kasoku.command.build import build
    from kasoku.config import trust
    from kasoku.training.session import fit

    quieten()
    directory.mkdir()
    best = fit(build(composed(*FIXED, *overrides), directory, trust.trusted(CONF))).result.best
    return best.value if best else 0.0


def _journal(folder: Path):  # type: ignore[no-untyped-def]
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / "journal")))


if __name__ == "__main__":
    random.Random(0).shuffle(LENGTHS)
    parser = argparse.ArgumentParser()
    parser.add_argument("--optuna", type=Path)
    parser.add_argument("--worker", type=Path)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
    else:
        run_optuna(arguments.optuna)
