"""What W&B holds after a race, read back from its offline runs."""

import pytest

from tests.search.conftest import Sweep
from tests.search.race.test_command import RACE, TWO
from tests.training.test_wandb import of_type


@pytest.mark.proof
def test_a_race_is_a_group_of_tuning_and_confirmation_with_its_verdict(sweep: Sweep) -> None:
    swept = sweep(*RACE, *TWO, "logger=wandb", "logger.wandb.mode=offline")
    assert swept.code == 0, swept.out + swept.err
    (verdict,) = of_type(swept.directory, "run")
    assert (verdict["run_group"], verdict["job_type"]) == (swept.directory.name, "verdict")
    runs = [of_type(path, "run")[0] for path in sorted(swept.directory.glob("[0-9]*"))]
    assert {run["run_group"] for run in runs} == {swept.directory.name}
    assert {run["job_type"] for run in runs} == {"tuning", "confirmation"}
    strategies = [run["config"]["update"]["trial"]["parameters"]["strategy"] for run in runs]
    assert set(strategies) == {"adamw", "constant"}
