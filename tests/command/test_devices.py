"""What the machine decides."""

import logging

import pytest
from omegaconf import OmegaConf

from kasoku import bfloat16
from kasoku.command.devices import decided

CPU = {"accelerator": "cpu", "sync_batchnorm": "auto"}


@pytest.mark.parametrize(("units", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_by_the_units_of_the_cpu(units: bool, precision: str, monkeypatch, caplog):
    monkeypatch.setattr(bfloat16, "on_cpu", lambda: units)
    with caplog.at_level(logging.INFO, logger="kasoku"):
        trainer = decided(OmegaConf.create({**CPU, "precision": "auto"}))
    assert trainer == {"accelerator": "cpu", "sync_batchnorm": False, "precision": precision}
    assert caplog.messages == [f"trainer.precision=auto: {precision}"]


@pytest.mark.parametrize(
    ("units", "precision", "warned"), [(True, "bf16-true", 0), (False, "bf16-mixed", 1), (False, "32-true", 0)]
)
def test_bfloat16_without_units_is_warned_of(units: bool, precision: str, warned: int, monkeypatch, caplog):
    monkeypatch.setattr(bfloat16, "on_cpu", lambda: units)
    given = OmegaConf.create({**CPU, "precision": precision})
    assert decided(given).precision == precision
    assert len(caplog.messages) == warned
    assert all("trainer.precision=auto" in message for message in caplog.messages)
