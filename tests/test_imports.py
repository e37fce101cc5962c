"""What an import brings along, seen in a process of its own."""

import subprocess
import sys

import pytest


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("kasoku", ["torch", "hydra", "numpy"]),
        ("kasoku.recipe", ["pytorch_lightning", "lightning_fabric", "torchmetrics", "hydra", "omegaconf", "scipy"]),
        ("kasoku.optim.muon", ["pytorch_lightning", "hydra", "pytorch_optimizer"]),
        ("kasoku.curves", ["torch", "numpy", "hydra"]),
        ("kasoku.config.diagnose", ["torch", "pytorch_lightning", "optuna", "wandb", "numpy"]),
        ("kasoku.command.main", ["torch", "pytorch_lightning", "optuna", "wandb", "numpy"]),
        ("kasoku.report.runs", ["torch", "hydra", "optuna"]),
        ("kasoku.search.sweep", ["torch", "sklearn", "scipy", "matplotlib", "plotly", "pandas"]),
        ("hydra_plugins.kasoku.sweeper", ["torch", "optuna"]),
    ],
)
def test_what_is_not_needed_is_not_imported(module, spared):
    code = f"import sys, {module}; print([name for name in {spared!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
