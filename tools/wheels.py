"""The locked packages as wheels in one folder, for a machine without a network that has PyTorch.

    python tools/wheels.py wheels 3.12                                     here
    pip install --no-index --no-deps wheels/*.whl && pip install --no-deps --no-build-isolation -e .      there

Further names are packages that the other machine has too: python tools/wheels.py wheels 3.12 numpy scipy wandb
"""

import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).parents[1] / "requirements.lock"
WITH_TORCH = {"torch", "torchmetrics", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "sympy"}
SOURCE_ONLY = {"antlr4-python3-runtime"}  # pure Python, of which there is no wheel to download


def main(folder: str, version: str, *there: str) -> None:
    """Download or build a wheel of each package that `there` and WITH_TORCH do not name, for CPython `version`."""
    if not re.fullmatch(r"3\.\d+", version):
        sys.exit(f"version {version}: must be one of CPython, such as 3.12")
    every = locked(version)
    if unknown := sorted(set(there) - WITH_TORCH - {needed.name for needed in every}):
        sys.exit(f"{' '.join(unknown)}: not in {LOCK.name}, so there is nothing to leave out")
    wanted = [needed for needed in every if needed.name not in WITH_TORCH | set(there)]
    options = ["--no-deps", "--disable-pip-version-check", "--quiet"]
    target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    target += [f"--platform=manylinux_{glibc}_x86_64" for glibc in ("2_28", "2_27", "2_17", "2_5")]
    target += ["--platform=manylinux2014_x86_64", "--platform=linux_x86_64"]
    pip(["download", *options, *target, f"--dest={folder}"], [n for n in wanted if n.name not in SOURCE_ONLY])
    pip(["wheel", *options, f"--wheel-dir={folder}"], [n for n in wanted if n.name in SOURCE_ONLY])
    wheels = list(Path(folder).glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
    print(f"{folder}: {len(wheels)} wheels for Python {version}, {size:.0f} MiB")


def locked(version: str) -> list[Requirement]:
    """The lines of the lock that hold on Linux with CPython `version`."""
    lines = [line.split("#")[0].strip() for line in LOCK.read_text().splitlines()]
    every = [Requirement(line) for line in lines if line and not line.startswith("-")]
    place = {"python_full_version": f"{version}.0", "python_version": version, "sys_platform": "linux"}
    return [needed for needed in every if needed.marker is None or needed.marker.evaluate(place)]


def pip(command: list[str], packages: list[Requirement]) -> None:
    """Run pip on `packages`, if there are any; end with its exit code where it fails, having said why."""
    names = [f"{package.name}{package.specifier}" for package in packages]
    if names and (code := subprocess.run([sys.executable, "-m", "pip", *command, *names], check=False).returncode):
        sys.exit(code)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
