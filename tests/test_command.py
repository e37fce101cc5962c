"""The command as a person types it: exit codes, what it says, what it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, command


def test_the_default_trains_to_97_percent_and_says_where_everything_lies(tmp_path):
    done = command("trainer=cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    directory = next((tmp_path / "runs" / "train").iterdir())
    result = json.loads((directory / "result.json").read_text())
    assert result["metrics"]["test/acc"] >= 0.97
    said = done.stdout + done.stderr
    assert f"test/acc {result['metrics']['test/acc']:.4f}" in said
    assert str(directory.relative_to(tmp_path)) in said
    assert "test/acc" in (directory / "train.log").read_text()


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["optimizer=nestrov", "optimizer.lrr=3", "seed=-3"],
            ["3 faults", "did you mean nesterov", "did you mean lr", "seed=-3"],
        ),
        (["optimzer=sgd"], ["did you mean optimizer"]),
        (["+optimizer.learning_rate=0.1"], ["learning_rate", "did you mean lr"]),
        (["data.batch_size=100000"], ["data.batch_size=100000", "1257"]),
        (["target.metric=val/accc"], ["did you mean val/acc"]),
        (["warmup.length=500", "trainer.max_steps=100"], ["warmup.length", "500", "100"]),
        (["scheduler=cosine", "trainer.max_time='00:00:01:00'"], ["max_steps"]),
        (["model.net._target_=torch.load"], ["torch.load", "not trusted"]),
        (["optimizer=sgd,adam"], ["add -m"]),
        (["sweeper=bayes", "search=lr"], ["sweeper=bayes", "search=lr", "add -m"]),
        (["resume=nowhere"], ["nowhere"]),
        (["model.net.num_classes=5"], ["model.net", "5 outputs", "10 classes"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] else "",
)
def test_a_wrong_command_is_answered_in_a_few_lines(tmp_path, arguments, words):
    done = command(*SMALL, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert len(done.stderr.splitlines()) <= 12
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*")), "a refused run leaves nothing"


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["optimzer=sgd"], ["optimizer.lr=-1"]], ids=" ".join
)
def test_what_needs_no_torch_does_not_import_it(tmp_path, arguments):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['train.py', *{arguments!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        "finally:\n"
        "    print('LOADED', {'torch', 'pytorch_lightning', 'wandb', 'optuna', 'matplotlib'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "LOADED set()" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("python train.py optimizer=ne", "optimizer=nesterov"),
        ("kasoku model=mlp trainer.max_s", "trainer.max_steps="),
    ],
)
def test_the_shell_completes_words(tmp_path, typed, offered):
    done = command("-sc", "query=bash", cwd=tmp_path, env={"COMP_LINE": typed})
    assert (done.returncode, done.stdout.strip()) == (0, offered), done.stderr
    assert not list(tmp_path.iterdir())


def test_the_completion_of_the_shell_finds_the_script(tmp_path):
    """The function that is installed looks for @hydra.main in it."""
    script = command("-sc", "install=bash", cwd=tmp_path).stdout
    line = "python train.py scheduler=cosine_r"
    ask = f"{script}\nCOMP_LINE='{line}' COMP_CWORD=2 hydra_bash_completion && echo ${{COMPREPLY[@]}}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ask], cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "scheduler=cosine_restarts", done.stderr


def test_help_lists_every_group_and_option(tmp_path):
    said = command("--help", cwd=tmp_path).stdout
    for word in ("optimizer: ", "nesterov", "scheduler: ", "time_based", "warmup: ", "untuned", "python train.py"):
        assert word in said


def test_help_shows_a_folder_of_ones_own_and_what_was_chosen(tmp_path):
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "of_mine.yaml").write_text("lr: 0.7\n")
    said = command("--help", "--config-dir", "mine", "optimizer=of_mine", cwd=tmp_path).stdout
    groups, stands = said.split("What stands now:")
    assert "nesterov, of_mine, " in groups
    assert "\n  lr: 0.7\n" in stands
    assert "hydra:" not in stands


@pytest.mark.sample(2)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_the_run_goes_on_in_its_directory(tmp_path, signum, code):
    arguments = [*SMALL, "trainer.max_epochs=100000", "hydra.run.dir=run"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt")
        process.send_signal(signum)
        said = process.communicate(timeout=60)[0].decode()
    finally:
        process.kill()
    assert process.returncode == code
    assert "interrupted by" in said
    assert "weights_only" not in said
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "interrupted"
    epochs = int(result["epochs"]) + 1
    done = command("resume=run", f"trainer.max_epochs={epochs}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = json.loads((tmp_path / "run" / "result.json").read_text())
    assert after["status"] == "completed"
    assert after["steps"] == epochs * 19 > result["steps"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def wait_for(path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.1)


@pytest.mark.proof
def test_runs_that_start_together_have_directories_of_their_own(tmp_path):
    arguments = [sys.executable, str(ROOT / "train.py"), *SMALL, "trainer.max_epochs=1"]
    processes = [subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    directories = list((tmp_path / "runs" / "train").iterdir())
    assert len(directories) == 3
    assert all((directory / "result.json").exists() for directory in directories)


MINE = """
import pytorch_lightning as pl, torch, kasoku

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))

class Lit(pl.LightningModule):
    configure_optimizers = kasoku.configure_optimizers

    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch, i):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, i):
        self.log("val/acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())
"""


def test_a_module_and_a_net_of_the_users_own_train(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("_target_: mine.Lit\n")
    env = {"KASOKU_TRUST": "mine", "PYTHONPATH": str(tmp_path)}
    common = ["trainer=cpu", "logger=none", "trainer.max_epochs=2", "optimizer=nesterov"]
    own_net = command("model.net._target_=mine.Net", "hydra.run.dir=net", *common, cwd=tmp_path, env=env)
    assert own_net.returncode == 0, own_net.stderr
    own_module = command("--config-dir", "conf", "model=mine", "hydra.run.dir=lit", *common, cwd=tmp_path, env=env)
    assert own_module.returncode == 0, own_module.stderr
    for name in ("net", "lit"):
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert result["best"]["value"] > 0.5


def test_a_crash_leaves_its_traceback_in_the_log_and_a_result(tmp_path):
    (tmp_path / "broken.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(64, 10)\n"
        "    def forward(self, x): raise RuntimeError('out of ideas')\n"
    )
    env = {"KASOKU_TRUST": "broken", "PYTHONPATH": str(tmp_path)}
    done = command(*SMALL, "model.net._target_=broken.Net", "hydra.run.dir=run", cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: out of ideas"
    assert "out of ideas" in (tmp_path / "run" / "train.log").read_text()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    done = command(*SMALL, "hydra.run.dir=locked/run", cwd=tmp_path)
    assert done.returncode == 2
    assert "locked" in done.stderr
