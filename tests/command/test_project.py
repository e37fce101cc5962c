"""A project of one's own: kasoku new, the file in the present folder, a train.yaml that inherits kasoku's."""

import json
from pathlib import Path

import pytest

from kasoku import home
from kasoku.command import new
from kasoku.config import project
from kasoku.faults import ConfigError
from tests.conftest import command, read_result

QUICK = ("trainer.max_epochs=1",)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A new project."""
    new.write(tmp_path / "my-net")
    return tmp_path / "my-net"


def test_it_trains_at_once_and_reaches_its_target(own):
    done = command("hydra.run.dir=run", cwd=own)
    assert done.returncode == 0, done.stderr
    result = read_result(own / "run")
    assert result["target"]["value"] == 0.95
    assert result["time_to_target"]["steps"] > 0
    assert {"val/acc", "val/f1", "test/f1"} <= result["metrics"].keys()


@pytest.mark.proof
def test_it_sweeps_and_prints_a_command_that_can_be_typed_here(own, monkeypatch):
    monkeypatch.delenv("KASOKU_TRUST", raising=False)
    done = command("-m", "optimizer=adamw,nesterov", *QUICK, "hydra.sweep.dir=sweep", cwd=own)
    said = done.stdout + done.stderr
    assert "2 of 2 trials: 2 completed" in said
    [best] = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("best, trial")]
    assert best.startswith("python train.py trainer.max_epochs=1 optimizer=")  # neither KASOKU_TRUST nor --config


def test_kasokus_groups_are_there_beside_ones_own_and_a_run_is_resumed(own):
    first = command("optimizer=lion", "scheduler=step", *QUICK, "hydra.run.dir=run", cwd=own)
    assert first.returncode == 0, first.stderr
    again = command("resume=run", "trainer.max_epochs=2", cwd=own)
    assert again.returncode == 0, again.stderr
    assert read_result(own / "run")["epochs"] == 2


def test_a_wrong_name_is_answered_with_ones_own(own):
    said = command("model=nett", cwd=own).stderr
    assert "net resnet speednet; did you mean net?" in said


def test_a_file_called_like_one_of_kasokus_takes_its_place(own):
    mine = (own / "conf/model/net.yaml").read_text()
    (own / "conf/model/cnn.yaml").write_text(mine.replace("width: 64", "width: 5"))
    shown = command("model=cnn", "--cfg", "job", cwd=own).stdout
    assert "_target_: my_net.net.Net" in shown
    assert "width: 5" in shown


def test_a_typed_config_dir_comes_first_and_nothing_is_trusted_elsewhere(own):
    (own / "other").mkdir()
    shown = command("--config-dir", "other", "--cfg", "job", cwd=own).stdout
    assert "kasoku.nets.cnn.CNN" in shown
    said = command("--config-dir", "my-net/conf", cwd=own.parent)
    assert said.returncode == 2
    assert "my_net.net.Net: is not trusted" in said.stderr


def test_the_projects_file_lies_in_the_present_folder_alone(own):
    (own / "inside").mkdir()
    assert "no such option" in command("model=net", cwd=own / "inside").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('conff = "conf"', "kasoku.toml.conff=conf: no such key, the keys are: conf trust; did you mean conf?"),
        ('conf = "nowhere"', "kasoku.toml.conf=nowhere: must be a folder"),
        ('trust = "my_net"', "must be a list of dotted names"),
        ('trust = ["my net"]', "must be a list of dotted names"),
        ("conf = ", "kasoku.toml: cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, said):
    (tmp_path / "kasoku.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        project.read(tmp_path)
    assert said in str(caught.value)
    done = command(*QUICK, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_two_files_are_one_too_many_and_another_tools_is_none(own):
    (own / "kasoku.toml").write_text("")
    with pytest.raises(ConfigError, match="keep one of the two"):
        project.read(own)
    (own / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert project.read(own) == project.Project(own / "kasoku.toml")
    (own / "kasoku.toml").unlink()
    assert project.read(own) is None


@pytest.mark.parametrize("name", ["torch", "1st", "class", "json", "網"])
def test_a_name_that_is_no_package_is_refused(tmp_path, name):
    with pytest.raises(ConfigError):
        new.write(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_folder_with_something_in_it_is_left_alone(own):
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    done = command("new", str(own), cwd=own.parent)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before


def test_nothing_of_the_template_is_left_unfilled(own):
    files = [path for path in own.rglob("*") if path.is_file()]
    assert not [path for path in files if "PACKAGE" in path.read_text() or "NAME" in path.read_text()]
    assert {".gitignore", "README.md", "Makefile", "pyproject.toml"} <= {path.name for path in files}
    assert json.loads((own / ".vscode/settings.json").read_text())


def test_the_words_around_the_flags_of_folders_stay():
    argv = ["-m", "--config-dir", "a", "lr=1", "--config-path=b", "x=2"]
    assert home.without_folder_flags(argv) == ["-m", "lr=1", "x=2"]
