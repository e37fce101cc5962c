"""From Python: a module is trained as by the command, and a run's net comes back with its weights."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import kasoku
from kasoku import results
from tests.conftest import ROOT, SMALL, run_here

torch.manual_seed(0)
X = torch.randn(320, 8)
Y = (X @ torch.randn(8, 3)).argmax(1)
DATA = TensorDataset(X, Y)
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


@pytest.mark.sample(3)
@pytest.mark.parametrize("recipe", ["adamw", "fast", ["optimizer=nesterov", "scheduler=step", "warmup=linear"]])
def test_a_plain_net_is_trained_by_a_recipe(tmp_path, recipe):
    plain = net()
    fitted = kasoku.fit(plain, DATA, recipe=recipe, directory=tmp_path / "run", max_epochs=8, **QUIET)
    assert fitted.result.status == "completed"
    assert fitted.best.is_file()
    assert results.read(tmp_path / "run").metrics == fitted.result.metrics
    assert (plain(X).argmax(1) == Y).float().mean() > 0.7


def test_loaders_a_target_and_a_limit_in_steps(tmp_path):
    data = {"train": DataLoader(DATA, 32), "val": DataLoader(DATA, 64)}
    target = kasoku.Target("val/loss", 100.0, "min", stop=True)
    fitted = kasoku.fit(net(), data, target=target, directory=tmp_path / "run", max_steps=15, **QUIET)
    assert fitted.result.steps <= 15
    assert fitted.result.time_to_target.metric == "val/loss"


def test_a_recipe_as_an_object_gives_the_curve(tmp_path):
    from functools import partial

    from kasoku import schedules, warmups

    recipe = kasoku.Recipe(partial(torch.optim.SGD, lr=0.1), partial(schedules.linear), partial(warmups.none, length=0))
    kasoku.fit(net(), DATA, recipe=recipe, directory=tmp_path / "run", max_steps=5, log_every_n_steps=1, **QUIET)
    rows = [line.split(",") for line in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    lr = rows[0].index("lr")
    assert [float(row[lr]) for row in rows[1:] if row[lr]] == pytest.approx([0.1 * (1 - s / 5) for s in range(5)])


def test_the_same_directory_twice_is_refused(tmp_path):
    kasoku.fit(net(), DATA, directory=tmp_path / "run", max_steps=1, **QUIET)
    with pytest.raises(kasoku.ConfigError, match="a run is there already"):
        kasoku.fit(net(), DATA, directory=tmp_path / "run", max_steps=1, **QUIET)
    with pytest.raises(kasoku.ConfigError, match=r"result\.json: cannot be made: File exists; choose another"):
        kasoku.fit(net(), DATA, directory=tmp_path / "run" / "result.json", max_steps=1, **QUIET)


def test_a_run_of_the_command_comes_back_with_its_weights(tmp_path):
    assert run_here(tmp_path, *SMALL, "trainer.max_epochs=1", "model.net.hidden=24") == 0
    loaded = kasoku.load(tmp_path, "last")
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[name]) for name, value in loaded.module.state_dict().items())
    assert loaded.config.model.net.hidden == 24
    assert loaded.net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(kasoku.ConfigError, match=r"holds no config\.yaml"):
        kasoku.load(tmp_path / "checkpoints")


def test_importing_the_package_imports_no_torch():
    code = "import sys, kasoku; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.proof
def test_the_example_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "library.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["adamw", "fast", "a plain loop with kasoku's cosine"]
    assert lines[-1].endswith("lr 0.000")
    assert len(list((tmp_path / "runs" / "python").iterdir())) == 2
