"""Precision, accumulation, compilation, channels last and fused optimizers."""

import csv
import json
import logging
import tempfile
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from kasoku.command.build import build_module, build_recipe
from kasoku.command.make import make
from kasoku.faults import ConfigError
from kasoku.recipe import Recipe
from kasoku.training import speedups
from kasoku.training.lean import make_lean
from kasoku.training.module import Module
from tests.conftest import composed


def losses(directory: Path) -> list[float]:
    with (directory / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_learn_what_single_precision_learns(run, precision: str):
    short = ("trainer.max_steps=19", "trainer.log_every_n_steps=1")
    single, other = run(*short, name="single"), run(*short, f"trainer.precision={precision}", name=precision)
    assert losses(other) == pytest.approx(losses(single), abs=0.05)


def test_half_precision_on_the_cpu_is_refused(run):
    with pytest.raises(ConfigError, match=r"trainer\.precision"):
        run("trainer.precision=16-mixed")


def test_accumulated_batches_are_one_batch(run):
    short = ("trainer.max_steps=19", "trainer.log_every_n_steps=1", "optimizer=nesterov")
    whole = run(*short, "data.batch_size=64", name="whole")
    parts = run(*short, "data.batch_size=32", "trainer.accumulate_grad_batches=2", name="parts")
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)
    results = [json.loads((directory / "result.json").read_text()) for directory in (whole, parts)]
    assert results[0]["samples"] == results[1]["samples"]


@pytest.mark.proof
def test_the_compiled_net_computes_the_same_under_the_same_names(run, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_tests")
    short = ("trainer.max_steps=4", "trainer.limit_val_batches=0", "trainer.log_every_n_steps=1")
    plain, compiled = run(*short, name="plain"), run(*short, "trainer.compile=true", name="compiled")
    assert losses(compiled) == pytest.approx(losses(plain), abs=1e-5)
    names = [
        list(torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
        for directory in (plain, compiled)
    ]
    assert names[0] == names[1]


def test_without_a_compiler_a_line_says_so_and_the_run_goes_on(run, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in speedups.missing_compiler()
    with caplog.at_level(logging.WARNING, "kasoku"):
        directory = run("trainer.max_steps=2", "trainer.compile=true")
    assert "going on without compilation" in caplog.text
    assert json.loads((directory / "result.json").read_text())["status"] == "completed"


def test_channels_last_changes_the_layout_and_not_the_numbers():
    cfg = composed("model=cnn")
    data = make(cfg.data, "data")
    data.setup()
    module = build_module(cfg.model, data)
    x = data.sample(8)
    before = module.net(x)
    speedups.use_channels_last(module)
    kernels = [p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    torch.testing.assert_close(module.net(x), before, atol=1e-5, rtol=1e-5)


def test_optimizers_are_fused_where_clipping_allows_it():
    clipped = ("trainer.precision=16-mixed", "trainer.gradient_clip_val=1")
    assert build_recipe(composed("optimizer=adamw")).optimizer.keywords["fused"] is True
    assert build_recipe(composed("optimizer=adamw", "optimizer.fused=false")).optimizer.keywords["fused"] is False
    assert build_recipe(composed("optimizer=nesterov", *clipped)).optimizer.keywords["fused"] is False


def test_only_hooks_that_nobody_overrides_are_left_out():
    class Listening(pl.Callback):
        def on_before_zero_grad(self, *args):
            calls.append("callback")

    class Own(Module):
        def on_after_backward(self):
            calls.append("module")

    calls: list[str] = []
    module = Own(torch.nn.Linear(2, 2), recipe=Recipe(partial(torch.optim.SGD, lr=0.1)))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=2,
        callbacks=[Listening()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    make_lean(trainer, module)
    samples = TensorDataset(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
    trainer.fit(module, DataLoader(samples))
    assert calls == ["callback", "module"] * 2
    assert module.on_train_batch_start is None
