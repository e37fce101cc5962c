"""One value's way from the command line to the optimizer: composed once, judged twice."""

import sys

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from kasoku import signatures
from kasoku.command import main as command
from kasoku.config import checks

LR = 0.0123456


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Run the command in this process."""

    def start(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["train.py", *words, f"hydra.run.dir={tmp_path}/run"])
        return command.main()

    return start


def test_a_run_composes_its_configuration_once(start, monkeypatch):
    composed = []
    load = ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", lambda *a, **k: composed.append(1) or load(*a, **k))
    assert start("model=mlp", "trainer=cpu", "logger=none", "trainer.max_steps=2") == 0
    assert len(composed) == 1


@pytest.mark.parametrize("optimizer", ["nesterov", "muon"])
def test_an_lr_is_judged_twice_by_its_range_and_by_the_signature(optimizer, start, monkeypatch):
    judged = []
    for module in (checks, signatures):
        real = module.violated

        def noting(hint, value, real=real, module=module):
            if value == LR:
                judged.append(module.__name__)
            return real(hint, value)

        monkeypatch.setattr(module, "violated", noting)
    settings = ["model=mlp", "trainer=cpu", "logger=none", "mode=preview", f"optimizer.lr={LR}"]
    assert start(f"optimizer={optimizer}", *settings) == 0
    assert judged == ["kasoku.config.checks", "kasoku.signatures"]
