"""Two processes end as one does: the short window of accumulated batches, the last step's validation."""

import csv
from pathlib import Path

import pytest

from kasoku import results
from tests.conftest import command, run_here

RUN = ("model=mlp", "optimizer=sgd", "logger=none", "trainer.accumulate_grad_batches=4", "trainer.log_every_n_steps=1")
ENDS = ("trainer.max_epochs=2", "trainer.check_val_every_n_epoch=9")  # 19 batches an epoch: the last step has 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=32")
    done = command(*RUN, *ENDS, *two, f"hydra.run.dir={folder}/two", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert run_here(folder / "one", *RUN, *ENDS, "trainer=cpu", "data.batch_size=64") == 0
    return folder


def rows(directory: Path, name: str) -> list[tuple[int, float]]:
    with (directory / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row[name]]


@pytest.mark.proof
@pytest.mark.sample(9)
@pytest.mark.parametrize("name", ["train/loss", "val/loss", "test/loss"])
def test_the_figures_are_those_of_one_process(runs, name):
    one, two = rows(runs / "one", name), rows(runs / "two", name)
    assert [step for step, _ in two] == [step for step, _ in one]
    assert [value for _, value in two] == pytest.approx([value for _, value in one], rel=1e-4)


def test_the_last_step_alone_is_validated(runs):
    for name in ("one", "two"):
        assert [step for step, _ in rows(runs / name, "val/loss")] == [9]
        assert results.read(runs / name).steps == 10


@pytest.mark.proof
def test_an_error_on_both_ranks_is_short(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self): super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        "    def forward(self, x):\n"
        "        if self.training: raise ValueError('out of ideas')\n"
        "        return super().forward(x)\n"
    )
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=run")
    done = command(*RUN, *two, "model.net._target_=mine.Net", cwd=tmp_path, env={"KASOKU_TRUST": "mine"})
    assert done.returncode == 1
    assert "ValueError: out of ideas" in done.stderr
    assert "pytorch_lightning" not in done.stderr
    assert "pytorch_lightning" in (tmp_path / "run" / "train.log").read_text()
