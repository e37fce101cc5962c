"""Checkpoints that are damaged, missing, killed in the writing, or that the disk has no room for."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from kasoku.files import CannotWrite, remove_parts, write_whole
from kasoku.training.checkpoints import damage, predecessor
from tests.conftest import SMALL, command, forks, run_here

BASE = (*SMALL, "optimizer=sgd", "scheduler=constant", "warmup=none")
RUN = (*BASE, "trainer.max_epochs=4")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    assert run_here(directory, *RUN) == 0
    return directory


@pytest.fixture
def cut(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A run of three epochs, to be made one longer."""
    directory = tmp_path / "run"
    assert run_here(directory, *BASE, "trainer.max_epochs=3") == 0
    return directory


def last(directory: Path) -> Path:
    return directory / "checkpoints" / "last.ckpt"


def resumed(directory: Path) -> int:
    return run_here(directory, *BASE, "trainer.max_epochs=3", "trainer.max_epochs=4", f"resume={directory}")


def same_end(one: Path, other: Path) -> bool:
    first, second = (torch.load(last(path), weights_only=True)["state_dict"] for path in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES: dict[str, Callable[[Path], object]] = {"truncated": truncate, "empty": empty, "missing": Path.unlink}


def test_every_checkpoint_has_its_predecessor_whole(straight):
    before = torch.load(predecessor(last(straight)), weights_only=True)
    assert (before["global_step"], torch.load(last(straight), weights_only=True)["global_step"]) == (57, 76)
    assert not damage(last(straight))


def test_a_flipped_byte_of_any_tensor_is_found(straight, tmp_path):
    path = tmp_path / "last.ckpt"
    with zipfile.ZipFile(last(straight)) as archive:
        records = [info for info in archive.infolist() if info.file_size]
    for info in records:
        shutil.copy(last(straight), path)
        start = path.read_bytes().index(info.filename.encode(), info.header_offset) + len(info.filename)
        extra = int.from_bytes(path.read_bytes()[info.header_offset + 28 : info.header_offset + 30], "little")
        flip(path, start + extra + info.file_size // 2)
        assert info.filename in damage(path)


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", [*DAMAGES, "flipped"])
def test_a_resume_falls_back_to_the_predecessor_and_says_what_is_lost(cut, straight, kind, caplog):
    before = torch.load(predecessor(last(cut)), weights_only=True)["global_step"]
    damaged = DAMAGES.get(kind, lambda path: flip(path, path.stat().st_size // 2))
    damaged(last(cut))
    assert resumed(cut) == 0
    assert f"going on from last.previous.ckpt, step {before}" in caplog.text
    assert ("19 steps are made again" in caplog.text) == (kind == "flipped")
    assert same_end(cut, straight)


def test_without_a_whole_one_it_is_refused_and_the_weights_of_the_best_are_offered(cut, capsys):
    flip(last(cut), last(cut).stat().st_size // 2)
    truncate(predecessor(last(cut)))
    done = command(f"resume={cut}", "trainer.max_epochs=4", cwd=cut.parent)
    assert done.returncode == 2
    assert "last.ckpt: is damaged: the checksum of" in done.stderr
    assert "checkpoint=" in done.stderr
    assert "best.ckpt" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(cut, straight, caplog):
    shutil.rmtree(cut / "checkpoints")
    assert resumed(cut) == 0
    assert "begins again at step 0" in caplog.text
    assert same_end(cut, straight)
    assert (cut / "metrics.csv").read_text() == (straight / "metrics.csv").read_text()


def test_parts_of_processes_that_are_gone_are_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (tmp_path / f"last.ckpt.{pid}.part").touch()
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"last.ckpt.{os.getpid()}.part"]


def test_a_file_that_is_not_what_was_written_does_not_take_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(part: Path) -> None:
        raise OSError(5, "is damaged", str(part))

    with pytest.raises(CannotWrite, match="is damaged"):
        write_whole(path, lambda file: file.write(b"new"), verify=refuse)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("file", "old")]


@pytest.fixture
def limited():
    """No file of this process may become larger than 100 000 bytes: what a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_quota_is_named_with_path_and_bytes_and_leaves_no_debris(tmp_path, limited):
    path = tmp_path / "last.ckpt"
    path.write_text("old")
    with pytest.raises(CannotWrite) as caught:
        write_whole(path, lambda file: torch.save({"weights": torch.zeros(100_000)}, file))
    assert str(path) in str(caught.value)
    assert "it takes 400,704 bytes or more" in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with room for little."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_the_run_with_a_sentence_and_older_checkpoints_whole(small_disk):
    done = command(*SMALL, "model.net.hidden=256", "hydra.run.dir=run", cwd=small_disk)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) < 15, done.stderr
    assert "cannot write" in done.stderr
    assert "No space left on device" in done.stderr
    folder = small_disk / "run" / "checkpoints"
    assert not list(folder.glob("*.part"))
    assert not any(damage(path) for path in folder.glob("*.ckpt"))


class Spoil(pl.Callback):
    """Puts a file where the checkpoints' folder was, in the second epoch: nobody can write below it, root neither."""

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        folder = Path(trainer.default_root_dir) / "checkpoints"
        if trainer.current_epoch == 1:
            folder.rename(folder.with_name("moved"))
            folder.touch()


def test_a_folder_that_is_lost_while_it_trains_is_named(tmp_path):
    with pytest.raises(CannotWrite, match=f"cannot write {tmp_path}/run/checkpoints/"):
        run_here(tmp_path / "run", *RUN, callbacks=[Spoil()])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
    assert not damage(tmp_path / "run" / "moved" / "last.ckpt")


@pytest.mark.parametrize("kills", [pytest.param(2, id="sample"), pytest.param(100, id="all", marks=pytest.mark.proof)])
def test_kills_during_frequent_checkpoints_leave_a_run_that_goes_on(tmp_path, straight, kills, counted):
    """kill -9 at moments that are drawn, with a checkpoint after every step; in the end the run is the straight one."""
    often = ["callbacks.last.every_n_train_steps=1", "callbacks.last.every_n_epochs=null"]
    draw, survived, count = random.Random(0), 0, 0
    while survived < kills:
        directory = tmp_path / str(count)
        words, count = [*RUN, *often, f"hydra.run.dir={directory}"], count + 1
        while forks().run(words, tmp_path, kill_after=draw.uniform(0.3, 1.0)).returncode == -signal.SIGKILL:
            if not (directory / "config.yaml").exists():
                break
            survived += 1
            words = [f"resume={directory}"]
            if survived >= kills:
                break
        if not (directory / "config.yaml").exists():
            continue
        done = command(f"resume={directory}", cwd=tmp_path)
        assert done.returncode == 0 or "has finished" in done.stderr, done.stderr
        assert same_end(directory, straight)
        assert not list(directory.rglob("*.part"))
    counted("kills survived", survived)
