"""Warmup and plateau together: against torch's ReduceLROnPlateau, closed forms, and resumes at every cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from kasoku.faults import ConfigError
from kasoku.optim.plateau import Plateau
from kasoku.signatures import check_call
from tests.optim.loops import Toy, fit

BASE = 0.5


def optimizer(lr=BASE):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def flat(step):
    return 1.0


def warm(step):
    return min(1.0, (step + 1) / 6)


def advance(scheduler):
    scheduler.optimizer.step()
    scheduler.step()
    return scheduler.optimizer.param_groups[0]["lr"]


@given(
    values=st.lists(st.floats(-2, 2).map(lambda value: round(value, 2)), min_size=1, max_size=30),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.2]),
)
def test_without_warmup_as_torch(values, mode, patience, cooldown, threshold):
    shape = {"mode": mode, "factor": 0.5, "patience": patience, "cooldown": cooldown, "threshold": threshold}
    ours, theirs = optimizer(), optimizer()
    scheduler, reference = Plateau(ours, flat, **shape), ReduceLROnPlateau(theirs, eps=0, **shape)
    values = [abs(value) for value in values]  # torch's relative threshold turns round below zero
    for value in values:
        scheduler.observe(value)
        reference.step(value)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])


def test_a_negative_metric_improves_downwards():
    scheduler = Plateau(optimizer(), flat, patience=0, threshold=0.1)
    for value in (-1.0, -1.05, -1.2):
        scheduler.observe(value)
    assert (scheduler.best, scheduler.reduction) == (-1.2, pytest.approx(0.1))


def test_warmup_then_reductions():
    scheduler = Plateau(optimizer(), warm, factor=0.1, patience=0)
    lrs = [scheduler.optimizer.param_groups[0]["lr"]]
    for step in range(1, 10):
        lrs.append(advance(scheduler))
        if step in (3, 7, 8):  # the first is inside the warmup, the second sets nothing better
            scheduler.observe(1.0)
    expected = [BASE * warm(step) * (1 if step <= 7 else 0.1 if step == 8 else 0.01) for step in range(10)]
    assert lrs == pytest.approx(expected)


def test_nothing_is_reduced_in_the_warmup():
    scheduler = Plateau(optimizer(), warm, patience=0)
    for _ in range(4):
        scheduler.observe(1.0)
    assert scheduler.reduction == 1.0


def test_reductions_end_at_min_factor_and_nan_counts_as_no_improvement():
    scheduler = Plateau(optimizer(), flat, factor=0.5, patience=0, min_factor=0.2)
    for _ in range(5):
        scheduler.observe(float("nan"))
    assert scheduler.optimizer.param_groups[0]["lr"] == pytest.approx(BASE * 0.2)
    assert scheduler.best is None


@given(patience=st.integers(0, 4), cooldown=st.integers(0, 4))
def test_a_metric_that_stands_still_is_answered_at_regular_intervals(patience, cooldown):
    """First after the best and patience + 1 more, then every patience + 1 + cooldown."""
    scheduler = Plateau(optimizer(), flat, factor=0.5, patience=patience, cooldown=cooldown)
    for n in range(30):
        scheduler.observe(1.0)
        assert scheduler.reduction == 0.5 ** max(0, (n + cooldown) // (patience + 1 + cooldown))


def test_by_default_the_fifth_validation_that_is_hardly_better_reduces_to_a_tenth():
    """Patience 3 after the best one, and better means by more than a ten-thousandth."""
    scheduler = Plateau(optimizer(), flat)
    found = []
    for value in (2.0, 2.0 * (1 - 1.05e-4), *[2.0 * (1 - 2e-4)] * 4):
        scheduler.observe(value)
        found.append(scheduler.reduction)
    assert found == [1.0] * 5 + [0.1]
    assert (scheduler.mode, scheduler.metric) == ("min", "val/loss")


def test_from_the_state_of_another_schedule_nothing_is_reduced_yet():
    scheduler = Plateau(optimizer(), flat, factor=0.5, patience=0)
    for _ in range(3):
        scheduler.observe(1.0)
    scheduler.load_state_dict({"step": 5})
    assert scheduler.state_dict() == {"step": 5, "reduction": 1.0, "best": None, "bad": 0, "resting": 0}


def test_nan_counts_from_the_first_validation_on():
    """Mutants: a scheduler that begins with a bad validation behind it, or with a rest before it."""
    scheduler = Plateau(optimizer(), flat, factor=0.5, patience=1)
    found = []
    for _ in range(4):
        scheduler.observe(float("nan"))
        found.append(scheduler.reduction)
    assert found == [1, 0.5, 0.5, 0.25]


def test_a_tensor_is_kept_as_a_number():
    scheduler = Plateau(optimizer(), flat)
    scheduler.observe(torch.tensor(0.5))
    assert type(scheduler.state_dict()["best"]) is float


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"mode": "min", "patience": 0, "threshold": 0, "cooldown": 0, "min_factor": 0, "factor": 0.99}, []),
        ({"mode": "max", "factor": 0.001, "min_factor": 0.99}, []),
        (
            {"mode": "mean", "patience": -1, "threshold": -0.1, "cooldown": -1},
            ["mode", "patience", "threshold", "cooldown"],
        ),
        ({"factor": 0, "min_factor": 1}, ["factor", "min_factor"]),
        ({"factor": 1, "min_factor": -0.1}, ["factor", "min_factor"]),
        ({"patience": 0.5, "cooldown": None}, ["patience", "cooldown"]),
    ],
)
def test_settings_out_of_range_are_faults_of_their_keys(settings, refused):
    assert [fault.key for fault in check_call(Plateau, settings, "")] == refused


def run(scheduler, start, values):
    lrs = []
    for step in range(start, len(values)):
        lrs.append(advance(scheduler))
        scheduler.observe(values[step])
    return lrs


def test_resume_at_every_cut_equals_the_straight_run():
    values = [3, 2, 2, 2, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    shape = {"factor": 0.5, "patience": 1, "cooldown": 1}
    straight = run(Plateau(optimizer(), warm, **shape), 0, values)
    for cut in range(len(values) + 1):
        scheduler = Plateau(optimizer(), warm, **shape)
        before = run(scheduler, 0, values[:cut])
        fresh = optimizer()
        resumed = Plateau(fresh, warm, **shape)
        fresh.load_state_dict(scheduler.optimizer.state_dict())
        resumed.load_state_dict(scheduler.state_dict())
        assert before + run(resumed, cut, values) == straight


def test_a_resumed_run_takes_its_base_lr_from_the_present_configuration():
    scheduler = Plateau(optimizer(), flat, factor=0.5, patience=0)
    for _ in range(3):
        scheduler.observe(1.0)
    fresh = optimizer(lr=2.0)
    resumed = Plateau(fresh, flat, factor=0.5, patience=0)
    fresh.load_state_dict(scheduler.optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert fresh.param_groups[0]["lr"] == pytest.approx(2.0 * 0.25)
    assert all(isinstance(value, int | float) for value in scheduler.state_dict().values())


def plateau(**shape):
    def make(net):
        sgd = torch.optim.SGD(net.parameters(), lr=BASE)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": Plateau(sgd, flat, **shape), "interval": "step"}}

    return make


def test_under_lightning_every_validation_is_observed_once():
    """A threshold so wide that only the first value improves; three validations in an epoch of six steps."""
    module = Toy(plateau(patience=1, factor=0.5, threshold=1e9))
    trainer = fit(module, 18, val_check_interval=2)
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    assert scheduler.state_dict() == {"step": 18, "reduction": 0.5**4, "best": scheduler.best, "bad": 0, "resting": 0}


@pytest.mark.parametrize(
    "options",
    [
        {"check_val_every_n_epoch": 3, "max_epochs": 3},
        {"check_val_every_n_epoch": None, "val_check_interval": 6, "max_epochs": 3},
    ],
)
def test_a_run_that_validates_once_is_in_order(options):
    trainer = fit(Toy(plateau()), **options)
    assert trainer.lr_scheduler_configs[0].scheduler.best is not None


def test_other_schedulers_need_no_validation_and_observe_nothing():
    def make(net):
        sgd = torch.optim.SGD(net.parameters(), lr=BASE)
        return {"optimizer": sgd, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(sgd)}

    assert len(fit(Toy(make), 6).callback_metrics) == 1
    assert fit(Toy(make), 6, limit_val_batches=0).global_step == 6


def test_a_metric_that_is_not_there_is_named_before_the_first_step():
    module = Toy(plateau(metric="val/los"))
    with pytest.raises(ConfigError):
        fit(module)
    assert module.losses == []


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        (
            {"metric": "val/los"},
            {},
            "scheduler.metric=val/los: validation logs no such metric, .*did you mean val/loss",
        ),
        ({"metric": "val/los"}, {"num_sanity_val_steps": 0}, "scheduler.metric=val/los"),
        ({}, {"limit_val_batches": 0}, "scheduler=plateau: needs validation"),
        ({}, {"check_val_every_n_epoch": 9, "max_epochs": 3}, "scheduler=plateau: needs validation"),
        ({}, {"check_val_every_n_epoch": 2, "max_epochs": 1}, "scheduler=plateau: needs validation"),
    ],
)
def test_faults_before_the_end_of_the_first_epoch(shape, options, words):
    module = Toy(plateau(**shape))
    with pytest.raises(ConfigError, match=words):
        fit(module, 18, **options)
    assert len(module.losses) <= 6
