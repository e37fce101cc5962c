"""kasoku schema: the schemas take every file of the project, and refuse what the command refuses."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kasoku.command import new, schema
from kasoku.config.comments import arguments, comments
from kasoku.faults import ConfigError
from tests.conftest import CONF, ROOT, command

jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
referencing = pytest.importorskip("referencing")


class Editor:
    """A folder as the YAML extension of VS Code sees it: by the patterns in the settings."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.patterns = json.loads((folder / ".vscode/settings.json").read_text())["yaml.schemas"]
        found = {path.name: json.loads(path.read_text()) for path in (folder / schema.FOLDER).glob("*.json")}
        for one in found.values():
            jsonschema.Draft7Validator.check_schema(one)
        made = [(name, referencing.Resource.from_contents(one)) for name, one in found.items()]
        registry = referencing.Registry().with_resources(made)
        self.schemas = found
        self.validators = {name: jsonschema.Draft7Validator(one, registry=registry) for name, one in found.items()}

    def schema_of(self, file: str) -> str:
        """The one schema of `file`."""
        [name] = [name for name, globs in self.patterns.items() if self._is_of(file, globs)]
        return Path(name).name

    def _is_of(self, file: str, globs: list[str]) -> bool:
        out = [glob[1:] for glob in globs if glob.startswith("!")]
        return any(Path(file).match(glob) for glob in globs) and not any(Path(file).match(glob) for glob in out)

    def of_class(self, group: str, target: str) -> dict[str, Any]:
        """The keys beside this `_target_`."""
        whens = self.schemas[f"{group}.json"]["allOf"]
        [then] = [w["then"] for w in whens if w["if"].get("properties", {}).get("_target_") == {"const": target}]
        return then["properties"]

    def errors(self, file: str, content: Any) -> list[str]:
        """The keys that are underlined in `file` with this content."""
        found = self.validators[self.schema_of(file)].iter_errors(content)
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found]


class TwoSentences:
    """Between two ends.

    Args:
        x: a number.
        low, high: the ends,
            each a number.
    """


def content_of(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path))


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """A checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(CONF, folder / "conf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KASOKU_TRUST", "my_package")
        schema.write(folder)
    return Editor(folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """A project of one's own."""
    folder = tmp_path_factory.mktemp("projects") / "my-net"
    new.write(folder)
    schema.write(folder, trusts=True)
    return Editor(folder)


FILES = sorted(str(path.relative_to(ROOT)) for path in CONF.rglob("*.yaml"))
OF_GROUPS = [name for name in FILES if name.count("/") == 2 or name == "conf/train.yaml"]


def test_every_file_of_a_group_has_one_schema_and_is_right(editor):
    wrong = {name: found for name in OF_GROUPS if (found := editor.errors(name, content_of(ROOT / name)))}
    assert wrong == {}
    assert len(OF_GROUPS) > 100


def test_every_file_of_a_new_project_is_right(project):
    names = [str(path.relative_to(project.folder)) for path in sorted(project.folder.rglob("conf/**/*.yaml"))]
    assert len(names) == 4
    assert {name: project.errors(name, content_of(project.folder / name)) for name in names} == {n: [] for n in names}


WRONG = [  # file, what is changed, the key that is underlined
    # wrong keys
    ("conf/optimizer/adamw.yaml", {"lrr": 0.1}, "lrr"),
    ("conf/optimizer/adan.yaml", {"lrr": 0.1}, "lrr"),
    ("conf/scheduler/cosine.yaml", {"gamma": 0.1}, "gamma"),
    ("conf/trainer/cpu.yaml", {"max_epoch": 3}, "max_epoch"),
    ("conf/trainer/default.yaml", {"logger": True}, "logger"),
    ("conf/data/digits.yaml", {"root": "here"}, "root"),
    ("conf/train.yaml", {"sede": 3}, "sede"),
    ("conf/train.yaml", {"target": {"valu": 3}}, "valu"),
    ("conf/model/mlp.yaml", {"net": {"_target_": "kasoku.nets.mlp.MLP", "hiden": 3}}, "hiden"),
    ("conf/sweeper/bayes.yaml", {"trials": 3}, "trials"),
    ("conf/callbacks/ema.yaml", {"ema": {"_target_": "kasoku.training.averaging.EMA", "dekay": 0.9}}, "dekay"),
    # wrong types
    ("conf/optimizer/adamw.yaml", {"lr": "fast"}, "lr"),
    ("conf/optimizer/adamw.yaml", {"amsgrad": 3}, "amsgrad"),
    ("conf/optimizer/adamw.yaml", {"betas": 0.9}, "betas"),
    ("conf/trainer/default.yaml", {"max_epochs": "ten"}, "max_epochs"),
    ("conf/train.yaml", {"seed": 0.5}, "seed"),
    ("conf/train.yaml", {"tags": "one"}, "tags"),
    ("conf/warmup/linear.yaml", {"length": "5 epochs"}, "length"),
    ("conf/sweeper/bayes.yaml", {"workers": "two"}, "workers"),
    # out of range
    ("conf/optimizer/adamw.yaml", {"lr": -1}, "lr"),
    ("conf/optimizer/adamw.yaml", {"betas": [0.9, 1]}, "betas"),
    ("conf/scheduler/step.yaml", {"gamma": 1.5}, "gamma"),
    ("conf/trainer/default.yaml", {"limit_val_batches": 1.5}, "limit_val_batches"),
    ("conf/train.yaml", {"seed": -1}, "seed"),
    ("conf/model/mlp.yaml", {"net": {"_target_": "kasoku.nets.mlp.MLP", "depth": -1}}, "net"),
    ("conf/train.yaml", {"optimizer": {"_target_": "torch.optim.AdamW", "lr": -1}}, "optimizer"),
    # misspelt choices
    ("conf/train.yaml", {"defaults": ["kasoku", {"optimizer": "nestrov"}]}, "defaults"),
    ("conf/experiment/digits_step.yaml", {"defaults": [{"override /scheduler": "stepp"}]}, "defaults"),
    ("conf/trainer/cpu.yaml", {"defaults": ["defalt", "_self_"]}, "defaults"),
    ("conf/train.yaml", {"defaults": [{"optimzer": "sgd"}]}, "defaults"),
    ("conf/train.yaml", {"mode": "trian"}, "mode"),
    ("conf/train.yaml", {"export": {"formats": ["onxx"]}}, "export"),
    ("conf/optimizer/adamw.yaml", {"_target_": "torhc.optim.AdamW"}, "_target_"),
    ("conf/model/mlp.yaml", {"net": {"_target_": "kasoku.nets.mlp.MPL"}}, "net"),
]


@pytest.mark.parametrize(("file", "change", "key"), WRONG, ids=lambda value: json.dumps(value))
def test_what_the_command_refuses_is_underlined(editor, file, change, key):
    found = editor.errors(file, content_of(ROOT / file) | change)
    assert found, "nothing is underlined"
    assert any(key in line for line in found), found


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("conf/optimizer/adamw.yaml", {"lr": "${oc.env:LR}", "betas": ["${beta}", 0.9]}),
        ("conf/optimizer/adamw.yaml", {"lr": "auto", "scale_lr": "sqrt", "groups": {"no_decay": False}}),
        ("conf/optimizer/adamw.yaml", {"lr": "???"}),
        ("conf/optimizer/adamw.yaml", {"_target_": "my_package.Optimizer", "nu": 3}),
        ("conf/warmup/linear.yaml", {"length": "5%"}),
        ("conf/warmup/linear.yaml", {"length": 500}),
        ("conf/trainer/default.yaml", {"max_epochs": 3, "profiler": "simple", "compile": True}),
        ("conf/train.yaml", {"logger": None, "optimizer": {"lr": 0.1}}),
        ("conf/callbacks/default.yaml", {"mine": {"_target_": "my_package.Mine", "x": 1}, "best": None}),
        ("conf/model/mlp.yaml", {"loss": {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}}),
        ("conf/sweeper/bayes.yaml", {"n_trials": 3, "metric": ["val/acc", "train_seconds"]}),
    ],
    ids=lambda value: json.dumps(value),
)
def test_what_the_command_takes_is_not_underlined(editor, file, change):
    assert editor.errors(file, content_of(ROOT / file) | change) == []


def test_classes_of_ones_own_are_judged_by_their_signatures(project):
    net = {"net": {"_target_": "my_net.net.Net", "num_classes": None, "width": 64}}
    assert project.errors("conf/model/other.yaml", net) == []
    for wrong in ({"widht": 3}, {"width": "wide"}):
        assert project.errors("conf/model/other.yaml", {"net": net["net"] | wrong})
    data = {"defaults": ["own", "_self_"], "_target_": "my_net.data.Arms", "size": 100, "batch_size": 32}
    assert project.errors("conf/data/other.yaml", data) == []
    for wrong in ({"sise": 3}, {"noise": "much"}, {"batch_size": 0}):
        assert project.errors("conf/data/other.yaml", data | wrong)
    chosen = {"defaults": ["kasoku", {"override model": "net"}, "_self_"]}
    assert project.errors("conf/train.yaml", chosen) == []
    assert project.errors("conf/train.yaml", {"defaults": ["kasoku", {"override model": "nett"}]})


def test_hovering_shows_the_comment_of_the_key_and_the_sentence_of_the_docstring(editor):
    assert editor.of_class("optimizer", "torch.optim.AdamW")["lr"]["description"] == "> 0; 1e-4 to 1e-2"
    width = editor.schemas["model.json"]["properties"]["net"]
    assert "channels of the first stage" in json.dumps(width)
    assert editor.schemas["train.json"]["properties"]["seed"]["description"].startswith("0 to 2**32 - 1")
    assert "3ep" in editor.schemas["scheduler.json"]["properties"]["milestones"]["description"]
    choices = editor.schemas["defaults.json"]["patternProperties"]
    [optimizers] = [one for pattern, one in choices.items() if "/?optimizer(" in pattern]
    assert "Adam with decoupled weight decay" in json.dumps(optimizers)


def test_the_command_writes_them_and_keeps_settings_of_ones_own(tmp_path):
    done = command("new", "my-net", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = tmp_path / "my-net/.vscode/settings.json"
    first = json.loads(settings.read_text())
    assert first["[yaml]"] == {"editor.tabSize": 2}
    assert first["yaml.schemas"]["./.vscode/kasoku/model.json"] == ["conf/model/*.yaml"]
    assert "my_net.net.Net" in (tmp_path / "my-net/.vscode/kasoku/model.json").read_text()
    own = {"a.json": "b.yaml"}
    settings.write_text(json.dumps(first | {"mine": [1], "yaml.schemas": first["yaml.schemas"] | own}))
    done = command("schema", ".", cwd=tmp_path / "my-net")
    assert done.returncode == 0, done.stderr
    after = json.loads(settings.read_text())
    assert (after["mine"], after["yaml.schemas"]["a.json"]) == ([1], "b.yaml")
    assert after["yaml.schemas"].keys() == first["yaml.schemas"].keys() | own.keys()


@pytest.mark.parametrize("text", ['{\n  // mine\n  "a": 1,\n}', '{"a": 1, "a": 2}', "[]", '{"yaml.schemas": []}'])
def test_settings_that_would_lose_something_stay_as_they_are(tmp_path, text):
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/settings.json").write_text(text)
    said = schema._name_them(tmp_path, {"./x.json": ["conf/x.yaml"]})
    assert (tmp_path / ".vscode/settings.json").read_text() == text
    assert "stays as it is" in said
    beside = json.loads((tmp_path / ".vscode/settings.kasoku.json").read_text())
    assert beside == {"yaml.schemas": {"./x.json": ["conf/x.yaml"]}}


def test_a_folder_without_configurations_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="has no folder conf"):
        schema.write(tmp_path)
    with pytest.raises(ConfigError, match="there is no such folder"):
        schema.write(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_another_folders_project_is_not_trusted(tmp_path, monkeypatch):
    """A folder that a command names can be somebody else's: nothing of it is imported."""
    new.write(tmp_path / "their-net")
    marker = tmp_path / "imported"
    code = tmp_path / "their-net/their_net/net.py"
    code.write_text(f"open({str(marker)!r}, 'w')\n" + code.read_text())
    schema.write(tmp_path / "their-net")
    assert not marker.exists()
    monkeypatch.chdir(tmp_path / "their-net")
    schema.write(Path())
    assert marker.exists()


def test_comments_and_arguments_are_read():
    text = "# of all\nnet:  # the net\n  a: '#'  # first\n          # second\n  # above\n  b: 1\nlr: 2\n"
    assert comments(text) == {"net": "the net", "net.a": "first second", "net.b": "above"}
    found: Mapping[str, str] = arguments(TwoSentences)
    assert found == {"x": "a number.", "low": "the ends, each a number.", "high": "the ends, each a number."}
