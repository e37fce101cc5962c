"""Where the time went: the parts add up to all of it, and a large one is told with what to do."""

import time

import pytest
from pytorch_lightning.callbacks import Callback

from kasoku import results
from kasoku.training.spent import PARTS, lines
from tests.conftest import SMALL, run_here

LONG = 0.05


class Slow(Callback):
    """Takes its time in one hook."""

    def __init__(self, hook: str):
        setattr(self, hook, lambda *args: time.sleep(LONG))


def test_the_parts_add_up_to_all_seconds(tmp_path):
    assert run_here(tmp_path, *SMALL, "trainer.max_epochs=2") == 0
    result = results.read(tmp_path)
    assert tuple(result.spent) == PARTS
    assert sum(result.spent.values()) == pytest.approx(result.total_seconds, abs=0.2)
    assert all(result.spent[part] > 0 for part in ("start-up", "data", "steps", "validation", "checkpoints", "test"))


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("hook", "part", "times"),
    [
        ("on_train_batch_end", "steps", 6),
        ("on_validation_batch_end", "validation", 2),
        ("on_save_checkpoint", "checkpoints", 2),
        ("on_test_batch_end", "test", 1),
        ("on_fit_start", "start-up", 1),
    ],
)
def test_what_is_slow_is_in_its_part(tmp_path, hook, part, times):
    limits = ("trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.num_sanity_val_steps=0")
    assert run_here(tmp_path, *SMALL, *limits, callbacks=[Slow(hook)]) == 0
    assert results.read(tmp_path).spent[part] >= times * LONG


def test_a_large_part_is_told_with_what_to_do():
    assert list(lines({})) == []
    parts = {"start-up": 90.0, "steps": 20.0, "validation": 30.0, "checkpoints": 0.01}
    assert list(lines(parts)) == [
        "time: start-up 90.0 s  steps 20.0 s  validation 30.0 s  checkpoints 0.0 s",  # shape free of the clock
        "validation took 60% of it: validate less often: trainer.check_val_every_n_epoch=5",
    ]
    assert len(list(lines(parts | {"validation": 12.0}))) == 1
