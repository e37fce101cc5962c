"""Every private door of another package that kasoku goes through stands here, so that a release which closes one fails
with a sentence and not in a user's run."""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from operator import attrgetter

import optuna
import pytest

from tests.conftest import ROOT

SOURCES = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "src").rglob("*.py"))}
# door as the source has it -> (distribution, module, attributes below it, what it serves)
DOORS = {
    "hydra._internal.callbacks.Callbacks": ("hydra-core", "hydra._internal.callbacks", "Callbacks.on_run_start"),
    "hydra._internal.config_loader_impl.ConfigLoaderImpl": (
        "hydra-core", "hydra._internal.config_loader_impl", "ConfigLoaderImpl.load_configuration",
    ),
    "hydra._internal.config_loader_impl.get_overrides_dirname": (
        "hydra-core", "hydra._internal.config_loader_impl", "get_overrides_dirname",
    ),
    "hydra._internal.config_repository.IConfigRepository": (
        "hydra-core", "hydra._internal.config_repository", "IConfigRepository.get_group_options",
    ),
    "hydra._internal.sources_registry.SourcesRegistry": (
        "hydra-core", "hydra._internal.sources_registry", "SourcesRegistry.resolve",
    ),
    "hydra._internal.utils.create_config_search_path": (
        "hydra-core", "hydra._internal.utils", "create_config_search_path",
    ),
    "hydra._internal.utils.get_args_parser": ("hydra-core", "hydra._internal.utils", "get_args_parser"),
    "_apply_overrides_to_config": (
        "hydra-core", "hydra._internal.config_loader_impl", "ConfigLoaderImpl._apply_overrides_to_config",
    ),
    "_parse_overrides_and_create_caching_repo": (
        "hydra-core", "hydra._internal.config_loader_impl", "ConfigLoaderImpl._parse_overrides_and_create_caching_repo",
    ),
    "_load_single_config": (
        "hydra-core", "hydra._internal.config_loader_impl", "ConfigLoaderImpl._compose_config_from_defaults_list",
    ),
    "_internal": ("hydra-core", "hydra._internal.hydra", "ConfigLoaderImpl"),
    "_return_value": ("hydra-core", "hydra.core.utils", "JobReturn._return_value"),
    "_is_none": ("omegaconf", "omegaconf", "DictConfig._is_none"),
    "_get_node": ("omegaconf", "omegaconf", "DictConfig._get_node"),
    "_should_accumulate": ("pytorch-lightning", "pytorch_lightning.loops.fit_loop", "_FitLoop._should_accumulate"),
    "_copy_average_to_current": (
        "pytorch-lightning", "pytorch_lightning.callbacks", "WeightAveraging._copy_average_to_current",
    ),
    "_device": ("pytorch-lightning", "pytorch_lightning.callbacks", "WeightAveraging"),
    "_trial_id": ("optuna", "optuna.trial", "FrozenTrial"),
    "_storage": ("optuna", "optuna.storages", "BaseStorage.set_trial_user_attr"),
    "_NormBase": ("torch", "torch.nn.modules.batchnorm", "_NormBase"),
    "torch.nn.modules.batchnorm._BatchNorm": ("torch", "torch.nn.modules.batchnorm", "_BatchNorm"),
    "_can_stop_early": ("pytorch-lightning", "pytorch_lightning.loops.fit_loop", "_FitLoop._can_stop_early"),
    "_combined_loader": ("pytorch-lightning", "pytorch_lightning.loops.fit_loop", "_FitLoop"),
    "_num_ready_batches_reached": (
        "pytorch-lightning", "pytorch_lightning.loops", "_TrainingEpochLoop._num_ready_batches_reached",
    ),
    "_logger_connector": ("pytorch-lightning", "pytorch_lightning", "Trainer"),
    "_signal_connector": ("pytorch-lightning", "pytorch_lightning", "Trainer"),
    "lightning_fabric.utilities.data._set_sampler_epoch": (
        "lightning-fabric", "lightning_fabric.utilities.data", "_set_sampler_epoch",
    ),
    "pytorch_lightning.core.optimizer._configure_optimizers": (
        "pytorch-lightning", "pytorch_lightning.core.optimizer", "_configure_optimizers",
    ),
    "pytorch_lightning.loops._EvaluationLoop": ("pytorch-lightning", "pytorch_lightning.loops", "_EvaluationLoop"),
    "pytorch_lightning.loops._FitLoop": ("pytorch-lightning", "pytorch_lightning.loops", "_FitLoop"),
    "pytorch_lightning.loops._TrainingEpochLoop": (
        "pytorch-lightning", "pytorch_lightning.loops", "_TrainingEpochLoop",
    ),
    "_schema": ("torch", "torch", "ops.aten.add.Tensor._schema"),
    "_sequence_nr": ("torch", "torch.autograd.graph", "Node"),
    "torch.utils._python_dispatch.TorchDispatchMode": (
        "torch", "torch.utils._python_dispatch", "TorchDispatchMode.__torch_dispatch__",
    ),
    "torch._dynamo": ("torch", "torch._dynamo", "config.suppress_errors"),
    "_dynamo": ("torch", "torch._dynamo", "config.suppress_errors"),
    "_to_model": ("wandb-workspaces", "wandb_workspaces.workspaces", "Workspace._to_model"),
}  # fmt: skip
FOREACH = "_foreach_"  # of torch: documented for optimizers, one family


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names() -> set[str]:
    """Names that the project itself defines, private or not."""
    names = set()
    for node in (node for tree in SOURCES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "__setattr__":
            names |= {part.value for part in node.args if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names | {"_target_"}  # a key of Hydra's


def doors() -> Iterator[str]:
    """The private doors of other packages in the sources."""
    own = own_names()
    for node in (node for tree in SOURCES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("kasoku"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if any(map(private, name.split("."))))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if any(map(private, alias.name.split("."))))


def test_every_private_door_is_known_here():
    found = {door for door in doors() if not door.startswith(FOREACH)}
    assert found == set(DOORS), "give each new private door a row in DOORS, or go through a public one"


@pytest.mark.parametrize("door", DOORS)
def test_the_door_is_there(door):
    distribution, module, attributes = DOORS[door]
    try:
        attrgetter(attributes)(__import__(module, fromlist=["_"]))
    except (ImportError, AttributeError) as error:
        users = [str(path.relative_to(ROOT)) for path, tree in SOURCES.items() if door.split(".")[-1] in ast.dump(tree)]
        pytest.fail(f"{distribution} {version(distribution)} closed {door}, which {' '.join(users)} needs: {error}")


def test_a_study_of_optuna_has_a_storage_and_its_trials_have_an_id():
    study = optuna.create_study()
    trial = study.ask()
    assert study._storage.get_trial(trial._trial_id).number == trial.number
