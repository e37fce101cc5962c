"""What fails in the user's own code is shown there, and said in a line; train.log has the whole traceback."""

import pytest

from tests.command.conftest import Kasoku

OWN = 'mine.py", line '


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("words", "inside", "code"),
    [
        (["model.net._target_=mine.Crash"], ["in forward", "in helper"], 1),
        (["+callbacks.mine._target_=mine.CrashingCallback"], ["in on_train_epoch_end", "in helper"], 1),
        (["data._target_=mine.CrashingData", "model.net._target_=mine.Net"], ["in __getitem__", "in helper"], 1),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_users_frames_and_one_line_are_shown(kasoku: Kasoku, words, inside, code):
    done = kasoku(*words)
    assert done.code == code
    lines = done.err.splitlines()
    assert "RuntimeError: out of ideas" in lines[-2:]
    shown = [line for line in lines if line.startswith("  File ")]
    assert [OWN in line for line in shown] == [True] * len(inside)
    assert all(line.endswith(words) for line, words in zip(shown, inside, strict=True))
    assert len(lines) <= 8
    assert "failed; the whole traceback is in run/train.log" in done.out
    whole = (done.directory / "train.log").read_text()
    assert whole.count("Traceback") >= 1
    assert "pytorch_lightning" in whole
    assert done.result["status"] == "failed"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "+callbacks.tuned._target_=pytorch_lightning.callbacks.BackboneFinetuning",
            [
                "AttributeError: 'Module' object has no attribute 'backbone'",
                "raised in callbacks.tuned=BackboneFinetuning",
            ],
        ),
        (
            "+callbacks.mine._target_=mine.CrashingCallback",
            ["RuntimeError: out of ideas", "raised in callbacks.mine=CrashingCallback"],
        ),
    ],
    ids=["another's", "own"],
)
def test_the_key_of_a_callback_that_fails_is_said(kasoku: Kasoku, word, told):
    done = kasoku(word)
    assert (done.code, done.err.splitlines()[-2:]) == (1, told)


def test_an_error_while_a_node_is_built_is_a_fault_with_the_users_frames(kasoku: Kasoku):
    done = kasoku("model.net._target_=mine.CrashAtInit")
    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[:2] == ["wrong configuration:", "  model.net=mine.CrashAtInit: RuntimeError: out of ideas"]
    assert [line.rpartition(" ")[2] for line in lines if OWN in line] == ["__init__", "helper"]
    assert "hydra" not in done.err
    assert not done.directory.exists()


def test_a_module_that_cannot_be_imported_shows_where(kasoku: Kasoku, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("import mine\n\nmine.helper(1)\n")
    monkeypatch.setenv("KASOKU_TRUST", "mine,broken")
    done = kasoku("model.net._target_=broken.Net")
    assert done.code == 2
    assert "broken cannot be imported: RuntimeError: out of ideas" in done.err
    assert 'broken.py", line 3, in <module>' in done.err


def test_what_lightning_refuses_of_the_users_code_is_shown_in_it(kasoku: Kasoku):
    words = ["model._target_=mine.RefusedByLightning", "target.metric=val_loss", "target.mode=min"]
    done = kasoku(*words)
    assert done.code in (1, 2)
    assert "`training_step` must return a Tensor" in done.err
    assert len(done.err.splitlines()) <= 8


def test_a_wrong_configuration_shows_no_frames(kasoku: Kasoku):
    done = kasoku("data.batch_size=100000")
    assert done.code == 2
    assert "File" not in done.err
