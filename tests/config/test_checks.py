"""Composed configurations: each wrong value is answered by key, value and what must hold; the right ones by silence."""

import functools
import inspect
import shlex
import typing
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from kasoku.config import ranges, resolvers
from kasoku.config.checks import check, of_a_sweep
from kasoku.config.unread import NODES, OTHERS, ROOT_KEYS
from kasoku.faults import ConfigError

CONF = Path(__file__).parents[2] / "conf"
GROUPS = {
    group: sorted(file.stem for file in (CONF / group).glob("*.yaml")) for group in (*NODES, "logger", "callbacks")
}
ROUNDS = range(max(map(len, GROUPS.values())))  # so many times all groups take their next option


@functools.cache
def chosen(*options):
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(options))


def composed(*overrides):
    """The configuration of a command line; the options of a group are composed once for all tests."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    options = [o.input_line for o in parsed if (CONF / o.key_or_group).is_dir()]
    cfg = OmegaConf.create(chosen(*options))
    OmegaConf.set_struct(cfg, True)
    ConfigLoaderImpl._apply_overrides_to_config([o for o in parsed if o.input_line not in options], cfg)
    return cfg


def answer(*overrides):
    faults = check(composed(*overrides))
    text = str(ConfigError(*faults)) if faults else ""
    assert len(text.splitlines()) <= 12
    return text


@pytest.mark.parametrize("nth", ROUNDS)
def test_every_option_is_in_order(nth):
    options = [f"{group}={names[nth % len(names)]}" for group, names in GROUPS.items()]
    assert [fault for fault in check(composed(*options)) if fault.must != "must be given"] == []


@pytest.mark.parametrize("experiment", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_is_in_order(experiment):
    assert [fault for fault in check(composed(f"experiment={experiment}")) if fault.must != "must be given"] == []


POSITIVE = "must be a positive finite number"
LENGTH = "must be a length: 500 (steps), 3ep, 10% (of the run), 50000samples or 1e6tokens"
COUNT = "must be a whole number >= 1"
SEED = "must be a whole number >= 0 and < 4294967296"
SHARE = "must be a finite number >= 0 and < 1"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        # optimizer
        ("optimizer.lr=-1", f"optimizer.lr=-1: {POSITIVE}"),
        ("optimizer.lr=0", f"optimizer.lr=0: {POSITIVE}"),
        ("optimizer.lr=nan", f"optimizer.lr=nan: {POSITIVE}"),
        ("optimizer.lr=inf", f"optimizer.lr=inf: {POSITIVE}"),
        ("optimizer.lr=null", f"optimizer.lr=null: {POSITIVE}"),
        ("optimizer.lr=abc", f"optimizer.lr=abc: {POSITIVE}"),
        ("optimizer.lr=\"'1e-3x'\"", f"optimizer.lr=1e-3x: {POSITIVE}"),
        ("optimizer.lr=\"'0.1'\"", f"optimizer.lr='0.1': {POSITIVE}"),
        ("optimizer.lr=", f"optimizer.lr='': {POSITIVE}"),
        ("optimizer.lr=true", f"optimizer.lr=true: {POSITIVE}"),
        ("optimizer.lr=[0.1]", f"optimizer.lr=[0.1]: {POSITIVE}"),
        ("~optimizer.lr", "optimizer.lr: must be given"),
        ("optimizer=nesterov optimizer.momentum=1.5", f"optimizer.momentum=1.5: {SHARE}"),
        ("optimizer=nesterov optimizer.momentum=0", "optimizer.momentum=0: Nesterov needs momentum > 0"),
        ("optimizer=nesterov ~optimizer.momentum", "optimizer.momentum=null: Nesterov needs momentum > 0"),
        (
            "optimizer=momentum +optimizer.nesterov=true optimizer.dampening=0.1",
            "optimizer.dampening=0.1: Nesterov needs",
        ),
        ("optimizer=momentum optimizer.momentum=-0.1", f"optimizer.momentum=-0.1: {SHARE}"),
        ("optimizer=momentum optimizer.dampening=2", "optimizer.dampening=2: must be a finite number >= 0 and <= 1"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1: must be a finite number >= 0"),
        (
            "optimizer=adamw optimizer.betas=[0.9,1]",
            f"optimizer.betas=[0.9,1]: must be a list in which each is {SHARE[8:]}",
        ),
        ("optimizer=adamw optimizer.betas=0.9", "optimizer.betas=0.9: must be a list of 2 values"),
        ("optimizer=adamw optimizer.eps=0", "optimizer.eps=0: must be a positive finite number"),
        ("optimizer=adamw optimizer.amsgrad=maybe", "optimizer.amsgrad=maybe: must be true or false"),
        ("optimizer=rmsprop optimizer.alpha=1", f"optimizer.alpha=1: {SHARE}"),
        ("optimizer=adadelta optimizer.rho=-1", f"optimizer.rho=-1: {SHARE}"),
        ("optimizer=adagrad optimizer.lr_decay=-1", "optimizer.lr_decay=-1: must be a finite number >= 0"),
        ("optimizer=adafactor optimizer.beta2_decay=0.8", "optimizer.beta2_decay=0.8: must be a finite number <= 0"),
        ("optimizer.scale_lr=lin", "optimizer.scale_lr=lin: must be one of none linear sqrt, did you mean linear?"),
        ("optimizer.reference_batch_size=0", f"optimizer.reference_batch_size=0: {COUNT}"),
        # warmup
        ("warmup=linear warmup.length=200%", "warmup.length=200%: must be at most 100% of the run"),
        ("warmup=linear warmup.length=-5", f"warmup.length=-5: {LENGTH}"),
        ("warmup=linear warmup.length=\"'5 ep'\"", f"warmup.length=5 ep: {LENGTH}"),
        ("warmup=linear warmup.length=3epochs", f"warmup.length=3epochs: {LENGTH}"),
        ("warmup=linear warmup.length=0.5", f"warmup.length=0.5: {LENGTH}"),
        ("warmup=linear warmup.length=nan", f"warmup.length=nan: {LENGTH}"),
        ("warmup=linear warmup.length=[5]", f"warmup.length=[5]: {LENGTH}"),
        (
            "warmup=linear warmup.length=500 trainer.max_steps=100",
            "warmup.length=500: is 500 steps, and must not be longer than the run of 100 steps",
        ),
        ("warmup=none warmup.length=5%", "warmup.length=5%: must be 0"),
        ("warmup=linear warmup.start_factor=1", f"warmup.start_factor=1: {SHARE}"),
        ("warmup=linear +warmup.factor=0.1", "warmup.factor=0.1: no such key, the keys are: length start_factor"),
        ("warmup=linear +warmup.step=3", "warmup.step=3: no such key, the keys are: length start_factor"),
        ("~warmup", "warmup: nothing is chosen; choose one: warmup=OPTION"),
        # scheduler
        (
            "scheduler=multistep scheduler.milestones=[30,20]",
            "scheduler.milestones=[30,20]: must be strictly increasing: 20",
        ),
        (
            "scheduler=multistep scheduler.milestones=[20,20]",
            "scheduler.milestones=[20,20]: must be strictly increasing: 20",
        ),
        (
            "scheduler=multistep scheduler.milestones=[20,500] trainer.max_steps=100 warmup.length=10",
            "scheduler.milestones=[20,500]: must be inside the 90 steps that the warmup leaves: 500",
        ),
        ("scheduler=multistep scheduler.milestones=[]", "scheduler.milestones=[]: must be a list at least 1 long"),
        ("scheduler=multistep scheduler.milestones=30", "scheduler.milestones=30: must be a list, such as [1,2]"),
        ("scheduler=step scheduler.every=0", "scheduler.every=0: must be a length of 1 step or more"),
        ("scheduler=step scheduler.every=0%", "scheduler.every=0%: must be a length of 1 step or more"),
        ("scheduler=step scheduler.every=1.5", f"scheduler.every=1.5: {LENGTH}"),
        ("scheduler=step +scheduler.gama=0.2", "did you mean gamma?"),
        ("scheduler=exponential scheduler.gamma=1.2", "scheduler.gamma=1.2: must be a finite number > 0 and <= 1"),
        ("scheduler=exponential scheduler.gamma=0", "scheduler.gamma=0: must be a finite number > 0 and <= 1"),
        ("scheduler=time_based scheduler.rate=-1", f"scheduler.rate=-1: {POSITIVE}"),
        (
            "scheduler=linear scheduler.final_factor=-0.1",
            "scheduler.final_factor=-0.1: must be a finite number >= 0 and <= 1",
        ),
        ("scheduler=polynomial scheduler.power=abc", f"scheduler.power=abc: {POSITIVE}"),
        ("scheduler=cyclic scheduler.mode=triangle", "did you mean triangular?"),
        ("scheduler=linear +scheduler.total=500", "scheduler.total=500: no such key, the keys are: final_factor"),
        (
            "scheduler=linear scheduler._target_=kasoku.schedules.cosin",
            "no cosin in kasoku.schedules; did you mean cosine?",
        ),
        (
            "scheduler=onecycle scheduler.momentum.low_factor=2",
            "scheduler.momentum.low_factor=2: must be a finite number >= 0",
        ),
        ("scheduler=plateau trainer.limit_val_batches=0", "trainer.limit_val_batches=0: plateau needs validation"),
        (
            "scheduler=cosine warmup=none trainer.max_time=00:00:01:00",
            "scheduler=cosine: needs to know how many steps the run has, unknown where max_time alone ends the "
            "run or data has no length; give trainer.max_steps",
        ),
        (
            "scheduler=constant warmup.length=10% trainer.max_epochs=-1",
            "warmup.length=10%: a length in % needs the run's total steps, unknown where max_time alone ends "
            "the run or data has no length: give trainer.max_steps",
        ),
        # data, trainer
        ("data.batch_size=0", f"data.batch_size=0: {COUNT}"),
        ("data.batch_size=-4", f"data.batch_size=-4: {COUNT}"),
        ("data.batch_size=3.5", f"data.batch_size=3.5: {COUNT}"),
        ("data.batch_size=null", f"data.batch_size=null: {COUNT}"),
        ("trainer.max_epochs=0", f"trainer.max_epochs=0: {COUNT} or -1 or null"),
        ("trainer.max_epochs=-5", f"trainer.max_epochs=-5: {COUNT} or -1 or null"),
        ("trainer.max_epochs=abc", f"trainer.max_epochs=abc: {COUNT} or -1 or null"),
        (
            "trainer.max_epochs=null",
            "trainer.max_epochs=null: the run would have no end; give trainer.max_epochs, trainer.max",
        ),
        ("trainer.max_steps=0", f"trainer.max_steps=0: {COUNT} or -1"),
        ("trainer.max_steps=1e3", f"trainer.max_steps=1000.0: {COUNT} or -1"),
        (
            "trainer.max_steps=9 warmup=none trainer.max_time=5h",
            "trainer.max_time=5h: must be a time above 0 as DD:HH:MM:SS, such as 00:01:30:00 or null",
        ),
        (
            "trainer.max_steps=9 warmup=none trainer.max_time={hour:1}",
            "trainer.max_time={hour:1}: must be a time above 0 as DD:HH:MM:SS",
        ),
        ("trainer.precision=17", "trainer.precision=17: must be one of auto 32-true bf16-mixed 16-mixed"),
        ("trainer.precision=bf16-mixd", "did you mean bf16-mixed?"),
        (
            "trainer=cpu trainer.precision=16-mixed",
            "trainer.precision=16-mixed: needs a GPU, trainer.accelerator is cpu; use trainer.precision=auto",
        ),
        (
            "trainer=ddp trainer.accelerator=cpu trainer.sync_batchnorm=true",
            "trainer.sync_batchnorm=true: needs GPUs, trainer.accelerator is cpu; use trainer.sync_batchnorm=auto",
        ),
        ("trainer=cpu trainer.devices=[0,1]", "trainer.devices=[0,1]: must be a number of processes >= 1 or auto"),
        ("trainer.devices=0", "trainer.devices=0: must be one of auto -1 or a whole number >= 1"),
        ("trainer.devices=many", "trainer.devices=many: must be one of auto -1"),
        ("trainer.accelerator=gpus", "did you mean gpu?"),
        ("+trainer.strategy=dpp", "trainer.strategy=dpp: must be a strategy such as auto, ddp"),
        ("trainer.accumulate_grad_batches=0", f"trainer.accumulate_grad_batches=0: {COUNT}"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: must be a positive finite number or null"),
        ("trainer.gradient_clip_algorithm=l2", "trainer.gradient_clip_algorithm=l2: must be one of norm value or null"),
        (
            "optimizer=adamw optimizer.fused=true trainer.precision=16-mixed trainer.gradient_clip_val=1",
            "optimizer.fused=true: unscales the gradients inside its step, too late for trainer.gradient_clip_val",
        ),
        ("trainer.log_every_n_steps=0", f"trainer.log_every_n_steps=0: {COUNT}"),
        (
            "trainer.limit_train_batches=0",
            "trainer.limit_train_batches=0: must be a whole number >= 1 or a finite number > 0",
        ),
        (
            "trainer.limit_val_batches=1.5",
            "trainer.limit_val_batches=1.5: must be a whole number >= 0 or a finite number >= 0",
        ),
        (
            "trainer.val_check_interval=0",
            "trainer.val_check_interval=0: must be a whole number >= 1 or a finite number > 0",
        ),
        (
            "trainer.val_check_interval=0.5 trainer.check_val_every_n_epoch=null",
            "trainer.val_check_interval=0.5: must be a number of batches where trainer.check_val_every_n_epoch is null",
        ),
        # root, target
        ("seed=-1", f"seed=-1: {SEED}"),
        ("seed=abc", f"seed=abc: {SEED}"),
        ("seed=1.0", f"seed=1.0: {SEED}"),
        ("seed=1099511627776", f"seed=1099511627776: {SEED}"),
        ("mode=tran", "mode=tran: must be one of train preview find_lr test export, did you mean train?"),
        ("task_name=a/b", "task_name=a/b: must be a plain name of letters, digits, - _ and ."),
        ("task_name=null", "task_name=null: must be a plain name"),
        ("+sede=3", "sede=3: no such key, nothing reads it; did you mean seed?"),
        ("+width=64", "width=64: no such key, nothing reads it; leave it out, or refer to it: ${width}"),
        ("+project=a", "project=a: no such key, nothing reads it; did you mean logger.wandb.project?"),
        ("+lr=0.1", "lr=0.1: no such key, nothing reads it; did you mean optimizer.lr?"),
        ("+mine.width=3", "mine={width:3}: no such key, nothing reads it"),
        (
            "+experiment.seed=3",
            "experiment: nothing reads its keys seed; begin the file with the line # @package _global_",
        ),
        ("+trainer.logger=true", "trainer.logger=true: is set by the run and would be ignored; choose logger=NAME"),
        (
            "+trainer.callbacks=[]",
            "trainer.callbacks=[]: is set by the run and would be ignored; choose callbacks=NAME",
        ),
        ("+trainer.default_root_dir=x", "trainer.default_root_dir=x: is set by the run"),
        (
            "+model.width=3",
            "model.width=3: no such key, the parts of a model are: load loss metrics net recipe; did you mean model",
        ),
        ("+model.nett._target_=torch.nn.Linear", "model.nett={_target_:torch.nn.Linear}: no such key"),
        ("~model.net", "model.net: must be given, or model._target_"),
        ("~optimizer._target_", "optimizer._target_: must name the class or function; choose one: optimizer=OPTION"),
        ("target.stop=true", "target.stop=true: needs a value to stop at; give target.value"),
        ("target.mode=up", "target.mode=up: must be one of min max"),
        ("target.value=high", "target.value=high: must be a finite number or null"),
        ("target.stop=maybe", "target.stop=maybe: must be true or false"),
        (
            "+target.valu=0.9",
            "target.valu=0.9: no such key, the keys of target are: metric mode stop value; did you mean",
        ),
        ("target=0.97", "target=0.97: must have the keys metric value mode stop"),
        # files
        (
            "mode=test",
            "checkpoint=null: mode=test needs the file of the weights to test; add checkpoint=RUN/checkpoints/",
        ),
        ("checkpoint=nowhere.ckpt", "checkpoint=nowhere.ckpt: no such file"),
        ("resume=nowhere", "resume=nowhere: there is no such folder"),
        # what does not resolve
        ("optimizer.lr=${nope}", "optimizer.lr=${nope}: cannot be resolved: Interpolation key 'nope' not found"),
        ("optimizer.lr=${oc.env:KASOKU_NOPE}", "cannot be resolved: Environment variable 'KASOKU_NOPE' not found"),
        ("optimizer.lr=${nope:1}", "optimizer.lr=${nope:1}: cannot be resolved: Unsupported interpolation type nope"),
        (
            "optimizer.lr=${optimizer.lr}",
            "optimizer.lr=${optimizer.lr}: cannot be resolved: Recursive interpolation detected",
        ),
        ("optimizer.lr=???", "optimizer.lr=???: must be given; add optimizer.lr=VALUE"),
        ("+loop.a=${loop}", "loop.a=${loop}: cannot be resolved: Interpolation to parent node detected"),
    ],
)
def test_each_fault_is_answered_alone_and_in_a_line(overrides, line):
    text = answer(*shlex.split(overrides))
    assert line in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    "overrides",
    [
        "optimizer.lr=1e30",
        "optimizer.lr=1e-3",
        "optimizer.lr=1",
        "optimizer.lr=auto",
        "optimizer=adafactor optimizer.eps=[null,1e-3]",
        "optimizer=nesterov scheduler=step warmup=linear scheduler.every=10% warmup.length=5%",
        "scheduler=multistep scheduler.milestones=[30%,60%,5ep,5000samples]",
        "warmup=untuned trainer.max_steps=100",
        "warmup=linear warmup.length=3ep",
        "warmup=linear warmup.length='1e6tokens'",
        "scheduler=constant warmup=none trainer.max_time=00:00:01:00",
        "scheduler=step scheduler.every=100 warmup.length=10 trainer.max_time={minutes:1}",
        "scheduler=cosine trainer.max_steps=500",
        "scheduler=cosine trainer.max_time=00:00:01:00 trainer.max_epochs=5",
        "scheduler=onecycle scheduler.momentum=null",
        "trainer.precision=16",
        "trainer.devices=[0,1]",
        "trainer.devices=\"'0,1'\"",
        "trainer=ddp trainer.strategy=ddp_find_unused_parameters_true",
        "trainer.val_check_interval=0.25",
        "trainer.val_check_interval=50 trainer.check_val_every_n_epoch=null",
        "trainer.limit_train_batches=0.1 trainer.limit_val_batches=1.0",
        "+trainer.fast_dev_run=true",
        "+width=64 seed=4294967295 data.batch_size=${width}",
        "+name=mine +seeds=3 task_name=${name}_${seeds}",
        "target.value=0.97 target.stop=true",
        "mode=preview",
    ],
)
def test_what_is_right_is_passed_over(overrides):
    assert answer(*shlex.split(overrides)) == ""


def test_all_faults_are_answered_together():
    text = answer(
        "optimizer.lr=-1", "warmup.length=200%", "data.batch_size=0", "trainer.max_epochs=0", "seed=-1", "mode=x"
    )
    assert text.startswith("wrong configuration, 6 faults:\n")


def test_many_faults_stay_within_twelve_lines():
    values = ("precision", "devices", "max_epochs", "log_every_n_steps", "accumulate_grad_batches", "deterministic")
    text = answer(
        *(f"trainer.{name}=wrong" for name in values),
        "seed=x",
        "mode=x",
        "optimizer.lr=x",
        "target.mode=x",
        "data.batch_size=0",
    )
    assert len(text.splitlines()) <= 12


def test_a_value_that_others_refer_to_is_answered_once():
    text = answer("scheduler=cyclic", "scheduler.rise=-3")
    assert len(text.splitlines()) == 2
    assert "scheduler.rise=-3" in text


def test_nodes_that_refer_to_each_other_come_to_an_end():
    faults = check(composed("+one.a=${two}", "+two.b=${one}"))
    assert [str(fault) for fault in faults] == [
        f"{key}: refers to a node that refers back to it" for key in ("one.a", "two.b")
    ]


def test_an_optimizer_of_the_user_has_its_own_ranges():
    mine = ("optimizer._target_=my_package.Mine", "+optimizer.momentum=7", "optimizer.lr=-1")
    assert [fault.key for fault in check(composed(*mine))] == ["optimizer.lr"]


def test_what_a_sweep_alone_reads_needs_m():
    lines = ["search=lr", "++sweeper.n_trials=3", "optimizer.search.lr=1", "optimizer.search={lr:1}", "optimizer.lr=1"]
    keys = [fault.key for fault in of_a_sweep(lines)]
    assert keys == ["search", "sweeper.n_trials", "optimizer.search.lr", "optimizer.search"]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def test_a_run_to_resume_is_a_folder(run):
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(b"weights")
    assert answer(f"resume={run}") == ""
    assert "must be the folder of a run" in answer(f"resume={best}")
    assert "there is no such folder" in answer(f"resume={run}/none")


def test_a_checkpoint_must_be_a_file(run):
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(b"weights")
    assert answer(f"checkpoint={best}", "mode=test") == ""
    assert f"must be a file, this is a folder; there is {best}" in answer(f"checkpoint={run}")
    assert f"no such file; there is {best}" in answer(f"checkpoint={best.parent}/bst.ckpt")


def test_the_root_keys_are_those_of_the_root_file():
    keys = set(chosen()) | {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    assert keys <= set(ROOT_KEYS)
    assert set(NODES) | {"logger", "callbacks", "target"} <= keys
    assert set(OTHERS).isdisjoint(NODES)
    assert ranges.TARGET.keys() == chosen().target.keys()


def test_the_ranges_are_of_arguments_that_exist():
    import torch
    from pytorch_lightning import Trainer
    from pytorch_lightning.accelerators import AcceleratorRegistry
    from pytorch_lightning.plugins.precision import Precision
    from pytorch_lightning.strategies import StrategyRegistry

    own = {"scale_lr", "reference_batch_size", "scale_steps", "reference_steps", "compile", "channels_last"}
    optimizers = [kind for kind in vars(torch.optim).values() if inspect.isclass(kind)]
    arguments = {name for kind in optimizers for name in inspect.signature(kind).parameters}
    assert ranges.TORCH_OPTIMIZER.keys() - own <= arguments
    assert ranges.TRAINER.keys() - own <= inspect.signature(Trainer).parameters.keys()
    assert all(map(ranges.is_strategy, StrategyRegistry.available_strategies()))
    assert AcceleratorRegistry.available_accelerators() <= set(typing.get_args(ranges.TRAINER["accelerator"]))
    assert Precision.precision in typing.get_args(ranges.TRAINER["precision"])
