"""The sweep of W&B in examples/, played as its agent would: the very command line that wandb makes of the YAML."""

from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, command, read_result
from tests.training.test_wandb import of_type

SWEEP: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "wandb_sweep.yaml").read_text())
CHOSEN = {"optimizer": "nesterov", "optimizer.lr": 0.012345, "scheduler": "cosine", "seed": 2}


def agents_line(parameters: dict[str, Any]) -> list[str]:
    """The words of the agent's command, by the template in the YAML and the code of wandb's own agent."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    made = utils.create_sweep_command_args({"args": {name: {"value": v} for name, v in parameters.items()}})
    macros = made | {"env": ["/usr/bin/env"], "interpreter": ["python"]}
    words: list[str] = []
    for part in utils.create_sweep_command(list(SWEEP["command"])):
        words += macros[part[2:-1]] if part.startswith("${") else [part]
    return words


def test_every_parameter_is_a_key_of_the_command_and_the_goal_one_of_its_summary():
    assert set(CHOSEN) == set(SWEEP["parameters"])
    assert SWEEP["metric"] == {"name": "best/val/acc", "goal": "maximize"}


def test_the_agents_command_trains_and_is_of_the_sweep(tmp_path):
    words = agents_line(CHOSEN)
    assert words[:3] == ["/usr/bin/env", "python", "train.py"]
    chosen = {"wandb_version": 1} | {name: {"value": value} for name, value in CHOSEN.items()}
    (tmp_path / "chosen.yaml").write_text(yaml.safe_dump(chosen))
    of_agent = {"WANDB_SWEEP_PARAM_PATH": str(tmp_path / "chosen.yaml")}
    of_agent |= {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "abc123", "WANDB_RUN_ID": "q1w2e3r4"}
    short = ["trainer.max_epochs=1", "trainer=cpu", "hydra.run.dir=run"]
    done = command(*words[3:], *short, cwd=tmp_path, env=of_agent)
    assert done.returncode == 0, done.stderr
    result = read_result(tmp_path / "run")
    assert (result["seed"], result["status"]) == (2, "completed")
    (run,) = of_type(tmp_path / "run", "run")
    assert run["config"]["update"]["optimizer.lr"] == 0.012345
    assert run["config"]["update"]["trainer"]["max_epochs"] == 1
    assert run["sweep_id"] == "abc123"
    assert run["run_id"] == "q1w2e3r4"
