"""resume=DIR: the stored command, directories of any name, flags wherever they stand, and what goes with no resume."""

import json
from pathlib import Path

import pytest

from kasoku.config import diagnose, resuming
from kasoku.config.compose import Command
from kasoku.config.directory import HEAD
from kasoku.faults import ConfigError
from tests.conftest import CONF, command

NAMES = ["plain", "a=1,b=2", "with space", "it's", 'a "b"', "[x]{y}", "null", "1e3", "ü", "back\\slash", "a=1, b='2'"]


def stored(directory: Path, *overrides: str) -> Path:
    """A run's directory as far as a resume reads it before anything is composed."""
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").write_text("there")
    (directory / "config.yaml").write_text(f"# python train.py\n{HEAD}{json.dumps(overrides)}\nseed: 0\n")
    return directory


def diagnosed(*argv: str) -> None:
    """Raise the faults of the command `argv`."""
    if faults := diagnose.examine(resuming.with_stored_overrides(argv), CONF):
        raise ConfigError(*faults)


def quotings(name: str) -> list[str]:
    """What a person may type for the folder `name`: as it is, and in quotes of Hydra's where those are possible."""
    quoted = [f"{quote}{name}{quote}" for quote in "'\"" if quote not in name and "\\" not in name]
    return [name, *quoted]


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", NAMES)
def test_a_directory_of_any_name_in_any_quoting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "runs" / name, "optimizer=sgd")
    for typed in quotings(f"runs/{name}"):
        argv = resuming.with_stored_overrides([f"resume={typed}", "seed=3"])
        made = Command(argv, CONF)
        cfg = made.load(made.lines)
        assert cfg.resume == cfg.hydra.run.dir == f"runs/{name}"
        assert (cfg.optimizer._target_, cfg.seed) == ("torch.optim.SGD", 3)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_of_any_name(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "sweep.json").write_text(json.dumps({"overrides": ["seed=1,2"], "study": "s"}))
    argv = resuming.with_stored_overrides(["-m", f"resume={tmp_path / name}", "optimizer=sgd"])
    made = Command(argv, CONF)
    assert made.is_sweep
    assert made.lines[:2] == ["seed=1,2", "sweeper.study=s"]
    assert made.load([line for line in made.lines if line.startswith("hydra.")]).hydra.sweep.dir == str(tmp_path / name)


def test_flags_keep_their_values_wherever_they_stand(tmp_path: Path):
    run = stored(tmp_path / "run", "optimizer=sgd")
    resume, more = f"resume={run}", "trainer.max_epochs=2"
    last = ["optimizer=sgd", resume, more, f"hydra.run.dir={run}"]
    for flag in (
        ["--config-dir", "mine"],
        ["--config-dir=mine"],
        ["-cd", "mine"],
        ["--config-name", "other", "-cd", "mine"],
    ):
        for argv in ([*flag, resume, more], [resume, more, *flag], [resume, *flag, more]):
            assert resuming.with_stored_overrides(argv) == [*flag, *last]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("hydra.run.dir=elsewhere", r"hydra\.run\.dir=elsewhere: resume goes on in its own directory"),
        ("checkpoint=best.ckpt", r"checkpoint=best\.ckpt: resume goes on from the run's own last\.ckpt"),
        ("mode=preview", r"mode=preview: resume goes on with a training"),
        ("mode=find_lr", r"mode=find_lr: resume goes on with a training"),
        ("mode=test", r"mode=test: resume goes on with a training.*checkpoint=.*best\.ckpt"),
    ],
)
def test_what_a_resume_would_ignore_is_refused(tmp_path: Path, typed: str, words: str):
    run = stored(tmp_path / "run")
    with pytest.raises(ConfigError, match=words):
        diagnosed(f"resume={run}", typed)


def test_what_says_the_same_is_taken(tmp_path: Path):
    run = stored(tmp_path / "run", "checkpoint=gone.ckpt")
    diagnosed(f"resume={run}", f"hydra.run.dir={run}/../run", "checkpoint=null")
    diagnosed(f"resume={run}")  # the weights that it began with are not read again


@pytest.mark.parametrize("line", ["--experimental-rerun=x.pickle", "-cd=evil", "word"])
def test_stored_words_that_are_no_overrides_are_refused(tmp_path: Path, line: str):
    run = stored(tmp_path / "run", "seed=1", line)
    with pytest.raises(ConfigError, match=r"config\.yaml: holds .*no KEY=VALUE"):
        resuming.with_stored_overrides([f"resume={run}"])
    (run / "sweep.json").write_text(json.dumps({"overrides": [line]}))
    with pytest.raises(ConfigError, match=r"sweep\.json: holds .*no KEY=VALUE"):
        resuming.with_stored_overrides(["-m", f"resume={run}"])


def test_the_command_resumes_a_run_named_by_its_overrides(tmp_path: Path):
    conf = tmp_path / "my conf"
    (conf / "experiment").mkdir(parents=True)
    (conf / "experiment" / "short.yaml").write_text("# @package _global_\ntrainer: {limit_train_batches: 3}\n")
    small = ("model=mlp", "trainer=cpu", "logger=none", "trainer.max_epochs=1", "seed=1")
    named = "hydra.run.dir=runs/${hydra.job.override_dirname}"
    ended = command("--config-dir", "my conf", *small, "experiment=short", named, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (run,) = (tmp_path / "runs").iterdir()
    for number, flags in enumerate((["--config-dir", "my conf"], ["--config-dir=my conf"])):
        ended = command(*flags, f"resume=runs/{run.name}", f"trainer.max_epochs={number + 2}", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert json.loads((run / "result.json").read_text())["steps"] == 3 * (number + 2)
    assert len(list((tmp_path / "runs").iterdir())) == 1
