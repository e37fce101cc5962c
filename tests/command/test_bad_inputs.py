"""Wrong commands: exit code 2, at most 12 lines, the key, the value and what must hold; no traceback, no directory.

A line of a table is a command and the beginning of its answer. All of them are proofs, every tenth is a test each time.
"""

import shlex
from pathlib import Path

import pytest

from tests.conftest import command

FEW = ("model=mlp", "trainer=cpu", "logger=none", "trainer.max_epochs=1")
FILES = {
    "ONE": "a" * 2000,
    "TEXT": "hello world " * 500,
    "AFILE": "x",
    "D/experiment/list.yaml": "- 1\n- 2\n",
    "D/experiment/nopackage.yaml": "optimizer:\n  lr: 0.1\n",
    "D/experiment/itself.yaml": "# @package _global_\ndefaults:\n  - itself\n",
    "D/experiment/tab.yaml": "# @package _global_\noptimizer:\n\tlr: 0.1\n",
    "D/experiment/dup.yaml": "# @package _global_\nseed: 1\nseed: 2\n",
    "D/experiment/syntax.yaml": "# @package _global_\noptimizer: {lr: 0.1\n",
    "D/optimizer/mine.yaml": "lr: 0.1\n",
    "D/data/mine.yaml": "_target_: torch.nn.Linear\nin_features: 3\nout_features: 2\n",
}

TABLE = [
    (
        "data=image_folder data.root=~/images",
        "the shell puts no home in the place of ~ after =; write data.root=$HOME/images",
    ),
    ("callbacks.ema.decay=0.9", "the keys of callbacks=default are: best last; choose it first: callbacks=ema"),
    ("logger=csv logger.wandb.project=mine", "choose it first: logger=wandb"),
    ("callbacks.bst.monitor=x", "to add it, write +callbacks.bst.monitor=x"),
    ("export", "export: is no override; write mode=export"),
    ("optimizers", "optimizers: is no override; write KEY=VALUE"),
    (
        "+model.metrics.m._target_=torchmetrics.functional.mean_squared_error",
        "model.metrics.m=torchmetrics.functional.mean_squared_error: is a function of one batch; name the class",
    ),
    ("optimizer=nestrov", "optimizer=nestrov: no such option, the options are: adadelta adafactor adagrad"),
    ("optimzer=sgd", "optimzer=sgd: no such group or key, the groups are: callbacks data experiment"),
    ("optimizer.lrr=0.1", "optimizer.lrr=0.1: no such key, the keys of optimizer=adamw are: amsgrad betas"),
    ("+optimizer.learning_rate=0.1", "optimizer.learning_rate=0.1: no such key, the keys are: amsgrad betas capturab"),
    ("optimizer.lr=-1", "optimizer.lr=-1: must be a positive finite number"),
    ("optimizer.lr=nan", "optimizer.lr=nan: must be a positive finite number"),
    ("optimizer.lr=inf", "optimizer.lr=inf: must be a positive finite number"),
    ("optimizer.lr=null", "optimizer.lr=null: must be a positive finite number"),
    ("optimizer.lr=abc", "optimizer.lr=abc: must be a positive finite number"),
    ("optimizer.lr=\"'1e-3x'\"", "optimizer.lr=1e-3x: must be a positive finite number"),
    ("optimizer=momentum optimizer.momentum=1.5", "optimizer.momentum=1.5: must be a finite number >= 0 and < 1"),
    ("optimizer=nesterov optimizer.momentum=0", "optimizer.momentum=0: Nesterov needs momentum > 0"),
    ("warmup=linear warmup.length=200%", "warmup.length=200%: must be at most 100% of the run"),
    (
        "warmup=linear warmup.length=1000",
        "warmup.length=1000: is 1000 steps, and must not be longer than the run of 19 s",
    ),
    (
        "warmup=linear warmup.length=-5",
        "warmup.length=-5: must be a length: 500 (steps), 3ep, 10% (of the run), 50000s",
    ),
    (
        "warmup=linear \"warmup.length='5 ep'\"",
        "warmup.length=5 ep: must be a length: 500 (steps), 3ep, 10% (of the run), 5000",
    ),
    (
        "warmup=linear warmup.length=3epochs",
        "warmup.length=3epochs: must be a length: 500 (steps), 3ep, 10% (of the run), 5",
    ),
    (
        "scheduler=multistep scheduler.milestones=[9,5]",
        "scheduler.milestones=[9,5]: must be strictly increasing: 5 follows 9",
    ),
    (
        "scheduler=multistep scheduler.milestones=[5,5]",
        "scheduler.milestones=[5,5]: must be strictly increasing: 5 follows 5",
    ),
    (
        "scheduler=multistep scheduler.milestones=[5,5000]",
        "scheduler.milestones=[5,5000]: must be inside the 18 steps that the warmup lea",
    ),
    (
        "scheduler=step scheduler.every=0",
        "scheduler.every=0: must be a length of 1 step or more: 500 (steps), 3ep, 10% (",
    ),
    ("scheduler=exponential scheduler.gamma=1.2", "scheduler.gamma=1.2: must be a finite number > 0 and <= 1"),
    (
        "scheduler=plateau target.metric=val/none",
        "target.metric=val/none: no such metric, those of the model are: val/acc val/lo",
    ),
    (
        "scheduler=plateau trainer.limit_val_batches=0",
        "trainer.limit_val_batches=0: plateau needs validation, which this turns off; g",
    ),
    (
        "scheduler=cosine trainer.max_epochs=-1 trainer.max_time=00:00:01:00",
        "scheduler=cosine: needs to know how many steps the run has, unknown where max_",
    ),
    ("data.batch_size=0", "data.batch_size=0: must be a whole number >= 1"),
    ("data.batch_size=-4", "data.batch_size=-4: must be a whole number >= 1"),
    ("data.batch_size=3.5", "data.batch_size=3.5: must be a whole number >= 1"),
    ("data.batch_size=100000", "data.batch_size=100000: must be <= 1257, the training set has 1257 samples"),
    ("trainer.max_epochs=0", "trainer.max_epochs=0: must be a whole number >= 1 or -1 or null"),
    ("trainer.max_epochs=-5", "trainer.max_epochs=-5: must be a whole number >= 1 or -1 or null"),
    ("trainer.max_epochs=abc", "trainer.max_epochs=abc: must be a whole number >= 1 or -1 or null"),
    ("trainer.precision=17", "trainer.precision=17: must be one of auto 32-true bf16-mixed 16-mixed bf16-tru"),
    ("trainer.precision=16-mixed", "trainer.precision=16-mixed: needs a GPU, trainer.accelerator is cpu; use train"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: must be a whole number >= 1"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: must be a positive finite number or null"),
    ("seed=-1", "seed=-1: must be a whole number >= 0 and < 4294967296"),
    ("seed=abc", "seed=abc: must be a whole number >= 0 and < 4294967296"),
    ("seed=1099511627776", "seed=1099511627776: must be a whole number >= 0 and < 4294967296"),
    ("target.metric=val/accc", "target.metric=val/accc: no such metric, those of the model are: val/acc val/lo"),
    ("target.mode=up", "target.mode=up: must be one of min max"),
    ("model.net.hidden=0", "model.net.hidden=0: must be a whole number >= 1"),
    ("model.net.num_classes=3", "model.net.num_classes=3: gives 3 outputs, the data has 10 classes; leave it nu"),
    ("resume=nowhere", "resume=nowhere: no such directory; give the directory of a run, as runs/train/"),
    ("resume=.", "resume=.: holds no config.yaml, so no run is there"),
    ("checkpoint=nowhere.ckpt", "checkpoint=nowhere.ckpt: no such file"),
    ("optimizer._target_=os.system", "optimizer._target_=os.system: is not trusted, and a _target_ runs code; to tru"),
    (
        "-m optimizer.lr=interval(0,0.1)",
        "optimizer.lr=interval(0,0.1): a grid needs values; list the values, or use swe",
    ),
    (
        "-m optimizer.lr=interval(0.1,0.01) sweeper=random",
        "optimizer.lr=interval(0.1,0.01): the first end of an interval must be below th",
    ),
    ("-m optimizer.lrr=0.1,0.2", "optimizer.lrr=0.1,0.2: no such key, the keys of optimizer=adamw are: amsgrad b"),
    ("-m seed=1,2 sweeper.n_trials=0", "sweeper.n_trials=0: must be a whole number >= 1 or null"),
    ("optimizer.lr=0.1,0.2", "optimizer.lr=0.1,0.2: is more than one value; add -m to train with each, or wr"),
    ("data=text data.path=ONE model=gpt", "data.path=ONE: has one class alone, and nothing to tell it from"),
    (
        "model.loss._target_=torch.nn.MSELoss",
        "model.loss=MSELoss: compares them element by element, which must be of one sha",
    ),
    ("+trainer.profiler=foo", "trainer.profiler=foo: When passing string value for the `profiler` parameter o"),
    ("+trainer.logger=true", "trainer.logger=true: is set by the run and would be ignored; choose logger=NAM"),
    ("+trainer.callbacks=[]", "trainer.callbacks=[]: is set by the run and would be ignored; choose callbacks"),
    (
        "trainer.accumulate_grad_batches=100000",
        "trainer.accumulate_grad_batches=100000: is more than the 19 batches of an epoc",
    ),
    (
        "+callbacks.es._target_=pytorch_lightning.callbacks.EarlyStopping +callbacks.es.monitor=val/nope",
        "callbacks.es.monitor=val/nope: validation logs no such metric, but these: val/",
    ),
    ("+callbacks.x=5", "callbacks.x=5: must have a _target_; which names the class to make it of"),
    (
        "logger=wandb logger.wandb.project=a/b",
        "logger.wandb.project=a/b: must be a name of at most 128 characters without / \\",
    ),
    ("hydra.run.dir=/proc/x", "hydra.run.dir=/proc/x: cannot be made: No such file or directory; choose anoth"),
    ("hydra.run.dir=AFILE", "hydra.run.dir=AFILE: cannot be made: File exists; choose another"),
    ("--config-dir D experiment=list", "experiment=list: D/experiment/list.yaml must hold keys and values"),
    ("--config-dir D optimizer=mine", "optimizer._target_: must name the class or function; choose one: optimizer=OPT"),
    ("--config-dir D data=mine", "data=torch.nn.Linear: must make a LightningDataModule, or a Dataset, an Iterab"),
    ("data=text data.path=TEXT", "model.net=MLP: does not fit the data, its inputs are int64 [9, 64]: mat1 and m"),
    ("model.net.input_shape=[3,8,8]", "model.net=MLP: does not fit the data, its inputs are float32 [270, 1, 8, 8]: m"),
    ("+model.loss.label_smoothing=2", "+model.loss.label_smoothing=2: this key is there already; write model.loss.lab"),
    ("model.net=null", "model.net=null: must have a _target_, the class of the net"),
    ("+logger.mine=csv", "logger.mine=csv: must have a _target_; which names the class to make it of"),
    (
        "callbacks.best.monitor=val/accc",
        "callbacks.best.mode=${kasoku.mode_of:${.monitor},${target.metric},${target.mod",
    ),
    (
        "logger=wandb logger.wandb.mode=onlin",
        "logger.wandb.mode=onlin: must be one of auto online offline disabled, did you",
    ),
    ("logger=wandb logger.wandb.tags=5", "logger.wandb.tags=5: must be a list, such as [1,2] or null"),
    (
        "trainer.val_check_interval=1000",
        "trainer.val_check_interval=1000: `val_check_interval` (1000) must be less than",
    ),
    ("target.stop=true", "target.stop=true: needs a value to stop at; give target.value"),
    (
        "target.stop=true target.value=0.9 trainer.limit_val_batches=0",
        "trainer.limit_val_batches=0: target.stop=true needs validation, which this tur",
    ),
    ("+trainer.min_steps=50 trainer.max_steps=10", "trainer.min_steps=50: must be at most trainer.max_steps=10"),
    ("+trainer.plugins=[foo]", "trainer: Found invalid type for plugin foo. Expected one of: Precision, Checkp"),
    ("callbacks=[ema,swa]", "callbacks=SWA: callbacks.ema and callbacks.swa average the weights, a run has"),
    (
        "callbacks=swa callbacks.swa.start=100ep",
        "callbacks.swa.every=1ep: the first weights would be taken in after 1900 steps,",
    ),
    (
        "--config-dir D experiment=nopackage",
        "experiment: nothing reads its keys optimizer; begin the file with the line # @",
    ),
    ("-m seed=1,2 seed=3", "seed=1,2 3: stands twice; give its values once"),
    (
        "--config-dir D experiment=itself",
        "defaults: go in a circle: a file of the configuration names itself, or one tha",
    ),
    (
        "optimizer=prodigy optimizer.lr=auto",
        "optimizer.lr=auto: this optimizer finds its step size itself, there is no lr t",
    ),
    ("--config-dir D experiment=tab", "D/experiment/tab.yaml:3: a tab is no indentation in YAML; use spaces"),
    ("--config-dir D experiment=dup", "D/experiment/dup.yaml:3: the key seed stands twice; remove one"),
    (
        "--config-dir D experiment=syntax",
        "D/experiment/syntax.yaml:3: is no YAML: expected ',' or '}', but got '<stream",
    ),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: must be a whole number >= 1 or a finite number"),
    (
        "trainer.limit_train_batches=-1",
        "trainer.limit_train_batches=-1: must be a whole number >= 1 or a finite number",
    ),
    (
        "trainer.limit_train_batches=foo",
        "trainer.limit_train_batches=foo: must be a whole number >= 1 or a finite numbe",
    ),
    ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps=0: must be a whole number >= 1"),
    ("trainer.num_sanity_val_steps=-5", "trainer.num_sanity_val_steps=-5: must be a whole number >= -1"),
    ("+trainer.strategy=foo", "trainer.strategy=foo: must be a strategy such as auto, ddp, ddp_find_unused_pa"),
    ("+trainer.benchmark=maybe", "+trainer.benchmark=maybe: this key is there already; write trainer.benchmark=m"),
    ("+trainer.max_stepss=5", "trainer.max_stepss=5: no such key, the keys are: accelerator accumulate_grad_b"),
    (
        "+trainer.enable_checkpointing=false",
        "trainer.enable_checkpointing=false: Trainer was configured with `enable_checkp",
    ),
    ("trainer.devices=0", "trainer.devices=0: must be one of auto -1 or a whole number >= 1 or a list, su"),
    ("trainer.devices=[]", "trainer.devices=[]: must be a number of processes >= 1 or auto, trainer.accele"),
    ("trainer.accelerator=tpu", "trainer: Requirement 'torch_xla>=1.13' not met. HINT: Try running `pip install"),
    (
        "+trainer.gradient_clip_algorithm=foo trainer.gradient_clip_val=1",
        "+trainer.gradient_clip_algorithm=foo: this key is there already; write trainer",
    ),
    ("model=resnet model.net.width=abc", "model.net.width=abc: must be a whole number >= 1"),
    ("model=gpt", "model.net.input_shape=[1,8,8]: must be [length of a text], it is that of the d"),
    (
        "data=image_folder data.path=nowhere",
        "data.path=nowhere: no such key, the keys of data=image_folder are: batch_size",
    ),
    ("data=csv data.path=nowhere.csv", "data.path=nowhere.csv: there is no such file"),
    ("data=csv", "data.path=null: must name a text or token file; data.path=FILE"),
    ("data=text", "data.path=null: must name a text or token file; data.path=FILE"),
    ("mode=trian", "mode=trian: must be one of train preview find_lr test export, did you mean train?"),
    ("mode=test", "checkpoint=null: mode=test needs the file of the weights to test; add checkpoi"),
    ("mode=test checkpoint=null", "checkpoint=null: mode=test needs the file of the weights to test; add checkpoi"),
    (
        "mode=find_lr optimizer=prodigy",
        "mode=find_lr: this optimizer finds its step size itself, there is no lr to loo",
    ),
    ("task_name=a/b", "task_name=a/b: must be a plain name of letters, digits, - _ and ."),
    ("task_name=", "task_name='': must be a plain name of letters, digits, - _ and ."),
    ("callbacks=emaa", "callbacks=emaa: no such option, the options are: agc batch_schedule default early"),
    (
        "callbacks=[ema,emaa]",
        "callbacks=emaa: no such option, the options are: agc batch_schedule default early",
    ),
    ("callbacks=ema callbacks.ema.decay=1.5", "callbacks.ema.decay=1.5: must be a finite number > 0 and < 1"),
    ("callbacks=agc callbacks.agc.clip=-1", "callbacks.agc.clip=-1: must be a positive finite number"),
    (
        "+callbacks.best2._target_=pytorch_lightning.callbacks.ModelCheckpoint +callbacks.best2.monitor=val/acc "
        "+callbacks.best2.mode=upp",
        "callbacks.best2=pytorch_lightning.callbacks.ModelCheckpoint: MisconfigurationE",
    ),
    (
        "+model.metrics.f._target_=torchmetrics.F1Score +model.metrics.f.task=multiclas",
        "model.metrics.f=torchmetrics.F1Score: ValueError: Invalid Classification: expe",
    ),
    (
        "+callbacks.x={_target_:torch.nn.Flatten}",
        "callbacks.x=torch.nn.Flatten: is no Callback of Lightning; name a class of one",
    ),
    (
        "task._target_=torch.nn.Identity",
        "task=torch.nn.Identity: is no Task of kasoku.training.tasks; name a class of one",
    ),
    ("trainer._target_=torch.nn.Identity", "trainer=torch.nn.Identity: is no Trainer of Lightning"),
    ("trainer._partial_=false", "trainer=pytorch_lightning.Trainer: is no Trainer of Lightning, with _partial_: true"),
    ("optimizer.groups._target_=torch.nn.Identity", "optimizer.groups=torch.nn.Identity: is no Groups of kasoku.optim"),
    ("optimizer.tricks._target_=torch.nn.Identity", "optimizer.tricks=torch.nn.Identity: is no Tricks of kasoku.optim"),
    (
        "optimizer=muon optimizer.groups.kinds._target_=torch.nn.Identity",
        "optimizer.groups.kinds=Identity: must be given by a function from a net to a mapping",
    ),
    (
        "optimizer=muon optimizer.groups.rates._target_=torch.nn.Identity",
        "optimizer.groups.rates=Identity: must be given by a function from a net to a mapping",
    ),
    ("+logger.x={_target_:torch.nn.Flatten}", "logger.x=torch.nn.Flatten: is no Logger of Lightning"),
    ("+model.metrics.f={_target_:torch.nn.Flatten}", "model.metrics.f=torch.nn.Flatten: is no metric of torchmetrics"),
    (
        "model.net={_target_:torch.nn.functional.relu,_partial_:true}",
        "model.net=torch.nn.functional.relu: is no torch.nn.Module",
    ),
    ("optimizer._target_=torch.nn.Flatten", "optimizer=Flatten: is no torch.optim.Optimizer"),
    (
        "optimizer._target_=torch.optim.lr_scheduler.StepLR",
        "optimizer._target_=torch.optim.lr_scheduler.StepLR: is no torch.optim.Optimizer",
    ),
    (
        "warmup._target_=torch.optim.lr_scheduler.LinearLR",
        "warmup=LinearLR: is a class, and a warmup is a function here: factor(step, length)",
    ),
    ("warmup._target_=kasoku.schedules.cosine", "warmup.length: must be given; such as 5%"),
    ("+model.metrics.f=3", "model.metrics.f=3: must have a _target_; which names the class to make it of"),
    (
        "model.loss._target_=torch.nn.L1Loss",
        "model.loss=L1Loss: compares them element by element, which must be of one shap",
    ),
    ("task=binary", "task=binary: targets must be 0 or 1, found 0 to 9; or choose another task"),
    ("task=nothing", "task=nothing: no such option, the options are: binary classification custom la"),
    ("optimizer.groups.layer_decay=0", "optimizer.groups.layer_decay=0: must be a finite number > 0 and <= 1 or null"),
    ("optimizer.groups.layer_decay=2", "optimizer.groups.layer_decay=2: must be a finite number > 0 and <= 1 or null"),
    ("optimizer.groups.frozen=[nope.*]", "optimizer.groups.frozen=nope.*: matches no parameter; did you mean net.*?"),
    (
        "optimizer.groups.rules=[{match:nope,lr:2}]",
        "optimizer.groups.rules[0].match=nope: matches no parameter; parameters are net",
    ),
    (
        "optimizer.groups.unfreeze={nope:1ep}",
        "optimizer.groups.unfreeze=nope: matches no parameter; parameters are net.layer",
    ),
    ("optimizer.groups.head=nope", "optimizer.groups.head=nope: matches no parameter; parameters are net.layers.1."),
    ("optimizer.betas=[0.9]", "optimizer.betas=[0.9]: must be a list of 2 values"),
    ("optimizer.betas=[0.9,1]", "optimizer.betas=[0.9,1]: must be a list in which each is a finite number >= 0"),
    ("optimizer.eps=-1", "optimizer.eps=-1: must be a positive finite number or a list of 2 values"),
    ("optimizer.weight_decay=-0.1", "optimizer.weight_decay=-0.1: must be a finite number >= 0"),
    ("scheduler.final_factor=-1", "scheduler.final_factor=-1: must be a finite number >= 0 and <= 1"),
    (
        "scheduler=onecycle scheduler.rise=0",
        "scheduler.rise=0: must be a length of 1 step or more: 500 (steps), 3ep, 10% (o",
    ),
    ("scheduler=wsd scheduler.decay=200%", "scheduler.decay=200%: must be at most 100% of the run"),
    ("scheduler=polynomial scheduler.power=0", "scheduler.power=0: must be a positive finite number"),
    (
        "warmup=untuned optimizer=momentum",
        "warmup.length=untuned: needs an optimizer with beta2, SGD has none; give a len",
    ),
    ("on_divergence=maybe", "on_divergence=maybe: must be one of stop skip rewind"),
    (
        "on_divergence=rewind optimizer.lr=auto",
        "on_divergence=rewind: halves optimizer.lr, which must be a number; or use stop",
    ),
    (
        "data=digits data.val_fraction=1",
        "data.val_fraction=1: no such key, the keys of data=digits are: batch_size drop",
    ),
    ("data.num_workers=-1", "data.num_workers=-1: no such key, the keys of data=digits are: batch_size drop"),
    ("data.num_workers=two", "data.num_workers=two: no such key, the keys of data=digits are: batch_size dro"),
    ("search=nope -m", "search=nope: no such option, the options are: lr lr_wd none optimizer_lr recip"),
    (
        "sweeper=bayess -m seed=1,2",
        "sweeper=bayess: no such option, the options are: bayes bracket cmaes gp grid qmc race",
    ),
    ("-m sweeper=random search=lr sweeper.n_trials=-1", "sweeper.n_trials=-1: must be a whole number >= 1 or null"),
    (
        "-m sweeper=random search=lr sweeper.metric=val/nope sweeper.n_trials=1",
        "sweeper.mode=null: must be min or max: val/nope is not the target's metric",
    ),
    (
        "-m sweeper=race target.value=0.9",
        "race.strategies={}: there is nobody to race; choose a race, as race=quick, or",
    ),
    ("-m sweeper=race race=quick", "target.value=null: a race is about a target; give the value to reach, as targe"),
    ("-m sweeper=race race=quick target.value=0.9 race.seeds=2", "race.seeds=2: must be a whole number >= 4 or null"),
    ("-m sweeper=race race=quick target.value=0.9 race.cap=0", "race.cap=0: must be a whole number >= 1 or null"),
    (
        "-m sweeper=race race=quick target.value=0.9 race.baseline=nobody",
        "race.baseline=nobody: is no strategy, they are: adamw muon nesterov",
    ),
    ("batch.x=nope", "batch.x=nope: no such entry, it is a tuple of 2"),
    ("batch.x=5", "batch.x=5: no such entry, it is a tuple of 2"),
    ("batch.output=logits", "batch.output=logits: is for a net that returns a dict or a tuple, this one ret"),
    ("model._target_=Mine", "model._target_=Mine: must be the dotted name of a class or function, such as m"),
    ("model._target_=kasoku.nets.mlp", "model._target_=kasoku.nets.mlp: is no class or function"),
    (
        "model.net._target_=torch.nn.Linear",
        "model.net=torch.nn.Linear: TypeError: Linear.__init__() missing 2 required pos",
    ),
    ("seed", "seed: is no override; write KEY=VALUE"),
    ("optimizer.lr = 0.1", "optimizer.lr = 0.1: has spaces around =; write optimizer.lr=0.1"),
    ("--lr=0.1", "--lr=0.1: is no option of train.py; to set a value: lr=VALUE"),
    ("-x", "-x: is no option of train.py; to set a value: x=VALUE"),
    ('"optimizer={lr: 0.1"', "optimizer={lr: 0.1: cannot be read: no viable alternative at input '{lr: 0.1';"),
    ("trainer.max_time=soon", "trainer.max_time=soon: must be a time above 0 as DD:HH:MM:SS, such as 00:01:30"),
    ("trainer.max_time=00:00:00:00", "trainer.max_time=00:00:00:00: must be a time above 0 as DD:HH:MM:SS, such as 0"),
    ("hydra.run.dir=", "hydra.run.dir='': must be the name of a folder"),
    ("experiment=nope", "experiment=nope: no such option, the options are: cifar10_cpu cifar10_speedrun"),
    ("+experiment=digits_step", "+experiment=digits_step: an option of this group is chosen already; write expe"),
    ("resume=5", "resume=5: no such directory; give the directory of a run, as runs/train/..."),
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.sample(20)
@pytest.mark.parametrize(("words", "told"), [pytest.param(words, told, id=words) for words, told in TABLE])
def test_the_answer_names_key_value_and_what_must_hold(here, words, told, counted):
    done = command(*FEW, *shlex.split(words), cwd=here, env={"WANDB_MODE": "offline"})
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines) <= 12, "Traceback" in done.stderr) == (2, True, False), done.stderr
    assert lines[0].startswith("wrong configuration")
    assert told in done.stderr
    assert not (here / "runs").exists()
    counted("bad inputs answered")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("reprot", "reprot: is no command; did you mean report?"),
        ("export", "export: is no override; write mode=export"),  # though it is like report
    ],
)
def test_a_misspelt_subcommand(tmp_path, word, told):
    done = command(word, "runs", cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_the_present_folder_stays_when_a_refused_run_gives_its_own_back(tmp_path):
    """Mutant: all empty folders above the run's are removed."""
    done = command(*FEW, "batch.output=x", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())
