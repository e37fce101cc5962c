"""Data of one class is refused by name where classes are to be told apart, and serves where they are not."""

from pathlib import Path

import pytest

from kasoku.config.checks import check
from kasoku.faults import ConfigError
from tests.conftest import composed, run_here
from tests.data.test_image_folder import fill, ready


def refusal(directory: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        run_here(directory, "trainer=cpu", "logger=none", *overrides)
    return str(caught.value)


@pytest.mark.proof
def test_a_folder_of_one_class(tmp_path: Path):
    root = fill(tmp_path / "images", ("ant",))
    said = refusal(tmp_path / "run", "data=image_folder", f"data.root={root}", "data.size=8", "data.batch_size=4")
    assert f"data.root={root}: has one class alone" in said
    assert len(list(ready(root).train_dataloader())) == 1


def test_a_text_of_one_character(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a" * 2000)
    said = refusal(tmp_path / "run", "data=text", f"data.path={tmp_path / 'a.txt'}", "model=gpt")
    assert f"data.path={tmp_path / 'a.txt'}: has one class alone" in said


def test_own_needs_a_target():
    assert any(fault.key == "data._target_" for fault in check(composed("data=own")))
