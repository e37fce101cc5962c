"""Command lines that do not compose: every wrong group, option, key, value and file, all in one answer."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kasoku.config import resolvers
from kasoku.config.diagnose import examine, explain
from kasoku.faults import ConfigError, Fault

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(autouse=True)
def _resolvers():
    resolvers.register()


def answer(command, conf=CONF):
    faults = examine(shlex.split(command), conf)
    text = str(ConfigError(*faults)) if faults else ""
    assert len(text.splitlines()) <= 12
    return text


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("command", "parts"),
    [
        # options
        (
            "optimizer=nestrov",
            ["optimizer=nestrov: no such option, the options are: ", " sgd", "did you mean nesterov?"],
        ),
        ("scheduler=cosin", ["scheduler=cosin: no such option", " wsd", "did you mean cosine?"]),
        ("warmup=null", ["warmup=null: no such option, the options are: ", "did you mean none?"]),
        ("data=5", ["data=5: no such option, the options are: ", "digits"]),
        ("model=", ["model='': no such option, the options are: ", "mlp"]),
        ("experiment=digits_stp", ["experiment=digits_stp: no such option", "did you mean digits_step?"]),
        ("logger=[csv,wandbb]", ["logger=wandbb: no such option", "did you mean wandb?"]),
        (
            "optimizer=[sgd,adam]",
            ["optimizer=[sgd,adam]: must be one option; to train with each", "-m optimizer=sgd,adam"],
        ),
        ("+optimizer=sgd", ["+optimizer=sgd: an option of this group is chosen already; write optimizer=sgd"]),
        ("++optimizer=sgd", ["++optimizer=sgd: an option is chosen without +; write optimizer=sgd"]),
        ("~optimizer=sgd optimizer=adam", ["~optimizer=sgd: cannot be applied"]),
        ("hydra/launcher=basik", ["hydra/launcher=basik: no such option", "did you mean basic?"]),
        # groups and root keys
        (
            "optimzer=sgd",
            ["optimzer=sgd: no such group or key, the groups are: callbacks data", "did you mean optimizer?"],
        ),
        ("optimzer.lr=0.1", ["optimzer.lr=0.1: no such group or key", "did you mean optimizer?"]),
        ("optimzer/sgd=1", ["optimzer/sgd=1: no such group or key", "did you mean optimizer?"]),
        (
            "sede=1",
            ["sede=1: no such group or key", "the keys are: batch checkpoint export mode", "did you mean seed?"],
        ),
        ("lr=0.1", ["lr=0.1: no such group or key", "did you mean optimizer.lr?"]),
        ("batch_size=32", ["did you mean data.batch_size?"]),
        ("epochs=5", ["did you mean trainer.max_epochs?"]),
        # keys
        (
            "optimizer=sgd optimizer.lrr=0.1",
            ["optimizer.lrr=0.1: no such key, the keys of optimizer=sgd", "did you mean lr?"],
        ),
        ("optimizer.learning_rate=0.1", ["optimizer.learning_rate=0.1: no such key", "did you mean lr?"]),
        ("optimizer.max_epochs=3", ["did you mean trainer.max_epochs?"]),
        ("optimizer.groups.no_decai=true", ["the keys of optimizer.groups are: ", "did you mean no_decay?"]),
        ("optimizer.lr.x=3", ["optimizer.lr.x=3: optimizer.lr is a value and has no keys"]),
        ("target.valu=1", ["target.valu=1: no such key, the keys of target are: metric", "did you mean value?"]),
        ("trainer.max_epoch=3", ["the keys of trainer=default are: ", "did you mean max_epochs?"]),
        ("+optimizer.lr=0.1", ["+optimizer.lr=0.1: this key is there already; write optimizer.lr=0.1"]),
        ("~optimizer.lrr", ["~optimizer.lrr: no such key, the keys of optimizer=", "did you mean lr?"]),
        ("~optimzer", ["~optimzer: no such group or key", "did you mean optimizer?"]),
        ("hydra.run.dri=x", ["hydra.run.dri=x: no such key, the keys of hydra.run are: dir", "did you mean dir?"]),
        ("+target.metric.x=1", ["+target.metric.x=1: target.metric is a value and has no keys"]),
        (
            "model=mlp model.metrics.f1=3",
            ["the keys of model.metrics are: acc", "to add it, write +model.metrics.f1=3"],
        ),
        ("trainer.overfit_batches=1", ["no such key", "to add it, write +trainer.overfit_batches=1"]),
        ("trainer.profiler=simple", ["if pytorch_lightning.Trainer takes it, write +trainer.profiler=simple"]),
        (
            "callbacks.best.save_top_k=3",
            ["if pytorch_lightning.callbacks.ModelCheckpoint takes it, write +callbacks.best.save_top_k=3"],
        ),
        ("model.loss.weight=[1,2]", ["if torch.nn.CrossEntropyLoss takes it, write +model.loss.weight=[1,2]"]),
        ("callbacks.es.patience=3", ["the keys of callbacks=default are: best last", "write +callbacks.es.patience=3"]),
        ("-m optimizer.nu=0.1,0.2", ["optimizer.nu=0.1,0.2: no such key"]),
        # how it is written
        ("optimizer", ["optimizer: is no override; write KEY=VALUE"]),
        ("optimizer:sgd", ["optimizer:sgd: is no override; write KEY=VALUE"]),
        ("target.value=[1,2", ["target.value=[1,2: cannot be read: no viable alternative", "is quoted"]),
        ("target.value=half(1)", ["target.value=half(1): cannot be read", "Unknown function 'half'"]),
        ("optimizer.lr = 0.1", ["optimizer.lr = 0.1: has spaces around =; write optimizer.lr=0.1"]),
        ("optimizer.lr= 0.1", ["optimizer.lr= 0.1: has spaces around =; write optimizer.lr=0.1"]),
        ("optimizer.lr =0.1", ["optimizer.lr =0.1: has spaces around =; write optimizer.lr=0.1"]),
        (
            "-m trainer.gradient_clip_val=choice(null,1)",
            ["cannot be read: Hydra's functions take no null; list the values: trainer.gradient_clip_val=null,1"],
        ),
        ("checkpoint=epoch=3.ckpt", ["checkpoint=epoch=3.ckpt: cannot be read", "'checkpoint=\"epoch=3.ckpt\"'"]),
        ("optimizer=sgd,adam", ["optimizer=sgd,adam: is more than one value; add -m to train with each"]),
        ("seed=range(0,3)", ["seed=range(0,3): is more than one value; add -m"]),
        ("optimizer.lr=interval(0,1)", ["optimizer.lr=interval(0,1): is more than one value; add -m"]),
        (
            "scheduler=multistep scheduler.milestones=10,20",
            ["add -m to train with each, or write scheduler.milestones=[10,20]"],
        ),
        ("--optimizer=sgd", ["--optimizer=sgd: is no option of train.py; to set a value: optimizer=VALUE"]),
        ("--config-dir=/nowhere", ["--config-dir=/nowhere: there is no such folder"]),
        ("--config-name=trian", ["--config-name=trian: there is no such primary configuration"]),
        # sweeps
        ("-m optimizer=nestrov,sgd", ["optimizer=nestrov: no such option", "did you mean nesterov?"]),
        ("-m 'optimizer=choice(sgd,adm)'", ["optimizer=adm: no such option", "did you mean adam"]),
        ("-m seed=1,2 optimizer.lrr=1", ["optimizer.lrr=1: no such key", "did you mean lr?"]),
        ("-m seed=1,2 trainer.max_epochs=0", ["trainer.max_epochs=0: must be a whole number >= 1"]),
        ("-m hydra.run.dir=a,b", ["hydra.run.dir=a,b: Hydra's own keys take one value"]),
        ("-m optimizer=nesterov,sgd optimizer.mom=0.9", ["optimizer.mom=0.9: no such key", "++optimizer.mom=0.9"]),
        # values
        ("optimizer=nesterov optimizer.momentum=0", ["optimizer.momentum=0: Nesterov needs momentum > 0"]),
    ],
)
def test_the_answer_names_the_key_the_value_and_the_way_out(command, parts):
    text = answer(command)
    for part in parts:
        assert part in text
    assert len(text.splitlines()) == 2


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "command",
    [
        "optimizer=nesterov scheduler=step warmup=linear",
        "optimizer=nesterov.yaml",
        "experiment=digits_step trainer.max_epochs=1",
        "logger=[csv,wandb]",
        "~logger ~callbacks",
        "+optimizer.maximize=true",
        "++optimizer.lr=0.1",
        "+mine.width=3 +depth=64 data.batch_size=${depth} task_name=t${mine.width}",
        "optimizer={lr:0.5}",
        "-m optimizer=sgd,nesterov,adamw seed=0,1,2",
        "optimizer=sgd -m seed=1,2",
        "optimizer=sgd --config-name train seed=1 -c job scheduler=step",
        "-m optimizer=sgd,adam optimizer.lr=0.1,abc seed=range(0,3)",
        "-m 'scheduler=glob(*)'",
        "hydra.mode=MULTIRUN seed=1,2",
        "--cfg job optimizer.lr=-1",
        "hydra.run.dir=here hydra.verbose=true",
        "data.seed=${seed} task_name=${hydra:runtime.choices.optimizer}",
    ],
)
def test_what_is_right_is_passed_over(command):
    assert answer(command) == ""


def test_all_faults_are_answered_together():
    text = answer(
        "optimizer=nestrov optimizer.lrr=0.1 sede=3 scheduler=stp trainer.max_epochs=0 optimizer.lr=-1 a=b=c --x"
    )
    for part in (
        "8 faults",
        "did you mean nesterov?",
        "the keys of optimizer=nesterov",  # as the option that was meant
        "did you mean seed?",
        "did you mean step?",
        "trainer.max_epochs=0",
        "optimizer.lr=-1",
        "a=b=c: cannot be read",
        "--x: is no option",
    ):
        assert part in text


def test_keys_of_a_group_without_a_known_option_are_not_judged():
    assert len(answer("optimizer=qqqqqq optimizer.anything=1").splitlines()) == 2


def error_of(*overrides, conf=CONF):
    with initialize_config_dir(str(conf), version_base="1.3"), pytest.raises(Exception) as caught:  # noqa: PT011
        OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=True)
    return caught.value


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("optimizer=nestrov", "did you mean nesterov?"),
        ("optimzer=sgd", "did you mean optimizer?"),
        ("optimizer.lrr=1", "did you mean lr?"),
        ("optimizer=null", "optimizer=null: no such option"),
        ("optimizer=sgd,adam", "add -m"),
        ("a=[1", "cannot be read"),
        ("+optimizer=sgd", "write optimizer=sgd"),
        ("optimizer.lr=${nope}", "optimizer.lr=${nope}: cannot be resolved"),
    ],
)
def test_what_hydra_raises_is_explained(override, part):
    explained = explain(error_of(override), [override], CONF)
    assert isinstance(explained, ConfigError)
    assert part in str(explained)


def test_an_error_of_composition_that_is_not_understood_is_at_least_short():
    explained = explain(error_of("optimizer.lr=${nope}"), [], CONF)
    assert str(explained).splitlines()[1] == "  optimizer.lr: cannot be composed: Interpolation key 'nope' not found"


def test_other_errors_are_not_explained():
    wrong = ConfigError(Fault("seed", -1, "must be >= 0"))
    assert explain(wrong, [], CONF) is wrong
    for error in (ValueError("of a net"), KeyError("x"), RuntimeError("out of memory")):
        assert explain(error, ["optimizer.lr=-1"], CONF) is None


def test_errors_of_a_run_are_not_taken_for_errors_of_its_configuration():
    def run_job():  # by this name Hydra calls the task
        return OmegaConf.create({"a": 1}).a.b

    with pytest.raises(Exception) as caught:  # noqa: PT011
        run_job()
    assert explain(caught.value, [], CONF) is None


@pytest.fixture
def mine(tmp_path):
    """A folder for --config-dir; `write(option, text)` adds a file to it."""

    def write(option, text):
        path = tmp_path / f"{option}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("_target_: torch.optim.SGD\nnested:\n\tlr: 0.1\n", 3, "a tab is no indentation in YAML; use spaces"),
        ("lr: 0.1\nmomentum: 0.9\nlr: 0.2\n", 3, "the key lr stands twice; remove one"),
        ("lr: 0.1\nmomentum: [0.9\n", 3, "is no YAML"),
        ("lr: 0.1: 2\n", 1, "is no YAML: mapping values are not allowed here"),
        ("lr 0.1\nmomentum: 3\n", 2, "is no YAML"),
        ("lr: 'abc\n", 2, "is no YAML"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_its_line(mine, text, line, part):
    path = mine("optimizer/mine", text)
    folder = path.parents[1]
    said = answer(f"--config-dir {folder} optimizer=mine")
    assert f"{path}:{line}: {part}" in said
    assert said.splitlines()[0] == "wrong configuration:"


@pytest.mark.parametrize("text", ["just a text", "lr: ${", "lr: 0.1\n- 3", "- 1\n- 2\n"])
def test_a_file_that_is_no_mapping_is_named(mine, text):
    path = mine("optimizer/mine", text)
    said = answer(f"--config-dir {path.parents[1]} optimizer=mine sede=1 optimizer.lr=-1")
    assert "optimizer" in said
    assert "did you mean seed?" in said


def test_a_wrong_root_file_is_named(tmp_path):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "train.yaml").write_text("defaults:\n  - data: digits\n   - model: cnn\n")
    assert f"{conf}/train.yaml:3: is no YAML" in answer("optimizer=nestrov", conf)


def test_an_experiment_that_names_no_option_is_named(mine):
    path = mine("experiment/ours", "# @package _global_\ndefaults:\n  - override /optimizer: nestrov\n")
    said = answer(f"--config-dir {path.parents[1]} experiment=ours")
    assert "optimizer=nestrov: as experiment=ours has it: no such option" in said
    assert "did you mean nesterov?" in said


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        (
            "data",
            "defaults:\n  - nothing_here\n",
            "data/ours.yaml: its defaults list names data/nothing_here, and there",
        ),
        (
            "experiment",
            "defaults:\n  - override /model: mlp\n",
            "experiment/ours.yaml: overrides model, which is outside of its own group; begin",
        ),
        ("experiment", "model:\n  width: 3\n", "nothing reads its keys model; begin the file with the line # @package"),
        (
            "experiment",
            "defaults:\n  - override model: mlp\n",
            "experiment/ours.yaml: overrides experiment/model for want of a / before model; write override /",
        ),
        (
            "experiment",
            "# @package _global_\ndefaults:\n  - override model: mlp\n",
            "for want of a / before model; write override /model: OPTION",
        ),
        (
            "experiment",
            "# @package _global_\ndefaults:\n  - override /modell: mlp\n",
            "overrides modell, of which nothing is chosen; did you mean model?",
        ),
        (
            "experiment",
            "# @package _global_\ndefaults:\n  - /model: mlp\n",
            "its defaults list chooses model, which is chosen already; write there override /model: OPTION",
        ),
        (
            "model",
            "defaults:\n  - override /task: regression\n",
            "outside of its own group; write override /task@_global_.task: OPTION",
        ),
        (
            "experiment",
            "# @package _global_\ndefaults:\n  - override /model: mlp\n  - /data: digits\n",
            "Overrides must be at the end of the defaults list",
        ),
    ],
)
def test_a_slip_in_a_file_of_the_users_names_the_file_and_the_line_to_write(mine, option, text, said):
    path = mine(f"{option}/ours", text)
    assert said in answer(f"--config-dir {path.parents[1]} {option}=ours")


def test_a_node_in_the_place_of_a_null_is_given_key_by_key():
    words = "data=own data._target_=torch.nn.Flatten data.val._target_=torch.nn.Flatten data.val.start_dim=2"
    assert answer(words) == ""
    assert "target.metric is a value and has no keys" in answer("+target.metric.x=1")


def test_options_of_the_user_stand_beside_the_own(mine):
    path = mine("optimizer/mine", "defaults:\n  - sgd\n  - _self_\nlr: 0.3\n")
    folder = path.parents[1]
    assert answer(f"--config-dir {folder} optimizer=mine") == ""
    assert answer(f"optimizer=mine hydra.searchpath=[file://{folder}]") == ""
    assert "did you mean mine?" in answer(f"--config-dir {folder} optimizer=minne")


def test_a_group_of_the_user_that_nothing_chooses_is_added_with_a_plus(mine):
    path = mine("augment/flip", "name: flipped\n")
    folder = path.parents[1]
    assert "augment=flip: nothing of this group is chosen so far; write +augment=flip" in answer(
        f"--config-dir {folder} augment=flip"
    )
    assert answer(f"--config-dir {folder} +augment=flip task_name=${{augment.name}}") == ""
    assert "augment={name:flipped}: no such key, nothing reads it" in answer(f"--config-dir {folder} +augment=flip")


def test_a_mandatory_value_is_asked_for(mine):
    path = mine("data/mine", "defaults:\n  - digits\n  - _self_\npath: ???\n")
    assert "data.path=???: must be given; add data.path=VALUE" in answer(f"--config-dir {path.parents[1]} data=mine")


def test_nothing_heavy_is_imported():
    code = f"""
import sys
from kasoku.config import diagnose, resolvers
resolvers.register()
assert diagnose.examine(["optimizer=nestrov", "optimizer.lr=-1", "trainer.max_epochs=0"], {str(CONF)!r})
heavy = {{"torch", "pytorch_lightning", "wandb", "optuna", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
