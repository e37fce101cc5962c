"""The shares of a machine that trials which run on it at the same time get."""

import os
import shutil
import subprocess


def threads_each(workers: int) -> int:
    """CPU threads for each of `workers` trials; OMP_NUM_THREADS, where it is set, is each one's."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdigit() and int(given) else max(1, cores // workers)


def visible_gpus() -> list[str]:
    """The GPUs that a process may use, as CUDA_VISIBLE_DEVICES names them. CUDA itself is not touched."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(index) for index, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def gpus_of_slot(slot: int, gpus: list[str], each: int) -> list[str]:
    """`each` of `gpus` for the trial in `slot`, going round where there are fewer than the slots ask for."""
    return [gpus[(slot * each + index) % len(gpus)] for index in range(min(each, len(gpus)))] if gpus else []
