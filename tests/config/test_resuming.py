"""resume=DIR: whose command is gone on with, and which changes of it were meant."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from omegaconf import OmegaConf

from kasoku.config import directory as directories
from kasoku.config.resuming import Change, changes, overrides_of_sweep, with_stored_overrides
from kasoku.faults import ConfigError
from tests.conftest import composed

STORED = ("model=mlp", "trainer.max_epochs=1")


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The directory of a run that was begun with STORED."""
    directories.claim(tmp_path / "run", OmegaConf.to_yaml(composed(*STORED), resolve=False), STORED)
    return tmp_path / "run"


def edit(directory: Path, **values: object) -> None:
    """Let the run have begun with other values, as if files in conf/ said something else then."""
    path = directory / "config.yaml"
    lines = path.read_text().splitlines()[:2]
    cfg = OmegaConf.load(path)
    for key, value in values.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    path.write_text("\n".join([*lines, OmegaConf.to_yaml(cfg, resolve=False)]))


def found(directory: Path, *new: str) -> list[str]:
    overrides = [*STORED, *new, f"resume={directory}"]
    return [str(change) for change in changes(directory, composed(*overrides), overrides)]


def refused(directory: Path, *new: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        found(directory, *new)
    return [str(fault) for fault in caught.value.faults]


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def call(*_: object) -> NoReturn:
        raise error

    return call


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_run_that_is_killed_while_it_takes_its_directory_leaves_no_config(tmp_path, monkeypatch, call):
    """Else the next run finds one without overrides there: neither a run to go on with nor a free directory."""
    killed = KeyboardInterrupt("no exception that anybody handles, as kill -9 is none")
    monkeypatch.setattr(f"os.{call}", raising(killed))
    with pytest.raises(KeyboardInterrupt):
        directories.claim(tmp_path, "seed: 0\n", STORED)
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("has_links", [True, False])
def test_a_directory_is_taken_once(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr("os.link", raising(PermissionError(errno.EPERM, os.strerror(errno.EPERM))))
    directories.claim(tmp_path, "seed: 0\n", STORED)
    with pytest.raises(ConfigError, match="a run is there already"):
        directories.claim(tmp_path, "seed: 1\n", STORED)
    assert directories.overrides_of(tmp_path) == list(STORED)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_what_the_new_command_names_is_a_change(begun):
    """And nothing else is: what refers to a changed key, as sweeper.seed does, is compared as it is written."""
    assert found(begun) == []
    assert found(begun, "trainer.max_epochs=3", "seed=5") == ["seed: 0 -> 5", "trainer.max_epochs: 1 -> 3"]
    assert changes(begun, composed(*STORED, "seed=5"), [*STORED, "seed=5"]) == [Change("seed", 0, 5)]


def test_naming_a_node_names_what_lies_below_it_and_nothing_beside_it(begun):
    """Mutants: a key alone covers itself; every key that begins with the same letters is covered."""
    assert "scheduler._target_: kasoku.schedules.linear -> kasoku.schedules.cosine" in found(begun, "scheduler=cosine")
    assert found(begun, "~model.net.dropout") == ["model.net.dropout: 0.0 -> null"]
    assert found(begun, "+model.net.more=1") == ["model.net.more: null -> 1"]
    edit(begun, seeding="fast")
    assert refused(begun, "seed=5") == ["seeding=null: was fast in this run; give it: seeding=..."]


def test_changes_come_in_the_order_of_their_keys(begun):
    new = ("trainer.max_epochs=3", "seed=5", "optimizer.lr=0.5", "data.batch_size=7", "target.value=0.5", "mode=test")
    keys = [line.split(":")[0] for line in found(begun, *new)]
    assert keys == sorted(line.split("=")[0] for line in new)


def test_a_node_that_was_empty_or_chose_nothing_is_a_value_too(begun):
    """Mutants: an empty node taken for none; an optimizer asked for its class where there is no optimizer."""
    edit(begun, extra={})
    assert refused(begun) == ["extra=null: was {} in this run; give it: extra=..."]
    assert "optimizer._target_: torch.optim.AdamW -> null" in found(begun, "~optimizer", "++extra=1")


def test_what_nobody_named_is_refused_all_of_it_together(begun):
    """Mutants: nothing is refused; the stored command counts as naming; the first fault alone."""
    edit(begun, trainer__max_epochs=7, scheduler__final_factor=0.5)
    assert refused(begun, "seed=5") == [
        "scheduler.final_factor=0.0: was 0.5 in this run; give it: scheduler.final_factor=...",
        "trainer.max_epochs=1: was 7 in this run; give it: trainer.max_epochs=...",
    ]
    assert found(begun, "scheduler.final_factor=0.0", "trainer.max_epochs=1") == [
        "scheduler.final_factor: 0.5 -> 0.0",
        "trainer.max_epochs: 7 -> 1",
    ]


def test_a_key_that_is_new_since_has_its_default(begun):
    edit(begun, data__eval_batch_size=None)
    path = begun / "config.yaml"
    path.write_text(path.read_text().replace("  eval_batch_size: null\n", ""))
    assert found(begun) == [f"data.eval_batch_size: null -> {composed(*STORED).data.eval_batch_size}"]


def test_another_optimizer_is_the_one_fault_that_is_told(begun):
    edit(begun, scheduler__final_factor=0.5)
    [fault] = refused(begun, "optimizer=nesterov")
    assert fault == (
        "optimizer=torch.optim.SGD: the state in the checkpoint is that of torch.optim.AdamW; to start a new run from "
        f"its weights: checkpoint={begun}/checkpoints/last.ckpt without resume="
    )
    assert "optimizer.lr: 0.003 -> 0.5" in found(begun, "optimizer.lr=0.5", "scheduler.final_factor=0")


def test_the_stored_command_stands_between_the_flags_and_the_new_one(begun):
    argv = [f"resume={begun}", "seed=5", "--config-dir=mine"]
    assert with_stored_overrides(argv) == [
        "--config-dir=mine", *STORED, f"resume={begun}", "seed=5", f"hydra.run.dir={begun}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "argv", [[], ["seed=5", "-m"], ["resume=", "seed=5"], ["resume=null"], ["resume=x", "resume="]]
)
def test_a_command_that_resumes_nothing_is_left_as_it_is(argv):
    assert with_stored_overrides(tuple(argv)) == argv


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.parametrize(("study", "more"), [({}, []), ({"study": "mine"}, ["sweeper.study=mine"])])
def test_a_sweep_goes_on_with_its_command_and_its_study(tmp_path, flag, study, more):
    (tmp_path / "sweep.json").write_text(json.dumps({"overrides": ["seed=1,2"]} | study))
    assert overrides_of_sweep(tmp_path) == ["seed=1,2", *more]
    assert with_stored_overrides([f"resume={tmp_path}", flag, "seed=3"]) == [
        flag, "seed=1,2", *more, f"resume={tmp_path}", "seed=3", f"hydra.sweep.dir={tmp_path}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "holds no sweep.json"), ("{", "cannot be read"), ("[]", "cannot be read"), ("{}", "cannot be read: 'over")],
)
def test_a_sweep_that_cannot_be_read_is_named(tmp_path, content, words):
    if content:
        (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ConfigError, match=f"resume={tmp_path}.*: {words}"):
        overrides_of_sweep(tmp_path)
    with pytest.raises(ConfigError, match=r"resume=.*nowhere: there is no such folder; give the directory of a sweep"):
        overrides_of_sweep(tmp_path / "nowhere")
