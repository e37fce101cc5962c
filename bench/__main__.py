"""python -m bench NAME... | all [--record]: measurements, each with its baseline taken in the same run.

`all` are those that need no data but what is there, within 25 minutes on two cores; the LONG ones go by name.
--record also appends what is printed to bench/RESULTS.md, with the date, the machine and the versions.
"""

import argparse
import contextlib
import datetime
import importlib
import io
import os
import platform
import sys
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).parent
HELPERS = ("__init__", "__main__", "timing", "runs", "workloads", "firststep", "spent", "sweeps_peer")
LONG = ("cifar10", "search_quality", "soak", "sooner", "sweeps")


def main() -> int:
    """Run the benchmarks that the command names."""
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS)
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure, each with a baseline in the same run."
    )
    parser.add_argument(
        "names",
        nargs="+",
        choices=[*names, "all"],
        metavar="NAME",
        help=f"all (but {' '.join(LONG)}) or of: {' '.join(names)}",
    )
    parser.add_argument("--record", action="store_true", help="append the results to bench/RESULTS.md")
    args = parser.parse_args()
    for name in [name for name in names if name not in LONG] if "all" in args.names else args.names:
        print(f"\n== {name}", flush=True)
        with recorded(name) if args.record else contextlib.nullcontext():
            importlib.import_module(f"bench.{name}").main()
    return 0


class Tee(io.TextIOBase):
    """Writes to two streams."""

    def __init__(self, one: TextIO, other: TextIO):
        self.both = one, other

    def write(self, text: str) -> int:
        for stream in self.both:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.both:
            stream.flush()


@contextlib.contextmanager
def recorded(name: str):  # type: ignore[no-untyped-def]
    """What is printed inside goes into RESULTS.md too."""
    text = io.StringIO()
    machine()  # what it lacks is better known before the hours of a bench than after them
    with contextlib.redirect_stdout(Tee(sys.stdout, text)):  # type: ignore[type-var]
        yield
    with (HERE / "RESULTS.md").open("a") as file:
        file.write(
            f"\n## {name}, {datetime.date.today():%Y-%m-%d}\n\n{machine()}\n\n```\n{text.getvalue().strip()}\n```\n"
        )


def machine() -> str:
    """The processor, how many cores of it, the load at the end, the GPU, and the versions."""
    from kasoku.training.versions import versions

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    found = ", ".join(f"{package} {number}" for package, number in versions().items())
    return f"{processor()}, {cores} cores{load}; {found}."


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
