"""Methods through the command: a sweep's points are those that the method itself chooses, told the same values."""

from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, QMCSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from kasoku.search import samplers
from kasoku.search.estimates import CmaEs, GaussianProcess

from .conftest import Sweep

FEW = 2  # random points, after which the model of gp and cmaes comes into play
SHORT = ["trainer.max_steps=-1", "trainer.max_epochs=1", "trainer.limit_train_batches=3", "sweeper.pruner=none"]
PLANE = ["optimizer.lr=tag(log,interval(0.001,0.1))", "optimizer.weight_decay=interval(0,0.5)"]
METHODS = [
    (["sweeper=bayes", "search=lr"], "gp, chosen by bayes", lambda: GaussianProcess(seed=11, n_startup_trials=FEW)),
    (["sweeper=gp", *PLANE], "gp", lambda: GaussianProcess(seed=11, n_startup_trials=FEW)),
    (["sweeper=cmaes", *PLANE], "cmaes", lambda: CmaEs(seed=11, n_startup_trials=FEW)),
    (["sweeper=qmc", *PLANE], "qmc", lambda: QMCSampler(seed=11, scramble=True)),
]


def replayed(sampler: BaseSampler, trials: list[FrozenTrial]) -> list[dict[str, float]]:
    """The points that `sampler` chooses in the space of `trials`, told the value of each."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    points = []
    for trial in trials:
        asked = study.ask(trial.distributions)
        points.append(dict(asked.params))
        study.tell(asked, trial.value)
    return points


def trials_of(directory: Path) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(directory / "study.journal")))
    [name] = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.mark.sample(4)
@pytest.mark.filterwarnings(f"ignore::{ExperimentalWarning.__module__}.{ExperimentalWarning.__name__}")
@pytest.mark.parametrize(("chosen", "said", "peer"), METHODS, ids=[method[0][0] for method in METHODS])
def test_a_sweep_runs_the_points_of_its_method(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, chosen, said, peer):
    """Mutants: another sampler in its place, another seed, a model that is told nothing, a point that is not run."""
    monkeypatch.setattr(samplers, "STARTUP", FEW)
    swept = sweep(*chosen, *SHORT, "sweeper.n_trials=4", "sweeper.seed=11")
    assert (swept.code, swept.states) == (0, ["completed"] * 4)
    assert f"sweep: 4 trials, {said}, val/acc max" in swept.err
    trials = trials_of(swept.directory)
    for trial, row, point in zip(trials, swept.json["trials"], replayed(peer(), trials), strict=True):
        assert trial.params == pytest.approx(point, rel=1e-6)
        trained = OmegaConf.load(Path(row["directory"]) / "config.yaml")
        assert row["parameters"] == {key: OmegaConf.select(trained, key) for key in row["parameters"]}
        assert list(row["parameters"].values()) == pytest.approx(list(point.values()), rel=1e-4)
