"""Weights from files of many kinds: which are loaded, which are not, and what is said of it."""

import pytest
import torch
from torch import nn

from kasoku.faults import ConfigError
from kasoku.training import pretrained
from tests.conftest import run_here


def net(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))


class Lit(nn.Module):
    """As a LightningModule holds its net."""

    def __init__(self, classes: int = 3):
        super().__init__()
        self.net = net(classes)


def write(path, content, legacy: bool = False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def same(module: nn.Module, source: nn.Module) -> bool:
    pairs = zip(module.state_dict().values(), source.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


FORMS = {
    "plain": lambda state: state,
    "lightning": lambda state: {"state_dict": {f"net.{name}": value for name, value in state.items()}, "epoch": 3},
    "ddp": lambda state: {f"module.{name}": value for name, value in state.items()},
    "another project's": lambda state: {
        "model": {f"backbone.{name}": v for name, v in state.items()},
        "args": {"lr": 1},
    },
    "compiled in parts": lambda state: {n.replace("0.", "0._orig_mod."): value for n, value in state.items()},
    "with an average": lambda state: {"state_dict_ema": {n: v * 0 for n, v in state.items()}, "state_dict": state},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_state_dict_is_found_and_named_whatever_is_around_it(tmp_path, form, legacy):
    source, module = net(), Lit()
    path = write(tmp_path / "weights.pth", FORMS[form](source.state_dict()), legacy)
    match = pretrained.load(module, path)
    assert same(module, source)
    assert (match.missing, match.reshaped, match.unused) == ([], {}, [])


def test_of_another_number_of_classes_the_rest_is_taken(tmp_path, caplog):
    caplog.set_level("INFO", "kasoku")
    source, module = net(classes=7), Lit()
    head = module.net[3].weight.detach().clone()
    path = write(tmp_path / "weights.pt", source.state_dict() | {"extra.weight": torch.ones(2)})
    with pytest.raises(ConfigError, match=r"holds extra.weight, which the model lacks.*model.load=matching"):
        pretrained.load(module, path)
    match = pretrained.load(module, path, "matching")
    assert torch.equal(module.net[0].weight, source[0].weight)
    assert torch.equal(module.net[3].weight, head)
    assert match.reshaped == {"net.3.weight": ((7, 8), (3, 8)), "net.3.bias": ((7,), (3,))}
    assert caplog.messages == [
        "weights.pt: 7 tensors loaded, 73 numbers, 0.weight as net.0.weight",
        "  2 of another shape: net.3.weight [7, 8] there, [3, 8] here; net.3.bias [7] there, [3] here",
        "  1 not in the model: extra.weight",
    ]


def test_what_the_file_lacks_is_left_as_it_is(tmp_path):
    source, module = net(), Lit()
    before = module.net[3].bias.detach().clone()
    state = {name: value for name, value in source.state_dict().items() if name != "3.bias"}
    path = write(tmp_path / "weights.pt", state)
    with pytest.raises(ConfigError, match=r"lacks net.3.bias, which the model has"):
        pretrained.load(module, path)
    assert pretrained.load(module, path, "matching").missing == ["net.3.bias"]
    assert torch.equal(module.net[3].bias, before)


def test_a_backbone_goes_where_most_of_its_names_meet(tmp_path):
    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.Linear(3, 3)
            self.encoder = nn.ModuleDict({"trunk": net()})

    source, module = net(), Segmenter()
    path = write(tmp_path / "weights.pt", {"state_dict": {f"online.{n}": v for n, v in source.state_dict().items()}})
    match = pretrained.load(module, path, "matching")
    assert same(module.encoder["trunk"], source)
    assert match.missing == ["decoder.weight", "decoder.bias"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a.weight": torch.ones(2)}, r"has no weight that fits: a.weight there; the model has net.0.weight"),
        ({"epoch": 3, "lr": [1, 2]}, "holds no state dict"),
        ({"one": {"w": torch.ones(1)}, "two": {"w": torch.ones(1)}}, "holds 2 state dicts: one two"),
        (net(), r"holds Python objects.*weights_only=False"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, words):
    path = write(tmp_path / "weights.pt", content)
    with pytest.raises(ConfigError, match=words):
        pretrained.load(Lit(), path, "matching")


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"weights"]
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = write(tmp_path / "weights.pt", net().state_dict())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match=r"checkpoint=.*weights.pt: is (cut short, )?damaged or no checkpoint"):
        pretrained.load(Lit(), path)


def test_sizes_that_are_not_known_yet_are_taken_from_the_file(tmp_path):
    module = Lit()
    module.net[0] = nn.LazyLinear(8)
    source = net()
    pretrained.load(module, write(tmp_path / "weights.pt", source.state_dict()))
    assert same(module, source)


def test_safetensors(tmp_path):
    torch_file = pytest.importorskip("safetensors.torch")
    source, module = net(), Lit()
    torch_file.save_file(source.state_dict(), tmp_path / "model.safetensors")
    pretrained.load(module, tmp_path / "model.safetensors")
    assert same(module, source)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ConfigError, match=r"model\.safetensors: cannot be read"):
        pretrained.load(module, tmp_path / "model.safetensors")


def test_without_the_package_safetensors_are_refused_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"needs the package safetensors; install it: pip install 'kasoku\[safet"):
        pretrained.load(Lit(), tmp_path / "model.safetensors")


def test_a_run_begins_from_the_body_of_another(tmp_path, caplog):
    caplog.set_level("INFO", "kasoku")
    small = ("model=mlp", "trainer=cpu", "logger=none", "trainer.max_epochs=1")
    assert run_here(tmp_path / "first", *small) == 0
    best = tmp_path / "first" / "checkpoints" / "best.ckpt"
    state = torch.load(best, weights_only=True)["state_dict"]
    body = {name.removeprefix("net."): value for name, value in state.items() if "layers.1" in name}
    path = write(tmp_path / "body.pt", body)
    lr = ("optimizer.lr=1e-30", "optimizer.weight_decay=0")
    with pytest.raises(ConfigError, match=r"checkpoint=.*body.pt: lacks net.layers.3"):
        run_here(tmp_path / "strict", *small, *lr, f"checkpoint={path}")
    assert run_here(tmp_path / "second", *small, *lr, f"checkpoint={path}", "model.load=matching") == 0
    after = torch.load(tmp_path / "second" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(after["net.layers.1.weight"], state["net.layers.1.weight"])
    assert not torch.equal(after["net.layers.3.weight"], state["net.layers.3.weight"])
    assert "body.pt: 2 tensors loaded" in caplog.text
    with pytest.raises(ConfigError, match=r"model.load=loose: must be one of strict matching"):
        check("model.load=loose")


def check(*overrides: str) -> None:
    from kasoku.config.diagnose import examine
    from tests.conftest import CONF

    if faults := examine(overrides, CONF):
        raise ConfigError(*faults)
