"""The ranges in an optimizer's own file, as a sweep reads them."""

from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from kasoku.config.compose import Command
from kasoku.config.trust import trusted
from kasoku.faults import ConfigError
from kasoku.search.order import read
from kasoku.search.space import Choice, Numbers, Space
from tests.conftest import CONF, options

from .conftest import Sweep

RANGES = [  # each an interval on a log scale: of the lr, of the weight decay
    ("adadelta", (0.05, 5.0), (1e-06, 0.001)),
    ("adafactor", (0.001, 0.1), (0.0001, 0.3)),
    ("adagrad", (0.002, 0.3), (1e-06, 0.001)),
    ("adam", (0.0001, 0.03), (1e-06, 0.001)),
    ("adamax", (0.0001, 0.05), (1e-06, 0.001)),
    ("adamw", (0.0001, 0.03), (0.0001, 0.3)),
    ("adan", (0.0003, 0.05), (0.0001, 0.3)),
    ("ademamix", (0.0001, 0.03), (0.0001, 0.3)),
    ("adopt", (0.0001, 0.03), (0.0001, 0.3)),
    ("asgd", (0.01, 2.0), (1e-06, 0.001)),
    ("lamb", (0.001, 0.1), (0.0001, 0.3)),
    ("lion", (1e-05, 0.005), (0.01, 3.0)),
    ("mars", (0.0001, 0.03), (0.0001, 0.3)),
    ("momentum", (0.003, 1.0), (1e-06, 0.001)),
    ("muon", (0.002, 0.1), (0.0001, 0.3)),
    ("nadam", (0.0001, 0.03), (1e-06, 0.001)),
    ("nadamw", (0.0001, 0.03), (0.0001, 0.3)),
    ("nesterov", (0.003, 1.0), (1e-06, 0.001)),
    ("prodigy", (0.3, 3.0), (0.0001, 0.3)),
    ("radam", (0.0001, 0.03), (0.0001, 0.3)),
    ("rmsprop", (0.0001, 0.02), (1e-06, 0.001)),
    ("schedulefree_adamw", (0.0003, 0.1), (0.0001, 0.3)),
    ("schedulefree_radam", (0.0003, 0.1), (0.0001, 0.3)),
    ("schedulefree_sgd", (0.05, 10.0), (1e-06, 0.001)),
    ("sgd", (0.01, 3.0), (1e-06, 0.001)),
    ("shampoo", (0.0001, 0.03), (0.0001, 0.3)),
    ("soap", (0.0003, 0.03), (0.0001, 0.3)),
    ("sophia", (0.01, 0.5), (0.0001, 0.1)),
]
MINE = """# Heavy-ball SGD under another name.
defaults:
  - /_optimizer@_here_
  - _self_

_target_: torch.optim.SGD
_partial_: true
lr: 0.1
momentum: 0.9
weight_decay: 0.0
search:
  lr: tag(log,interval(0.02,0.5))
  momentum: interval(0.8,0.95)
"""


class Compositions:
    """A loader that counts what it composes."""

    def __init__(self, folder: Path | None = None):
        flags = [f"--config-dir={folder}"] if folder else []
        self.loader, self.count = Command(flags, CONF).loader, 0

    def load_configuration(self, *arguments, **named):
        self.count += 1
        return self.loader.load_configuration(*arguments, **named)

    def __getattr__(self, name):
        return getattr(self.loader, name)


def ordered(*lines: str, loader: Compositions | None = None):
    """The order of `python train.py -m sweeper=random *lines`."""
    loader = loader or Compositions()
    lines = ("sweeper=random", *lines)
    cfg = loader.load_configuration("train", list(lines), RunMode.MULTIRUN)
    cfg.hydra.job.config_name = "train"
    HydraConfig.instance().set_config(cfg)
    given = list(cfg.hydra.overrides.task)
    return read(cfg, loader, given, trusted(CONF), given)


def numbers(space: Space, option: str) -> dict[str, Numbers]:
    return {p.name: p.values for p in space.when["optimizer"][option]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A --config-dir with optimizer=mine."""
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text(MINE)
    return tmp_path


@pytest.mark.sample(4)
@pytest.mark.parametrize(("optimizer", "lr", "weight_decay"), RANGES)
def test_the_space_of_an_optimizer(optimizer, lr, weight_decay):
    wanted = {
        f"optimizer.lr ({optimizer})": Numbers(*lr, log=True),
        f"optimizer.weight_decay ({optimizer})": Numbers(*weight_decay, log=True),
    }
    assert list(numbers(ordered(f"optimizer={optimizer}", "search=lr_wd").space, optimizer).items()) == list(
        wanted.items()
    )
    assert list(numbers(ordered(f"optimizer={optimizer}", "search=lr").space, optimizer)) == list(wanted)[:1]


@pytest.mark.sample(4)
@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_the_lr_of_every_optimizer_lies_in_its_range(optimizer):
    order = ordered(f"optimizer={optimizer}", "search=lr_wd")
    lr, weight_decay = numbers(order.space, optimizer).values()
    assert lr.low < order.cfg.optimizer.lr < lr.high
    assert weight_decay.low < weight_decay.high


def test_each_optimizer_that_is_varied_has_its_own_and_is_composed_once():
    loader = Compositions()
    space = ordered("search=recipe", loader=loader).space
    first = 1  # of the command itself, with adamw, one of the six
    assert loader.count == first + 5
    assert list(space.when["optimizer"]) == ["nesterov", "adamw", "nadamw", "lion", "muon", "soap"]
    assert numbers(space, "lion") == {"optimizer.lr (lion)": Numbers(1e-5, 0.005, log=True)}
    assert list(space.when["scheduler"]) == ["linear", "cosine", "step"]


def test_the_optimizer_that_is_chosen_is_not_composed_again():
    loader = Compositions()
    ordered("experiment=digits_step", "search=lr", loader=loader)
    assert loader.count == 1


def test_an_optimizer_of_the_users_own_is_one_file(folder):
    space = ordered("optimizer=sgd,mine", "search=lr", loader=Compositions(folder)).space
    assert numbers(space, "mine") == {"optimizer.lr (mine)": Numbers(0.02, 0.5, log=True)}
    space = ordered("optimizer=mine", "search.of_optimizer=[momentum,lr]", loader=Compositions(folder)).space
    assert [p.key for p in space.applicable] == ["optimizer.momentum", "optimizer.lr"]


def test_an_optimizer_on_hydras_search_path_has_its_ranges(folder):
    space = ordered(f"hydra.searchpath=[file://{folder}]", "optimizer=sgd,mine", "search=lr").space
    assert numbers(space, "mine") == {"optimizer.lr (mine)": Numbers(0.02, 0.5, log=True)}


def test_an_optimizer_of_the_users_own_is_searched(sweep: Sweep, folder):
    swept = sweep(f"--config-dir={folder}", "sweeper=random", "search=lr", "optimizer=mine", "sweeper.n_trials=2")
    assert swept.code == 0, swept.err
    assert swept.states == ["completed", "completed"]
    for number, trial in enumerate(swept.json["trials"]):
        written = yaml.safe_load((swept.directory / str(number) / "config.yaml").read_text())
        assert 0.02 <= written["optimizer"]["lr"] == trial["parameters"]["optimizer.lr"] <= 0.5
        assert "search" not in written["optimizer"]


@pytest.mark.parametrize("value", ["interval(1,2)", '"interval(1,2)"'])
def test_the_command_line_gives_the_range(value):
    order = ordered("optimizer=sgd,adamw", "search=lr_wd", f"optimizer.search.lr={value}")
    for option in ("sgd", "adamw"):
        lr, weight_decay = numbers(order.space, option).values()
        assert (lr.low, lr.high, lr.log, weight_decay.log) == (1, 2, False, True)
    assert [parameter.key for parameter in order.space.parameters] == ["optimizer"]
    assert order.fixed == []  # a trial knows nothing of it, and can be resumed alone


def test_a_key_that_the_command_gives_needs_no_range(folder):
    loader = Compositions(folder)
    order = ordered("optimizer=mine", "search=lr_wd", "optimizer.weight_decay=0", loader=loader)
    assert [p.key for p in order.space.applicable] == ["optimizer.lr"]
    order = ordered("optimizer=mine", "search=lr", "optimizer.lr=0.1,0.2", loader=loader)
    assert [p.values for p in order.space.applicable] == [Choice(("0.1", "0.2"))]


def test_a_search_file_may_give_an_optimizer_another_range(folder):
    (folder / "search").mkdir()
    when = {"optimizer": {"mine": {"optimizer.lr": "interval(1,2)"}}}
    (folder / "search" / "own.yaml").write_text(yaml.safe_dump({"of_optimizer": ["lr"], "when": when}))
    space = ordered("optimizer=mine,sgd", "search=own", loader=Compositions(folder)).space
    assert numbers(space, "mine") == {"optimizer.lr (mine)": Numbers(1.0, 2.0)}
    assert numbers(space, "sgd") == {"optimizer.lr (sgd)": Numbers(0.01, 3.0, log=True)}


BAD = [
    (["search=lr_wd", "optimizer=mine"], ["optimizer.search.weight_decay=null", "optimizer=mine", "search: {weight"]),
    (["search=lr_wd", "optimizer=sgd,mine"], ["optimizer.search.weight_decay=null", "optimizer=mine"]),
    (["search=lr", "optimizer.search.lr=interval(2,1)"], ["optimizer.search.lr=interval(2,1)", "optimizer=adamw"]),
    (["optimizer.search.lr=interval(0,1)"], ["optimizer.search.lr=interval(0,1)", "search=none", "search=lr"]),
    (
        ["search=lr", "+optimizer.search.eps=interval(0,1)"],
        ["optimizer.search.eps=interval(0,1)", "search.of_optimizer=[lr,eps]"],
    ),
    (["search=lr", "search.of_optimizer=lr"], ["search.of_optimizer=lr", "a list"]),
    (["search=lr", "optimizer.lr=0.1"], ["search=lr", "nothing to vary"]),
]


@pytest.mark.parametrize(("lines", "words"), BAD, ids=[" ".join(lines) for lines, _ in BAD])
def test_is_refused(folder, lines, words):
    with pytest.raises(ConfigError) as refused:
        ordered(*lines, loader=Compositions(folder))
    assert [word for word in words if word not in str(refused.value)] == []


def test_an_optimizer_that_gives_no_ranges_still_trains(tmp_path):
    conf = tmp_path / "conf"
    (conf / "optimizer").mkdir(parents=True)
    (conf / "optimizer" / "bare.yaml").write_text(MINE.split("search:")[0])
    loader = Compositions(conf)
    assert ordered("optimizer=bare", "optimizer.lr=0.1,0.2", loader=loader).cfg.optimizer.search.lr is None
    with pytest.raises(ConfigError, match=r"optimizer\.search\.lr=null: optimizer=bare"):
        ordered("optimizer=bare", "search=lr", loader=loader)
