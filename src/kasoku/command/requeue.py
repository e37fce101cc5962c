"""SLURM's SIGUSR1: the run saves and ends, its job is put into the queue again, and goes on with the same command.

Ask for the signal with `#SBATCH --signal=SIGUSR1@90`; without `B:` it goes to the processes that srun starts.
"""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kasoku.files import write_text

log = logging.getLogger("kasoku")

JOB, RESTARTS = "SLURM_JOB_ID", "SLURM_RESTART_COUNT"


def after(code: int, directory: Path) -> None:
    """Put the job of the run in `directory` into the queue again, where SIGUSR1 ended it."""
    job = os.environ.get(JOB)
    if code != 128 + signal.SIGUSR1 or not job or not shutil.which("scontrol"):
        return
    note = _note(job)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, str(directory.absolute()))
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    said = f"job {job} is queued again" if done.returncode == 0 else f"scontrol requeue {job}: {done.stderr.strip()}"
    log.info("%s", said)


def words(argv: Sequence[str]) -> list[str]:
    """The word that a command lacks when SLURM starts its job again: resume=DIR, where SIGUSR1 ended its run."""
    job = os.environ.get(JOB)
    is_again = job and os.environ.get(RESTARTS, "0") != "0" and _note(job).is_file()
    if not is_again or any(word.startswith("resume=") for word in argv):
        return []
    return [f"resume={_note(str(job)).read_text()}"]


def _note(job: str) -> Path:
    return Path("runs", ".requeued", job)
