"""recipe=NAME: optimizer, schedule and warmup in one word, which the words for each of them override."""

import pytest

from kasoku.command.build import build_recipe
from tests.conftest import composed, options, run_here

TARGETS = {
    "classic": ("torch.optim.SGD", "kasoku.schedules.step"),
    "adamw": ("torch.optim.AdamW", "kasoku.schedules.cosine"),
    "fast": ("kasoku.optim.muon.Muon", "kasoku.schedules.linear"),
    "fast_safe": ("pytorch_optimizer.ADOPT", "kasoku.schedules.linear"),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", sorted({*options("recipe")} - {"none"}))
def test_a_recipe_chooses_and_trains(tmp_path, name):
    cfg = composed(f"recipe={name}")
    assert (cfg.optimizer._target_, cfg.scheduler._target_) == TARGETS[name]
    assert cfg.warmup._target_ == "kasoku.warmups.linear"
    settings = ("model=mlp", "trainer=cpu", "logger=none", "trainer.max_steps=3")
    assert run_here(tmp_path, f"recipe={name}", *settings) == 0


@pytest.mark.sample(8)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("word", ["optimizer=adamw", "optimizer=nesterov", "scheduler=wsd", "warmup=none"])
@pytest.mark.parametrize("recipe", sorted({*options("recipe")} - {"none"}))
def test_the_word_for_a_part_comes_before_the_recipe_and_leaves_nothing_of_it(recipe, word, order):
    """Whatever the order: the part is as if the recipe were not there, the others are the recipe's."""
    group = word.split("=")[0]
    found, alone, whole = composed(*[f"recipe={recipe}", word][::order]), composed(word), composed(f"recipe={recipe}")
    for name in ("optimizer", "scheduler", "warmup"):
        assert found[name] == (alone if name == group else whole)[name]
    build_recipe(found)


def test_a_value_is_the_commands():
    assert composed("recipe=fast", "optimizer.lr=0.5").optimizer.lr == 0.5


def test_an_experiment_names_its_own_parts():
    cfg = composed("recipe=fast", "experiment=digits_step")
    assert cfg.optimizer._target_ == "torch.optim.SGD"
