"""Code that says `import lightning`, with that package or without it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kasoku.command.module import _lightning_module
from kasoku.faults import ConfigError
from tests.conftest import ROOT, command

NAMES = """
from kasoku.training import lightning_alias
lightning_alias.accept()
import lightning as L
assert L.pytorch.callbacks.EarlyStopping and L.fabric.Fabric is L.Fabric
import lightning.pytorch as plight
import pytorch_lightning as pl
from lightning import seed_everything
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStopping as Same
assert L.LightningModule is pl.LightningModule and L.Trainer is pl.Trainer and L.Callback is pl.Callback
assert L.LightningDataModule is pl.LightningDataModule and L.__version__ == pl.__version__ and plight is pl
assert EarlyStopping is pl.callbacks.EarlyStopping is Same is L.pytorch.callbacks.EarlyStopping
assert pl.__spec__.name == "pytorch_lightning" and pl.callbacks.__spec__.name == "pytorch_lightning.callbacks"
try:
    import lightning.app
except ModuleNotFoundError as error:
    print(error)
"""
MODULE = """
import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

class Lit(L.LightningModule):
    def __init__(self, width: int = 8):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, 10))

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val/acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

class Bell(Callback):
    def on_train_end(self, trainer, pl_module):
        print("rings", flush=True)
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.proof
def test_the_names_of_lightning_lead_to_pytorch_lightning():
    assert "No module named 'lightning.app'" in python(NAMES)


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="the package lightning is not installed")
def test_where_it_was_imported_before_nothing_is_changed():
    code = "import lightning as L; from kasoku.training import lightning_alias; lightning_alias.accept()"
    assert "lightning.pytorch" in python(f"{code}; print(L.LightningModule.__module__)")


def test_a_module_and_a_callback_of_lightning_are_trained(tmp_path: Path):
    (tmp_path / "mine.py").write_text(MODULE)
    words = ["+model._target_=mine.Lit", "+callbacks.bell._target_=mine.Bell", "trainer.max_epochs=1", "logger=none"]
    stop = ["+callbacks.es._target_=lightning.pytorch.callbacks.EarlyStopping", "+callbacks.es.monitor=val/acc"]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}", "KASOKU_TRUST": "mine"}
    done = command(*words, *stop, "trainer=cpu", "hydra.run.dir=run", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "rings" in done.stdout
    assert (tmp_path / "run" / "result.json").exists()


def test_a_module_of_a_lightning_that_was_there_before_is_told_the_line_to_change():
    class Parent:
        pass

    Parent.__module__ = "lightning.pytorch.core.module"
    module = type("Lit", (Parent,), {})()
    with pytest.raises(
        ConfigError, match=r"_target_=mine.Lit: is a module of the package lightning.*import pytorch_li"
    ):
        _lightning_module(module, OmegaConf.create({"_target_": "mine.Lit"}))
