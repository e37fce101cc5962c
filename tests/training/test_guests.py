"""Loggers and progress bars that fail, wherever they do: the run ends as it would without them, and says so once."""

import logging
import pickle
import sys
import time

import pytest
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from kasoku import results
from kasoku.faults import ConfigError
from kasoku.training import guests
from kasoku.training.guests import Guest, TookTooLong, Watch, guarded, in_short, within
from tests.conftest import SMALL, run_here

MINE = '''
import time
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger


class Failing(Logger):
    """Fails in one of its methods, or where its experiment is asked for."""

    def __init__(self, where):
        super().__init__()
        self.where, self.calls = where, []

    def _enter(self, name):
        self.calls.append(name)
        if name == self.where:
            raise OSError(28, "No space left on device")

    name = property(lambda self: self._enter("name") or "failing")
    version = property(lambda self: self._enter("version") or "0")
    experiment = property(lambda self: self._enter("experiment"))

    def log_hyperparams(self, *args, **kwargs):
        self._enter("log_hyperparams")

    def log_metrics(self, metrics, step=None):
        self._enter("log_metrics")
        metrics.clear()
        self.experiment

    def log_graph(self, *args):
        self._enter("log_graph")

    def save(self):
        self._enter("save")

    def after_save_checkpoint(self, checkpoint):
        self._enter("after_save_checkpoint")

    def finalize(self, status):
        self._enter("finalize")


class Hanging(Failing):
    def finalize(self, status):
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass  # as a client that tries again whatever happens


class Refusing(Failing):
    def __init__(self, url):
        raise ConnectionError(f"{url} is not there")


class BadBar(ProgressBar):
    def on_train_batch_end(self, *args):
        raise BrokenPipeError(32, "Broken pipe")

    def disable(self):
        """Drawn anywhere."""
'''
WHERE = ["log_metrics", "log_graph", "save", "finalize", "experiment", "after_save_checkpoint"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KASOKU_TRUST", "mine")
    yield
    sys.modules.pop("mine", None)


SHORT = ("trainer.max_epochs=2", "trainer.log_every_n_steps=5")


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "failed and is left out" in record.getMessage()]


def test_loggers_that_fail_in_every_place_change_nothing_and_are_named_once(tmp_path, mine, caplog):
    failing = [
        word for where in WHERE for word in (f"+logger.{where}._target_=mine.Failing", f"+logger.{where}.where={where}")
    ]
    assert run_here(tmp_path / "plain", *SMALL, *SHORT) == 0
    assert run_here(tmp_path / "run", *SMALL, *SHORT, *failing) == 0
    assert sorted(line.split()[0] for line in said(caplog)) == sorted(f"logger.{where}" for where in WHERE)
    assert "OSError: [Errno 28] No space left on device (mine.py:" in said(caplog)[0]
    plain, guested = results.read(tmp_path / "plain"), results.read(tmp_path / "run")
    assert (guested.status, guested.metrics) == ("completed", plain.metrics)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "plain" / "metrics.csv").read_text()


def test_the_end_of_a_run_waits_for_a_guest_for_its_patience(tmp_path, mine, caplog):
    words = ("+logger.mine._target_=mine.Hanging", "+logger.mine.where=no", "+logger.mine.patience=0.3")
    assert run_here(tmp_path / "run", *SMALL, *SHORT, *words) == 0
    assert ["logger.mine failed and is left out" in line and "longer than 0.3 s" in line for line in said(caplog)] == [
        True
    ]


@pytest.mark.parametrize("patience", ["0", "long", "-1"])
def test_a_patience_out_of_range_is_refused(tmp_path, mine, patience):
    words = ("+logger.mine._target_=mine.Failing", "+logger.mine.where=no", f"+logger.mine.patience={patience}")
    with pytest.raises(ConfigError, match=r"logger\.mine\.patience=.*must be a positive finite number or null"):
        run_here(tmp_path / "run", *SMALL, *words)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("+logger.mine=csv",), "logger.mine=csv: must have a _target_"),
        (("+logger.mine._target_=mine.Refusing", "+logger.mine.url=x"), "ConnectionError: x is not there"),
        (("+logger.mine={_target_:mine.Refusing,_partial_:true,url:x}",), "ConnectionError: x is not there"),
    ],
)
def test_a_logger_that_cannot_be_made_is_refused_before_the_run_begins(tmp_path, mine, words, part):
    with pytest.raises(ConfigError) as caught:
        run_here(tmp_path / "run", *SMALL, *words)
    assert part in str(caught.value)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_tensorboard_without_a_place_to_write(tmp_path, caplog):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("no folder")
    assert run_here(tmp_path / "run", *SMALL[:2], *SHORT, "logger=tensorboard") == 0
    assert [line.split()[0] for line in said(caplog)] == ["logger.tensorboard"]
    assert results.read(tmp_path / "run").status == "completed"


def test_a_progress_bar_that_fails(tmp_path, mine, caplog):
    assert run_here(tmp_path / "run", *SMALL, *SHORT, "+callbacks.bar._target_=mine.BadBar") == 0
    assert [line.startswith("the progress bar failed") for line in said(caplog)] == [True]


class Counter(Logger):
    name, version = "counter", "0"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append(step)

    def log_hyperparams(self, *args, **kwargs):
        """None."""

    @property
    def missing_inside(self):
        return self.nothing


class Experiment(dict):
    def add_image(self):
        raise OSError("full")

    def __missing__(self, key):
        raise RuntimeError("gone")


def test_a_guest_passes_for_itself():
    guest = guarded(Counter(), "logger.mine")
    assert isinstance(guest, Counter)
    assert not isinstance(guest, TensorBoardLogger)
    assert guarded(guest) is guest
    guest.log_metrics({}, step=3)
    guest.mark = 1
    again = pickle.loads(pickle.dumps(guest))
    assert (again.rows, again.mark, type(again)) == ([3], 1, Guest)
    assert isinstance(guarded(TQDMProgressBar()), ProgressBar)


def test_what_a_guest_lacks_is_no_failure_but_a_property_that_fails_is(caplog):
    guest = guarded(Counter(), "logger.mine")
    assert not hasattr(guest, "begin")
    assert not said(caplog)
    assert guest.missing_inside is None
    guest.log_metrics({}, step=4)
    assert guest.rows == []
    assert len(said(caplog)) == 1


@pytest.mark.parametrize(
    "use", [lambda e: e.add_image(), lambda e: e["gone"].append(1), lambda e: e.__setitem__([], 1)]
)
def test_the_experiment_of_a_guest_is_guarded_too(use, caplog):
    logger = Counter()
    logger.experiment = Experiment()
    guest = guarded(logger, "logger.mine")
    guest.experiment["kept"] = 1
    assert isinstance(guest.experiment, Experiment)
    assert logger.experiment == {"kept": 1}
    use(guest.experiment)
    use(guest.experiment)  # a stand-in takes it all
    assert len(said(caplog)) == 1


def test_what_is_no_failure_of_a_guest_goes_through():
    with pytest.raises(KeyboardInterrupt):
        Watch("mine").call(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))


def test_a_guest_that_hangs_with_a_row_is_left_out(caplog):
    class Hanging:
        def log_metrics(self, metrics: dict, step: int) -> None:
            time.sleep(5)

    guest = guarded(Hanging(), "logger.mine", patience=0.2)
    guest.log_metrics({}, step=1)
    guest.log_metrics({}, step=2)
    assert ["longer than 0.2 s" in line for line in said(caplog)] == [True]


def test_within_leaves_the_alarm_as_it_was():
    with within(60), pytest.raises(TookTooLong, match=r"0\.05"), within(0.05):
        time.sleep(5)
    with within(0.05):
        pass
    with within(None):
        time.sleep(0.1)


def test_an_error_in_short():
    try:
        raise ValueError("two\n  lines " + "x" * 300)
    except ValueError as error:
        text = in_short(error)
    assert text.startswith("ValueError: two lines xxx")
    assert "(test_guests.py:" in text
    assert len(text) < guests.SHOWN + 60
    assert in_short(OSError()) == "OSError"


@pytest.fixture(autouse=True)
def _levels(caplog):
    caplog.set_level(logging.INFO, "kasoku")
