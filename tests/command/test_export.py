"""mode=export: each file is the net of the run, loaded by others; what disagrees with it is not kept."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kasoku.faults import ConfigError
from kasoku.files import EXPORTED
from kasoku.training.batches import Inputs
from kasoku.training.export import compare, export
from tests.conftest import SMALL, command

TINY = (*SMALL, "trainer.max_epochs=1")
MINE = '''
import pytorch_lightning as pl
import torch
from torch import nn


class Branches(nn.Module):
    """A branch that depends on the values: no tracer takes it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(x) if x.sum() > 0 else self.head(-x)


class Otherwise(nn.Module):
    """Computes something else where it is traced."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1)) * (1.01 if torch.compiler.is_compiling() else 1)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.drop = nn.Linear(64, 10), nn.Linear(10, 10), nn.Dropout(0.5)

    def forward(self, pixels, onehot, scale=2.0):
        return {"logits": self.drop(self.a(pixels)) * scale + self.b(onehot), "hidden": (pixels, onehot.sum(1))}


class Dicts(torch.utils.data.Dataset):
    num_classes = 10

    def __init__(self):
        drawn = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(200, 64, generator=drawn), torch.arange(200) % 10

    def __len__(self):
        return 200

    def __getitem__(self, index):
        onehot = nn.functional.one_hot(self.y[index], 10).float()
        return {"onehot": onehot, "pixels": self.x[index], "label": self.y[index]}


class Lit(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8)), nn.Linear(8, 10)

    def forward(self, images):
        return self.head(self.body(images))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val/acc", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
'''


def trained(folder: Path, *words: str) -> Path:
    (folder / "mine.py").write_text(MINE)
    done = command(*TINY, *words, "hydra.run.dir=run", cwd=folder, env=trust(folder))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def trust(folder: Path) -> dict[str, str]:
    return {"KASOKU_TRUST": "mine", "PYTHONPATH": str(folder), "COLUMNS": "120"}


def exported(folder: Path, *words: str, code: int = 0) -> Any:
    done = command("mode=export", *words, cwd=folder, env=trust(folder))
    assert done.returncode == code, done.stdout + done.stderr
    return done


def session(path: Path) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'kasoku[export]'")
    pytest.importorskip("onnxscript", reason="pip install 'kasoku[export]'")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def best(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)


def test_a_runs_directory_is_enough_and_each_file_is_its_net(tmp_path):
    """Options of the command that trained it stand in its config.yaml, and are not given again."""
    run = trained(tmp_path, "model=mlp", "model.net.hidden=12", "callbacks=ema", "callbacks.ema.decay=0.99")
    done = exported(tmp_path, "checkpoint=run")
    assert sorted(path.name for path in (run / "export").iterdir()) == sorted(
        [*EXPORTED.values(), "config.yaml", "train.log"]
    )
    assert all(name in done.stdout for name in (*EXPORTED, *EXPORTED.values(), "largest difference"))
    state = torch.load(run / "export" / "state_dict.pt", weights_only=True)
    checkpoint = best(run)
    average = {name.removeprefix("net."): t for name, t in checkpoint["state_dict"].items() if name.startswith("net.")}
    assert state.keys() == average.keys()
    assert all(torch.equal(state[name], average[name]) for name in state)
    latest = checkpoint["current_model_state"]
    assert not torch.equal(state["layers.1.weight"], latest["net.layers.1.weight"]), "the average is what was validated"

    from safetensors.torch import load_file

    other = load_file(run / "export" / "model.safetensors")
    assert all(torch.equal(state[name], other[name]) for name in state)
    program = torch.export.load(run / "export" / "model.pt2").module()
    onnx = session(run / "export" / "model.onnx")
    assert [(one.name, one.shape) for one in onnx.get_inputs()] == [("x", ["batch", 1, 8, 8])]
    assert [(one.name, one.shape) for one in onnx.get_outputs()] == [("output", ["batch", 10])]
    head = [name for name in state if name.endswith("weight")][-1]
    for size in (1, 5, 200):
        x = torch.randn(size, 1, 8, 8)
        hidden = torch.relu(x.flatten(1) @ state["layers.1.weight"].T + state["layers.1.bias"])
        want = hidden @ state[head].T + state[head.replace("weight", "bias")]
        torch.testing.assert_close(program(x), want)
        torch.testing.assert_close(torch.as_tensor(onnx.run(None, {"x": x.numpy()})[0]), want, rtol=1e-4, atol=1e-5)


def test_weights_that_were_exported_are_taken_again_and_nothing_is_written_over(tmp_path):
    run = trained(tmp_path)
    exported(tmp_path, "checkpoint=run/checkpoints/last.ckpt", "export.formats=[safetensors]")
    assert {path.name for path in (run / "export").iterdir()} == {"model.safetensors", "config.yaml", "train.log"}
    again = exported(tmp_path, "checkpoint=run", code=2)
    assert "hydra.run.dir=run/export: is there already" in again.stderr
    exported(tmp_path, "checkpoint=run", "export.formats=[state_dict]", "hydra.run.dir=elsewhere")
    assert (tmp_path / "elsewhere" / "state_dict.pt").is_file()
    words = ["mode=test", "checkpoint=run/export/model.safetensors", *SMALL, "hydra.run.dir=tested"]
    tested = command(*words, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    results = [json.loads((tmp_path / name / "result.json").read_text())["metrics"] for name in ("run", "tested")]
    assert results[0]["test/acc"] == results[1]["test/acc"]


def test_a_schedule_free_run_gives_the_weights_that_were_validated(tmp_path):
    run = trained(tmp_path, "optimizer=schedulefree_adamw")
    exported(tmp_path, "checkpoint=run", "export.formats=[state_dict]")
    state = torch.load(run / "export" / "state_dict.pt", weights_only=True)
    checkpoint = best(run)
    assert torch.equal(state["layers.1.weight"], checkpoint["state_dict"]["net.layers.1.weight"])


def test_what_the_net_does_not_allow_is_said_and_the_rest_written(tmp_path):
    run = trained(tmp_path, "model.net._target_=mine.Branches")
    done = exported(tmp_path, "checkpoint=run")
    assert "onnx left out: torch.export refuses it: " in done.stdout
    assert "torch_export left out: torch.export refuses it: " in done.stdout
    assert not {"model.onnx", "model.pt2"} & {path.name for path in (run / "export").iterdir()}
    assert (run / "export" / "state_dict.pt").is_file()
    asked = exported(tmp_path, "checkpoint=run", "export.formats=[state_dict,onnx]", "hydra.run.dir=asked", code=2)
    assert "export.formats=onnx: torch.export refuses it" in asked.stderr
    assert not (tmp_path / "asked").exists(), "a refused command leaves nothing"


def test_a_file_that_differs_ends_the_command_with_1_and_is_not_kept(tmp_path):
    run = trained(tmp_path, "model.net._target_=mine.Otherwise")
    done = exported(tmp_path, "checkpoint=run", "export.formats=[state_dict,torch_export]", code=1)
    assert "model.pt2: differs by " in done.stdout
    assert {path.name for path in (run / "export").iterdir()} == {"state_dict.pt", "config.yaml", "train.log"}


@pytest.mark.proof
def test_batches_of_dicts_and_nets_of_several_inputs_and_outputs(tmp_path):
    words = ["data=own", "data._target_=mine.Dicts", "data.batch_size=20", "batch.y=label", "batch.output=logits"]
    run = trained(tmp_path, *words, "model.net._target_=mine.Two")
    exported(tmp_path, "checkpoint=run")
    onnx = session(run / "export" / "model.onnx")
    assert {one.name for one in onnx.get_inputs()} == {"pixels", "onehot"}
    assert [one.name for one in onnx.get_outputs()] == ["logits", "hidden_0", "hidden_1"]
    state = torch.load(run / "export" / "state_dict.pt", weights_only=True)
    pixels, onehot = torch.randn(7, 64), torch.eye(10)[:7]
    logits = (pixels @ state["a.weight"].T + state["a.bias"]) * 2 + onehot @ state["b.weight"].T + state["b.bias"]
    found = onnx.run(None, {"pixels": pixels.numpy(), "onehot": onehot.numpy()})
    torch.testing.assert_close(torch.as_tensor(found[0]), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.proof
def test_a_lightning_module_of_ones_own(tmp_path):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "lit.yaml").write_text("_target_: mine.Lit\n")
    run = trained(
        tmp_path, "--config-dir", "conf", "model=lit", "task=custom", "target.metric=val/acc", "target.mode=max"
    )
    exported(tmp_path, "--config-dir", "conf", "checkpoint=run")
    onnx = session(run / "export" / "model.onnx")
    assert [one.name for one in onnx.get_inputs()] == ["images"]
    assert {path.name for path in (run / "export").iterdir()} >= set(EXPORTED.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "mode=export needs the file of the weights to export; add checkpoint=RUN"),
        (["checkpoint=empty"], "holds no config.yaml, so no run is there"),
        (["checkpoint=nowhere"], "no such file"),
        (["checkpoint=run", "export.formats=[onxx]"], "did you mean onnx?"),
        (["checkpoint=run", "export.formats=[]"], "at least 1 long"),
        (["checkpoint=run", "export.format=[onnx]"], "did you mean"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_one_sentence(tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text('# overrides: ["model=mlp"]\n')
    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_text("")
    done = exported(tmp_path, *words, code=2)
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "run"}
    assert not (tmp_path / "run" / "export").exists()


class Linear(nn.Linear):
    """Gives a state dict in which one number is another."""

    wrong = 0.0

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        weight = state["weight"].detach().clone()
        weight[0, 0] += self.wrong
        return state | {"weight": weight}


class Otherwise(nn.Linear):
    """Computes something else where it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.01 if torch.compiler.is_compiling() else 1)


BATCH = Inputs((torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),), {})


@pytest.mark.parametrize("name", ["safetensors", "state_dict"])
def test_a_file_with_one_wrong_number_is_caught_and_not_kept(tmp_path, name):
    net = Linear(4, 3)
    [right] = export(net, BATCH, tmp_path, [name]).written
    assert (right.error, right.compared.difference, right.path.exists()) == ("", 0.0, True)
    right.path.unlink()
    net.wrong = 0.01
    [wrong] = export(net, BATCH, tmp_path, [name]).written
    assert wrong.error.startswith("differs by ")
    assert not list(tmp_path.iterdir())


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["onnx", "torch_export"])
def test_a_program_that_computes_something_else_is_caught_and_not_kept(tmp_path, name):
    if name == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package, reason="pip install 'kasoku[export]'")
    [right] = export(nn.Linear(4, 3), BATCH, tmp_path, [name]).written
    assert right.error == ""
    right.path.unlink()
    [wrong] = export(Otherwise(4, 3), BATCH, tmp_path, [name]).written
    assert wrong.error.startswith("differs by ")
    assert not list(tmp_path.iterdir())


def test_shared_weights_stand_under_each_name(tmp_path):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert [one.error for one in export(net, BATCH, tmp_path, ["safetensors", "state_dict"]).written] == ["", ""]
    state = torch.load(tmp_path / "state_dict.pt", weights_only=True)
    assert torch.equal(state["0.weight"], state["1.weight"])


def test_what_a_net_draws_is_drawn_again(tmp_path):
    net = nn.Sequential(nn.Linear(4, 4))
    net.register_forward_hook(lambda module, args, output: output + torch.rand_like(output))
    assert [one.error for one in export(net, BATCH, tmp_path, ["state_dict"]).written] == [""]


def test_a_package_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kasoku.training.export.find_spec", lambda name: None if name == "onnxscript" else SimpleNamespace()
    )
    with pytest.raises(ConfigError, match=r"needs the package onnxscript: pip install 'kasoku\[export\]'"):
        export(nn.Linear(4, 3), BATCH, tmp_path, ["onnx"])
    assert "onnx" in export(nn.Linear(4, 3), BATCH, tmp_path).left_out


@pytest.mark.parametrize(
    ("want", "got", "agree"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0002]), True),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.001]), False),
        (torch.tensor([1e-6, 2e-6]), torch.tensor([1e-6, 2.1e-6]), False),
        (torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 2.0000001], dtype=torch.float64), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan]), True),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, torch.nan]), False),
        (torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 2.0]]), False),
    ],
)
def test_outputs_agree_in_half_of_their_digits_at_the_largest(want, got, agree):
    assert compare([want], [got]).agree is agree
