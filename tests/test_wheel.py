"""kasoku as people install it: the wheel in an environment of its own, started from an empty folder."""

import json
import os
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("wheel")
TINY = ("model=mlp", "trainer=cpu", "logger=csv", "trainer.max_epochs=1")


class Installed:
    """An environment with the wheel and, from the present one, what it depends on."""

    def __init__(self, folder: Path):
        wheels = folder / "wheels"
        pip(["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)])
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        self.bin = folder / "venv" / "bin"
        [packages] = folder.glob("venv/lib/python*/site-packages")
        (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
        pip(["--python", str(self.bin / "python"), "install", "--no-deps", *map(str, wheels.glob("*.whl"))])

    def __call__(self, *words: str, cwd: Path, program: Sequence[str] = ("kasoku",), code: int = 0) -> str:
        """What the command says, which must end with `code`."""
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "KASOKU_TRUST")}
        command = [str(self.bin / program[0]), *program[1:], *words]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


def pip(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *words], check=True)


@pytest.fixture(scope="module")
def kasoku(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling: pip install hatchling")
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_it_is_the_wheel_that_runs_and_the_package_has_its_conf(kasoku, tmp_path):
    found = kasoku("-c", "import kasoku.home as h; print(h.__file__, h.conf_dir())", cwd=tmp_path, program=["python"])
    assert all(path.startswith(str(kasoku.bin.parent)) for path in found.split())


def test_help_and_a_wrong_option_call_it_kasoku(kasoku, tmp_path):
    said = kasoku("--help", cwd=tmp_path)
    assert "  kasoku optimizer=nesterov scheduler=step" in said
    assert "python train.py" not in said
    assert "did you mean nesterov?" in kasoku("optimizer=nestrov", cwd=tmp_path, code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.proof
def test_a_preview_by_the_module(kasoku, tmp_path):
    assert "190 steps" in kasoku("mode=preview", "logger=none", cwd=tmp_path, program=["python", "-m", "kasoku"])


@pytest.mark.proof
def test_a_training_its_report_and_its_resume(kasoku, tmp_path):
    said = kasoku(*TINY, "hydra.run.dir=run", cwd=tmp_path)
    assert "compare runs with: kasoku report" in said
    assert (tmp_path / "run" / "train.log").is_file()
    assert (tmp_path / "run" / "config.yaml").read_text().startswith("# kasoku model=mlp")
    assert "completed" in kasoku("report", ".", cwd=tmp_path)
    kasoku("resume=run", "trainer.max_epochs=2", cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 2


@pytest.mark.proof
def test_a_sweep_with_two_workers(kasoku, tmp_path):
    said = kasoku("-m", *TINY, "seed=0,1", "sweeper.workers=2", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert "2 of 2 trials: 2 completed" in said
    assert "best, trial" in said
    assert "kasoku model=mlp" in said


@pytest.mark.proof
def test_two_processes_train_through_the_command(kasoku, tmp_path):
    """Lightning starts the second one with this very command."""
    kasoku(*TINY, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=run", cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "completed"


@pytest.mark.proof
def test_a_model_of_ones_own_by_config_dir(kasoku, tmp_path):
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    model = ROOT.joinpath("conf", "model", "mlp.yaml").read_text().replace("hidden: 64", "hidden: 8")
    (tmp_path / "my_conf" / "model" / "mine.yaml").write_text(model)
    kasoku("--config-dir", "my_conf", *TINY, "model=mine", "hydra.run.dir=run", cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["parameters"] == 64 * 8 + 8 + 8 * 10 + 10


@pytest.mark.proof
def test_a_new_project_trains_and_tests_from_the_installed_package(kasoku, tmp_path):
    assert "train it with: cd mine && kasoku" in kasoku("new", "mine", cwd=tmp_path)
    assert "compare runs with: kasoku report runs/mine" in kasoku("trainer.max_epochs=1", cwd=tmp_path / "mine")
    assert "3 passed" in kasoku("-m", "pytest", "-q", cwd=tmp_path / "mine", program=["python"])
