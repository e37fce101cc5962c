"""A `_target_` is called only if conf/train.yaml, as it lies on disk, or KASOKU_TRUST lists it."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kasoku.config import resolvers
from kasoku.config.diagnose import examine
from kasoku.config.trust import distrusted, faults_of_targets, locate, trusted
from kasoku.faults import ConfigError

CONF = Path(__file__).parents[2] / "conf"
OWN = tuple(OmegaConf.load(CONF / "train.yaml").trust)


@pytest.fixture(autouse=True)
def _resolvers(monkeypatch):
    resolvers.register()
    monkeypatch.delenv("KASOKU_TRUST", raising=False)


MY_PACKAGE = """
import os
from torch import load

class Net:
    @classmethod
    def small(cls):
        return cls()

size = 3
"""


@pytest.fixture
def my_package(tmp_path, monkeypatch):
    (tmp_path / "my_package.py").write_text(MY_PACKAGE)
    (tmp_path / "my_broken.py").write_text("import not_installed_at_all\n")
    (tmp_path / "my_crash.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_package", "my_broken", "my_crash"):
        sys.modules.pop(name, None)


DANGEROUS = [
    "os.system",
    "builtins.eval",
    "subprocess.run",
    "torch.load",
    "torch.hub.load",
    "torch.save",
    "torch.os.system",
    "torch.utils.cpp_extension.load",
    "torch.serialization._open_file",
    "torch.jit.load",
    "pytorch_lightning.cli.LightningCLI",
    "hydra.utils.instantiate",
    "functools.partial",
]


@pytest.mark.parametrize("name", DANGEROUS)
def test_what_is_not_listed_is_refused_unimported(name):
    faults = faults_of_targets(OmegaConf.create({"a": {"b": [{"_target_": name}]}}), OWN)
    assert [fault.key for fault in faults] == ["a.b.0._target_"]
    assert "export KASOKU_TRUST=" in faults[0].fix


@pytest.mark.parametrize(
    "name",
    [
        "torch.optim.optimizer.torch.load",
        "torch.nn.functional.os.system",
        "torch.nn.modules.module.functools.partial",
        "torch.optim.optimizer.deepcopy",
        "kasoku.optim.groups.fnmatch.re.compile",
        "torchmetrics.utilities.data.sys.exit",
    ],
)
def test_a_trusted_module_lends_nothing_that_it_only_imports(name):
    with pytest.raises(ConfigError, match=r"not trusted|there is no"):
        locate("model._target_", name, OWN)


@pytest.mark.parametrize(
    "name",
    [
        "torch.optim.SGD",
        "torch.nn.CrossEntropyLoss",
        "torchmetrics.classification.MulticlassAccuracy",
        "pytorch_lightning.Trainer",
        "pytorch_lightning.callbacks.ModelCheckpoint",
        "kasoku.schedules.cosine",
    ],
)
def test_what_the_options_name_is_found(name):
    assert locate("key", name, OWN).__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("torch.optim.SDG", "there is no SDG in torch.optim; did you mean SGD?"),
        ("torch.optim.sgdd.SGD", "there is no sgdd in torch.optim"),
        ("torc.optim.SGD", "is not trusted, and a _target_ runs code; did you mean torch?"),
        ("my_package.Nt", "there is no Nt in my_package; did you mean Net?"),
        ("my_package.size", "is no class or function"),
        ("my_package.load", "is torch.serialization.load, which is not trusted"),
        ("my_package.os.system", "there is no system in os"),
        ("my_broken.Net", "my_broken cannot be imported: ModuleNotFoundError: No module named 'not_installed_at_all'"),
        ("my_crash.Net", "my_crash cannot be imported: ZeroDivisionError"),
        ("my_nothing.Net", "there is no module my_nothing; is my_nothing installed, on PYTHONPATH, or in this folder?"),
        ("SGD", "must be the dotted name of a class or function"),
        ("torch..SGD", "must be the dotted name of a class or function"),
        ("", "must be the dotted name of a class or function"),
        (None, "must be the dotted name of a class or function"),
        (["torch.optim.SGD"], "must be the dotted name of a class or function"),
    ],
)
def test_a_target_that_cannot_be_called_says_why(my_package, name, part):
    allowed = (*OWN, "my_package", "my_broken", "my_crash", "my_nothing")
    with pytest.raises(ConfigError) as caught:
        locate("optimizer._target_", name, allowed)
    assert part in str(caught.value)


def test_the_environment_adds_packages(my_package, monkeypatch):
    assert distrusted("key", "my_package.Net", trusted(CONF))
    monkeypatch.setenv("KASOKU_TRUST", " other, my_package ,")
    assert trusted(CONF) == (*OWN, "other", "my_package")
    assert locate("key", "my_package.Net", trusted(CONF)).__name__ == "Net"
    assert locate("key", "my_package.Net.small", trusted(CONF)).__name__ == "small"
    assert distrusted("key", "my_package_2.Net", trusted(CONF))


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "override",
    [
        "trust=[os]",
        "+trust=[os]",
        "++trust=[os]",
        "~trust",
        "hydra.job.env_set={KASOKU_TRUST:os}",
        "hydra.searchpath=[file://.]",
    ],
)
def test_an_override_lends_no_trust(override):
    text = " ".join(map(str, examine([override, "model.net._target_=os.system"], CONF)))
    assert "model.net._target_=os.system: is not trusted" in text


EVIL = """# @package _global_
trust: [os]
name: os.system
model:
  net:
    _target_: ${name}
    command: ls
hydra:
  callbacks:
    evil:
      _target_: os.system
  job_logging:
    formatters:
      evil:
        (): os.system
"""


@pytest.mark.parametrize("flag", ["--config-dir", "--config-path"])
def test_a_folder_of_configurations_lends_no_trust(tmp_path, flag):
    folder = tmp_path / "conf"
    shutil.copytree(CONF, folder)
    root = (CONF / "train.yaml").read_text()
    (folder / "train.yaml").write_text(root.replace("trust:", "trust:\n  - os"))
    (folder / "experiment" / "evil.yaml").write_text(EVIL)
    said = {fault.key for fault in examine([f"{flag}={folder}", "experiment=evil"], CONF)}
    assert said == {
        "model.net._target_",
        "hydra.callbacks.evil._target_",
        "hydra.job_logging.formatters.evil.()",
    }


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.x._target_=hydra.utils.call",
        "+hydra.callbacks.x._target_=logging.config.fileConfig",
        "+hydra.callbacks.x._target_=logging.StreamHandler.os.system",
        "+hydra.callbacks.x._target_=${oc.env:KASOKU_EVIL}",
        "+hydra.callbacks.x='${oc.decode:${oc.env:KASOKU_EVIL_NODE}}'",
        "hydra.sweeper._target_=os.system",
        "hydra.launcher._target_=hydra._internal.core_plugins.basic_launcher.os.system",
        "+hydra.job_logging.handlers.x={class:os.system}",
        "+hydra.hydra_logging.handlers.x={class:os.system}",
    ],
)
def test_what_hydra_calls_by_itself_is_checked_as_well(override, monkeypatch):
    monkeypatch.setenv("KASOKU_EVIL", "os.system")
    monkeypatch.setenv("KASOKU_EVIL_NODE", "{_target_: os.system}")
    faults = examine([override], CONF)
    assert [fault.key.split(".")[0] for fault in faults] == ["hydra"]


@pytest.mark.parametrize(
    "override",
    [
        "hydra/job_logging=stdout",
        "hydra/job_logging=none hydra/hydra_logging=disabled",
        "+hydra.callbacks.x._target_=hydra.experimental.callbacks.LogJobReturnCallback",
    ],
)
def test_what_hydra_brings_along_is_welcome(override):
    assert examine(shlex.split(override), CONF) == []
