"""Soak: what 1,000 short trials of one sweep leave behind while they run: `python -m bench soak`.

Every five seconds the sweep and all its processes are looked at: memory (proportional set size), open files, entries of
TMPDIR and of /dev/shm. A row for each tenth of the trials, and in the end the growth from the first tenth to the last:
what a longer sweep would gather more of. TRIALS=100 takes a tenth of the time.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

from bench.runs import ROOT

TRIALS = int(os.environ.get("TRIALS", 1000))
WORDS = ["trainer=cpu", "model=mlp", "model.net.hidden=4", "logger=none", "trainer.max_steps=2", "sweeper.workers=2"]
SEARCH = ["sweeper=random", f"sweeper.n_trials={TRIALS}", "optimizer.lr=interval(0.001,0.1)"]
EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Look:
    """All processes of the sweep at one moment, and the folders that they share."""

    megabytes: float
    files: int
    processes: int
    temporary: int
    shared: int


def main() -> None:
    """Print a row for each tenth of the trials."""
    with tempfile.TemporaryDirectory() as folder:
        sweep, temporary = Path(folder, "sweep"), Path(folder, "tmp")
        temporary.mkdir()
        looks = list(watched(sweep, temporary))
    print(f"{TRIALS} trials, 2 workers")
    print("trials  memory MB  open files  processes  in TMPDIR  in /dev/shm")
    tenths = [middle([look for done, look in looks if part <= 10 * done / TRIALS < part + 1]) for part in range(10)]
    for part, look in enumerate(tenths):
        if look:
            print(f"{TRIALS * (part + 1) // 10:6} {look.megabytes:10.0f} {look.files:11} {look.processes:10}", end="")
            print(f" {look.temporary:10} {look.shared:12}")
    seen = [look for look in tenths if look]
    growth = [last - first for first, last in zip(astuple(seen[0]), astuple(seen[-1]), strict=True)]
    print(f"growth {growth[0]:10.0f} {growth[1]:11} {growth[2]:10} {growth[3]:10} {growth[4]:12}")


def watched(sweep: Path, temporary: Path) -> Iterator[tuple[int, Look]]:
    """The trials done and a look, while the sweep runs."""
    command = [sys.executable, "train.py", "-m", *WORDS, *SEARCH, f"hydra.sweep.dir={sweep}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(EVERY)
        yield len(list(sweep.glob("*/result.json"))), look_at(process.pid, temporary)
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}")


def look_at(session: int, temporary: Path) -> Look:
    """The processes of `session`, its workers included, which have it as their ancestor."""
    memory = files = count = 0
    for pid in family(session):
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            memory += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            files += entries(f"/proc/{pid}/fd")
            count += 1
    return Look(memory / 1024, files, count, len(list(temporary.rglob("*"))), entries("/dev/shm"))


def entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def family(root: int) -> list[int]:
    """`root` and what descends from it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def middle(looks: list[Look]) -> Look | None:
    """The median of each figure; None without a look."""
    return Look(*(median(values) for values in zip(*map(astuple, looks), strict=True))) if looks else None


if __name__ == "__main__":
    main()
