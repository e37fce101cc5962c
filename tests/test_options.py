"""Every option of every group builds and trains for a few steps; the public names are frozen in golden.json."""

import json
import re
from itertools import takewhile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kasoku import results
from tests.conftest import CONF, SMALL, composed, options, run_here

GOLDEN = Path(__file__).parent / "golden.json"
STEPS = (
    "trainer.max_steps=3",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.log_every_n_steps=1",
)
NEEDS = {  # what an option needs to fit a run of three steps, or the digits
    "scheduler=multistep": ["trainer.max_steps=8"],
    "callbacks=swa": ["callbacks.swa.every=1"],
    "callbacks=lawa": ["callbacks.lawa.every=1"],
    "warmup=untuned": ["optimizer.betas=[0.5,0.5]", "trainer.max_steps=8"],
}
GROUPS = ("optimizer", "scheduler", "warmup", "model", "data", "trainer", "logger", "callbacks", "experiment")
ELSEWHERE = {  # options that need what this test does not have, and the test that has it
    "data": {"cifar10", "csv", "huggingface", "image_folder", "own", "text"},  # tests/data
    "model": {"gpt", "speednet", "fcn"},  # tests/data/test_text.py, tests/nets, tests/training/test_tasks.py
    "trainer": {"gpu", "ddp", "fsdp"},  # tests/training/test_ddp.py
    "experiment": {name for name in options("experiment") if not name.startswith(("digits", "none"))},
    "logger": {"tensorboard", "wandb", "default"},  # tests/training/test_wandb.py
}


@pytest.mark.sample(12)
@pytest.mark.parametrize(
    "choice",
    [f"{group}={name}" for group in GROUPS for name in options(group) if name not in ELSEWHERE.get(group, set())],
)
def test_the_option_trains(tmp_path, choice):
    common = [setting for setting in SMALL if setting.split("=")[0] != choice.split("=")[0]]
    assert run_here(tmp_path, *common, *STEPS, *NEEDS.get(choice, []), choice) == 0
    assert results.read(tmp_path).steps in (2, 3, 8)


def surface() -> dict[str, object]:
    """Root keys; the options of each group; the keys of each option."""
    found: dict[str, object] = {"root": sorted(map(str, composed()))}
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir()):
        found[folder.name] = {name: keys(folder.name, name) for name in options(folder.name)}
    return found


def keys(group: str, name: str) -> list[str]:
    if group in ("experiment", "recipe", "search"):
        return []
    node = composed(f"{group}={name}")[group]
    return sorted(str(key) for key in OmegaConf.to_container(node) or ())


@pytest.mark.proof
def test_the_public_names_are_those_of_the_golden_list():
    """A name that goes breaks somebody's command. To change it on purpose: python -m tests.test_options."""
    assert surface() == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_says_what_it_is_in_lines_of_120_columns(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    assert [line for line in lines if len(line) > 120] == []


def header(experiment: str) -> str:
    """The comment that the file opens with, in one line."""
    lines = takewhile(lambda line: line.startswith("#"), (CONF / "experiment" / f"{experiment}.yaml").open())
    return " ".join(" ".join(lines).replace("#", " ").split())


@pytest.mark.parametrize("name", sorted({*options("experiment")} - {"none"}))
def test_an_experiment_opens_with_its_length_and_its_command(name):
    trainer = composed(f"experiment={name}").trainer
    length = f"{trainer.max_epochs} epochs" if trainer.max_steps == -1 else f"{trainer.max_steps} steps"
    assert re.search(rf"\b{length}", header(name))
    assert f" python train.py experiment={name}" in header(name)


def test_the_digits_experiment_ends_as_its_header_says(tmp_path):
    """Of the other experiments the bench tells."""
    assert run_here(tmp_path, "experiment=digits_step", "trainer=cpu", "logger=none") == 0
    result, [promised] = results.read(tmp_path), re.findall(r"accuracy of (\S+) or more", header("digits_step"))
    assert result.metrics["test/acc"] >= float(promised)
    assert f"{result.steps} steps" in header("digits_step")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(surface(), indent=1) + "\n")
