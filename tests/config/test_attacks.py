"""Files from somebody else run nothing and write nothing outside the run's directory: attacks, each refused.

An attack is a folder of configurations (`--config-dir`), a run's or a sweep's directory, or a checkpoint. Each of the
first table would run code or write outside if it were taken; it is refused by the check named before anything acts. The
last test prints how many were.
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from kasoku.config import resolvers
from kasoku.config.diagnose import examine
from kasoku.config.trust import locate, trusted
from kasoku.faults import ConfigError
from tests.conftest import CONF, command

TRUSTED = trusted(CONF)
SMALL = ("model=mlp", "trainer=cpu", "logger=csv", "trainer.max_epochs=1", "data.batch_size=512")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Each attack in an empty folder, with what an attacker might hope for in the environment."""
    resolvers.register()
    monkeypatch.delenv("KASOKU_TRUST", raising=False)
    monkeypatch.setenv("KASOKU_TEST_NAME", "torch.load")
    monkeypatch.setenv("KASOKU_TEST_OUT", str(tmp_path / "victim"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


# An experiment file alone: name -> (its text below the head, the key that is refused)
EXPERIMENTS = {
    # what is called
    "os.system as a net": ("model: {net: {_target_: os.system, command: touch evil}}", "model.net._target_"),
    "a target that the environment completes": (
        "callbacks: {x: {_target_: '${oc.env:KASOKU_TEST_NAME}', f: evil.pkl}}", "callbacks.x._target_",
    ),
    "a target from variables that the file sets": (
        "hydra: {job: {env_set: {KASOKU_TRUST: torch.load, EVT: torch.load}}}\n"
        "callbacks: {x: {_target_: '${oc.env:EVT,pytorch_lightning.callbacks.Timer}', f: evil.pkl}}",
        "hydra.job.env_set.KASOKU_TRUST",
    ),
    "trust of its own": ("trust: [os]\nmodel: {net: {_target_: os.system}}", "model.net._target_"),
    "a private function that imports a module": (
        "callbacks: {x: {_target_: torch.nn.attention._fa3._fa3_import_module, module_path: evil}}",
        "callbacks.x._target_",
    ),
    "a private method that removes a folder": (
        "callbacks: {x: {_target_: pytorch_lightning.callbacks.ModelCheckpoint._link_checkpoint, linkpath: victim}}",
        "callbacks.x._target_",
    ),
    "dunders": ("callbacks: {x: {_target_: torch.nn.Module.__subclasses__}}", "callbacks.x._target_"),
    "hydra's callbacks": ("hydra: {callbacks: {x: {_target_: os.system}}}", "hydra.callbacks.x._target_"),
    "a whole node from the environment": (
        "hydra: {callbacks: {x: '${oc.decode:${oc.env:KASOKU_TEST_NODE,\"{_target_: os.system}\"}}'}}",
        "hydra.callbacks.x._target_",
    ),
    "a callback of hydra's that cannot be resolved yet": (
        "hydra: {callbacks: {x: {_target_: '${hydra:job.id}'}}}", "hydra.callbacks.x._target_",
    ),
    "another sweeper": (
        "hydra: {sweeper: {_target_: hydra._internal.core_plugins.basic_sweeper.BasicSweeper}}",
        "hydra.sweeper._target_",
    ),
    # logging
    "a log handler's class": (
        "hydra: {job_logging: {handlers: {x: {class: os.system}}}}", "hydra.job_logging.handlers.x.class",
    ),
    "a log handler's factory": (
        "hydra: {job_logging: {handlers: {x: {(): os.system}}}}", "hydra.job_logging.handlers.x.()",
    ),
    "a log file elsewhere": (
        "hydra: {job_logging: {handlers: {file: {filename: ../evil.py}}}}",
        "hydra.job_logging.handlers.file.filename",
    ),
    "a log file beside the command": (
        "hydra: {job_logging: {handlers: {file: {filename: evil.py}}}}", "hydra.job_logging.handlers.file.filename",
    ),
    "hydra's own log": (
        "hydra: {hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: evil.log}}}}",
        "hydra.hydra_logging.handlers.x.filename",
    ),
    "a log's text that is a program": (
        "hydra: {job_logging: {formatters: {simple: {format: \"import os; os.system('true') #%(name)s\"}}}}",
        "hydra.job_logging.formatters.simple.format",
    ),
    "a module by ext://": (
        "hydra: {job_logging: {handlers: {console: {stream: 'ext://this.s'}}}}",
        "hydra.job_logging.handlers.console.stream",
    ),
    # environment and folders
    "a library to load": ("hydra: {job: {env_set: {LD_PRELOAD: /tmp/x.so}}}", "hydra.job.env_set.LD_PRELOAD"),
    "python's path": ("hydra: {job: {env_set: {PYTHONPATH: /tmp}}}", "hydra.job.env_set.PYTHONPATH"),
    "the run elsewhere": ("hydra: {run: {dir: /tmp/kasoku_victim}}", "hydra.run.dir"),
    "the run elsewhere by ..": ("hydra: {run: {dir: runs/../../victim}}", "hydra.run.dir"),
    "the sweep elsewhere": ("hydra: {sweep: {dir: '${oc.env:KASOKU_TEST_OUT}'}}", "hydra.sweep.dir"),
    "checkpoints elsewhere": ("callbacks: {best: {dirpath: /tmp/kasoku_victim}}", "callbacks.best.dirpath"),
    "checkpoints beside the command": ("callbacks: {best: {dirpath: src}}", "callbacks.best.dirpath"),
    "a checkpoint's name with ..": ("callbacks: {last: {filename: ../../../victim}}", "callbacks.last.filename"),
    "checkpoints by the environment": (
        "callbacks: {best: {dirpath: '${oc.env:KASOKU_TEST_OUT}'}}", "callbacks.best.dirpath",
    ),
}  # fmt: skip

# The same, of my own finding
FOUND = {
    "hydra's copies elsewhere": ("hydra: {output_subdir: ../../victim}", "hydra.output_subdir"),
    "the sweep's folders elsewhere": ("hydra: {sweep: {subdir: ../../victim}}", "hydra.sweep.subdir"),
    "the run's files as those of the present folder": ("hydra: {job: {chdir: true}}", "hydra.job.chdir"),
    "attributes of a log handler": (
        "hydra: {job_logging: {handlers: {file: {'.': {baseFilename: /tmp/kasoku_victim}}}}}",
        "hydra.job_logging.handlers.file..",
    ),
    "a reference inside the logging": (
        "hydra: {job_logging: {handlers: {file: {filename: 'cfg://handlers.file.mode'}}}}",
        "hydra.job_logging.handlers.file.filename",
    ),
    "a formatter that is a file": (
        "hydra: {job_logging: {formatters: {simple: {(): logging.FileHandler, filename: /tmp/kasoku_victim}}}}",
        "hydra.job_logging.formatters.simple.filename",
    ),
    "an openmp tool to load": (
        "hydra: {job: {env_set: {OMP_TOOL_LIBRARIES: /tmp/x.so}}}", "hydra.job.env_set.OMP_TOOL_LIBRARIES",
    ),
    "a path behind a backslash": (
        "callbacks: {best: {filename: '\\${oc.env:KASOKU_TEST_OUT}/x'}}", "callbacks.best.filename",
    ),
    "a method that removes": (
        "callbacks: {x: {_target_: pytorch_lightning.plugins.io.TorchCheckpointIO.remove_checkpoint, path: victim}}",
        "callbacks.x.path",
    ),
    "a writer in the place of a loss": (
        "model: {loss: {_target_: pytorch_lightning.loggers.csv_logs.ExperimentWriter, log_dir: victim}}",
        "model.loss.log_dir",
    ),
    "a writer's place by position": (
        "callbacks: {x: {_target_: pytorch_lightning.callbacks.ModelCheckpoint, _args_: [victim]}}",
        "callbacks.x._args_.0",
    ),
    "a profile elsewhere": (
        "trainer: {profiler: {_target_: pytorch_lightning.profilers.SimpleProfiler, dirpath: '~', filename: x}}",
        "trainer.profiler.dirpath",
    ),
    "the key for W&B to another server": (
        "logger: {wandb: {settings: {base_url: 'http://evil.invalid'}}}", "logger.wandb.settings.base_url",
    ),
    "tensorboard by a URL": (
        "logger: {tb: {_target_: pytorch_lightning.loggers.TensorBoardLogger, save_dir: 's3://evil/x'}}",
        "logger.tb.save_dir",
    ),
    "data downloaded elsewhere": (
        "data: {_target_: kasoku.data.cifar10.CIFAR10, root: /tmp/kasoku_victim}", "data.root",
    ),
    "another run to go on with": ("resume: /tmp/kasoku_victim", "resume"),
}  # fmt: skip
SWEEPS = {
    "a shell's line of a launcher": (
        "launcher: {kind: slurm, cluster: local, parameters: {slurm_setup: ['touch evil']}}",
        "launcher.parameters.slurm_setup",
    ),
    "a second line in a launcher's word": (
        'launcher: {kind: slurm, cluster: slurm, parameters: {slurm_partition: "a\\ntouch evil"}}',
        "launcher.parameters.slurm_partition",
    ),
    "somebody else's cluster": (
        "launcher: {kind: ray, address: 'ray://evil.invalid:1', num_cpus: 1, num_gpus: 0}", "launcher.address",
    ),
    "a study elsewhere": ("sweeper: {storage: /tmp/kasoku_victim/study.journal}", "sweeper.storage"),
    "somebody else's database": ("sweeper: {storage: 'postgresql://evil.invalid/db'}", "sweeper.storage"),
}  # fmt: skip


def faults_of(text: str, *words: str) -> list[str]:
    """The keys at fault in a command that takes an experiment with `text`."""
    folder = Path("conf") / "experiment"
    folder.mkdir(parents=True)
    (folder / "evil.yaml").write_text(f"# @package _global_\n{text}\n")
    return [fault.key for fault in examine(["--config-dir=conf", *words, "experiment=evil"], CONF)]


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", [*EXPERIMENTS, *FOUND])
def test_an_experiment_is_refused(name, counted):
    text, key = (EXPERIMENTS | FOUND)[name]
    assert key in faults_of(text)
    counted("attacks refused")


@pytest.mark.parametrize("name", SWEEPS)
def test_an_experiment_of_a_sweep_is_refused(name, counted):
    text, key = SWEEPS[name]
    assert key in faults_of(text, "-m", "seed=0,1")
    counted("attacks refused")


CALLED = [
    "torch.nn.utils.parametrizations.weight_norm.__globals__",
    "torch.optim.Optimizer.load_state_dict",
    "pytorch_lightning.Trainer.save_checkpoint",
    "pytorch_lightning.callbacks.ModelCheckpoint.to_yaml",
    "pytorch_lightning.loggers.WandbLogger.download_artifact",
    "kasoku.training.pictures.draw_schedule",
    "kasoku.training.checkpoints.read",
    "kasoku.data.cifar10_files.find",
    "pytorch_optimizer.load_optimizer",
    "hydra.experimental.callbacks.sys.exit",
]


@pytest.mark.parametrize("name", CALLED)
def test_methods_and_functions_that_act_are_not_called(name, counted):
    with pytest.raises(ConfigError):
        locate("key", name, (*TRUSTED, "hydra.experimental.callbacks"))
    counted("attacks refused")


@pytest.mark.parametrize("name", ["kasoku.training.pictures.draw_schedule", "torch.nn.Embedding.from_pretrained"])
def test_an_exact_name_is_trusted_as_it_is(name):
    with pytest.raises(ConfigError, match=f"export KASOKU_TRUST={name}"):
        locate("key", name, TRUSTED)
    assert callable(locate("key", name, (*TRUSTED, name)))


# Folders of configurations
def test_a_folder_that_has_a_package_imported_is_refused(counted):
    Path("conf").mkdir()
    root = (CONF / "train.yaml").read_text()
    (Path("conf") / "train.yaml").write_text(f"{root}  searchpath: [pkg://this]\n")
    for flag in ("--config-dir=conf", f"--config-path={Path('conf').absolute()}"):
        assert "hydra.searchpath" in [fault.key for fault in examine([flag], CONF)]
    counted("attacks refused")


# Directories of runs and sweeps
@dataclass(frozen=True)
class Stored:
    """What a run from somebody else has stored, and what is said of it."""

    overrides: list[object]
    says: str
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


STORED = {
    "hydra's pickle": Stored(["--experimental-rerun=run/evil.pickle", "-m"], "holds --experimental-rerun"),
    "a flag": Stored(["--config-dir=run"], "holds --config-dir=run"),
    "a flag's beginning": Stored(["-m"], "holds -m"),
    "no text": Stored([{"a": 1}], "must hold its overrides as a list of texts"),
    "variables": Stored(["+hydra.job.env_set.LD_PRELOAD=/tmp/x.so"], "hydra.job.env_set.LD_PRELOAD"),
    "checkpoints elsewhere": Stored(["+callbacks.best.dirpath=../victim"], "callbacks.best.dirpath"),
    "a target": Stored(["model.net._target_=os.system"], "model.net._target_=os.system: is not trusted"),
    "a package": Stored(["hydra.searchpath=[pkg://this]"], "hydra.searchpath"),
    "checkpoints through a link": Stored([], "leads out of it", links={"checkpoints": "../victim"}),
    "a log through a link": Stored([], "leads out of it", links={"train.log": "../victim/.bashrc"}),
    "W&B through a link": Stored([], "leads out of it", links={"wandb": "../victim"}),
    "a W&B run through a link": Stored([], "leads out of it", links={"wandb/run-20260101_000000-a": "../../victim"}),
    "rows through a link": Stored([], "leads out of it", links={"metrics.csv": "/tmp/kasoku_victim"}),
}


def make(stored: Stored) -> None:
    """The directory run/, with `stored`."""
    Path("run").mkdir()
    Path("victim").mkdir()
    text = f"# python train.py\n# overrides: {json.dumps(stored.overrides)}\nseed: 0\n"
    (Path("run") / "config.yaml").write_text(text)
    head = {"overrides": stored.overrides, "settings": {}, "trials": [], "best": []}
    (Path("run") / "sweep.json").write_text(json.dumps(head))
    for name, target in stored.links.items():
        (Path("run") / name).parent.mkdir(exist_ok=True)
        (Path("run") / name).symlink_to(target)


@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["run", "sweep"])
@pytest.mark.parametrize("name", STORED)
def test_a_directory_from_somebody_else_is_refused(name, flags, counted):
    make(STORED[name])
    before = sorted(map(str, Path().rglob("*")))
    done = command(*flags, "resume=run", cwd=Path.cwd())
    assert (done.returncode, STORED[name].says in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(map(str, Path().rglob("*"))) == before
    counted("attacks refused")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(counted):
    make(Stored([], ""))
    os.mkfifo("run/train.log")
    done = command("resume=run", cwd=Path.cwd())
    assert (done.returncode, "is neither a file nor a folder" in done.stderr) == (2, True), done.stderr
    counted("attacks refused")


@pytest.mark.parametrize("words", [["--experimental-rerun=x.pickle"], ["-m", "--experimental-rerun=x.pickle"]])
def test_hydras_rerun_is_refused_whoever_asks(words):
    assert [fault.key for fault in examine(words, CONF)] == ["--experimental-rerun"]


# Checkpoints
@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = command(*SMALL, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.parametrize("stray", ["{folder}/checkpoints/../../victim", "../victim", "memory://victim"])
def test_a_checkpoint_that_has_others_removed_is_refused(trained, stray, counted):
    shutil.copytree(trained, "run")
    Path("victim").mkdir()
    (Path("victim") / "kept").write_text("")
    path = Path("run") / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    folder = str((Path("run") / "checkpoints").absolute())
    text = stray.format(folder=Path("run").absolute())
    for name, state in content["callbacks"].items():
        if name.startswith("ModelCheckpoint"):
            state |= {"dirpath": folder, "best_k_models": {text: torch.tensor(-1.0)}, "kth_best_model_path": text}
            state |= {"best_model_path": text, "kth_value": torch.tensor(-1.0), "best_model_score": torch.tensor(-1.0)}
    torch.save(content, path)
    done = command("resume=run", "trainer.max_epochs=2", cwd=Path.cwd())
    assert (Path("victim") / "kept").exists()
    assert (done.returncode, "which leads out of it" in done.stderr) == (2, True), done.stderr
    counted("attacks refused")


# What is meant keeps working
@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "words",
    [
        ["callbacks.best.filename=../x"],
        ["+callbacks.best.dirpath=/tmp/elsewhere"],
        ["callbacks.best.filename='epoch_{epoch:03d}-{val/acc:.3f}'"],
        ["+callbacks.best.dirpath='${hydra:runtime.output_dir}/best'"],
        ["hydra.run.dir=/tmp/elsewhere"],
        ["hydra.job_logging.handlers.file.filename=/tmp/my.log"],
        ["hydra.job_logging.formatters.simple.format='words of mine: %(message)s'"],
        ["+hydra.job.env_set.OMP_NUM_THREADS=1"],
        ["+hydra.job.env_set.MINE=1"],
        ["hydra/job_logging=stdout"],
        ["hydra/job_logging=none", "hydra/hydra_logging=disabled"],
        ["hydra.output_subdir=.hydra"],
        ["logger=tensorboard"],
        ["logger=wandb", "+logger.wandb.notes='see https://example.org/..'"],
        ["-m", "seed=0,1", "sweeper.storage=postgresql://me@host/db"],
        ["-m", "seed=0,1", "launcher=slurm", "launcher.parameters.slurm_partition=gpu"],
        ["-m", "seed=0,1", "launcher=ray"],
    ],
    ids=" ".join,
)
def test_what_the_command_line_itself_says_is_done(words):
    assert [str(fault) for fault in examine(words, CONF)] == []


GOOD = """
model: {net: {hidden: 32}}
callbacks:
  best: {dirpath: "${hydra:runtime.output_dir}/best", filename: "{epoch}-{step}"}
  timer: {_target_: pytorch_lightning.callbacks.Timer, duration: "00:01:00:00"}
logger:
  tb: {_target_: pytorch_lightning.loggers.TensorBoardLogger, save_dir: "${hydra:runtime.output_dir}", name: ""}
hydra:
  run: {dir: "runs/mine/${now:%H%M%S}"}
  job: {env_set: {NCCL_DEBUG: WARN}}
  job_logging: {formatters: {simple: {format: "[%(levelname)-8s] %(message)s", datefmt: "%d.%m. %H:%M"}}}
"""


def test_an_experiment_of_ones_own_is_welcome():
    assert faults_of(GOOD) == []


def test_what_was_said_when_the_run_began_is_said_again_at_its_resume(trained):
    shutil.copytree(trained, "run")
    path = Path("run") / "config.yaml"
    lines = path.read_text().splitlines()
    stored = json.loads(lines[1].removeprefix("# overrides: "))
    lines[1] = f"# overrides: {json.dumps([*stored, '+callbacks.best.dirpath=elsewhere'])}"
    path.write_text("\n".join(lines) + "\n")
    done = command("resume=run", "trainer.max_epochs=2", cwd=Path.cwd())
    assert done.returncode == 2
    assert "callbacks.best.dirpath=elsewhere: lies outside of the run's directory" in done.stderr
    assert not Path("elsewhere").exists()


# A sweep's trials
def test_a_trial_is_judged_before_it_acts(counted):
    """One of two experiments is from somebody else: its trial is refused, the other one runs."""
    folder = Path("conf") / "experiment"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text("# @package _global_\nseed: 1\n")
    evil = "hydra: {callbacks: {x: {_target_: os.system}}, job: {env_set: {KASOKU_TRUST: os}}}"
    (folder / "evil.yaml").write_text(f"# @package _global_\n{evil}\n")
    done = command("--config-dir=conf", "-m", *SMALL, "experiment=good,evil", "hydra.sweep.dir=sweep", cwd=Path.cwd())
    states = {t["overrides"][-1]: t for t in json.loads(Path("sweep/sweep.json").read_text())["trials"]}
    assert (done.returncode, states["experiment=good"]["state"]) == (0, "completed"), done.stderr
    assert states["experiment=evil"]["state"] == "failed"
    assert "hydra.callbacks.x._target_=os.system: is not trusted" in states["experiment=evil"]["reason"]
    counted("attacks refused")
