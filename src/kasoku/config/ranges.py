"""The ranges of a configuration's values by their keys, as far as they can be told before torch is imported.

The arguments of schedules, warmups, nets, data and user classes state their ranges themselves, see `faults.check_call`.
"""

import re
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Le, MinLen, Predicate

from kasoku.files import Format

Count = Annotated[int, Ge(1)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Memory = Annotated[float, Interval(ge=0, lt=1)]  # of a moving average
Switch = bool | None


def is_name(value: str) -> bool:
    """a plain name of letters, digits, - _ and ."""
    return re.fullmatch(r"\w[\w.-]*", value) is not None


def is_time(value: str | dict[str, Any]) -> bool:
    """a time above 0 as DD:HH:MM:SS, such as 00:01:30:00"""
    if isinstance(value, dict):
        return any(value.values()) and value.keys() <= {"days", "hours", "minutes", "seconds"}
    return re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value) is not None and bool(value.strip("0:"))


def is_strategy(value: str) -> bool:
    """a strategy such as auto, ddp, ddp_find_unused_parameters_true, fsdp or deepspeed_stage_2"""
    return re.fullmatch(r"auto|single_\w+|(ddp|fsdp|deepspeed|xla)(_\w+)?", value) is not None


def is_device_list(value: str) -> bool:
    """indices such as '0,1'"""
    return re.fullmatch(r"\d+(,\d+)*,?", value) is not None


Time = Annotated[str | dict, Predicate(is_time)]
Batches = Annotated[int, Ge(0)] | Annotated[float, Interval(ge=0, le=1)]
SomeBatches = Count | Annotated[float, Interval(gt=0, le=1)]

Mode = Literal["train", "preview", "find_lr", "test", "export"]
ROOT: dict[str, Any] = {
    "mode": Mode,
    "seed": Annotated[int, Interval(ge=0, lt=2**32)],
    "task_name": Annotated[str, Predicate(is_name)],
    "verbosity": Literal["quiet", "normal", "debug"],
    "tags": list[str],
    "resume": str | None,
    "checkpoint": str | None,
    "on_divergence": Literal["stop", "skip", "rewind"],
}

TARGET: dict[str, Any] = {
    "metric": str,
    "value": float | None,
    "mode": Literal["min", "max"],
    "stop": bool,
}

EXPORT: dict[str, Any] = {
    "formats": Annotated[list[Format], MinLen(1)] | None,
}

Entry = str | Annotated[int, Ge(0)]  # of a batch, by name or place

BATCH: dict[str, Any] = {
    "x": Entry | list[Entry] | dict | None,
    "y": Entry | None,
    "output": Entry | None,
}

MODEL: dict[str, Any] = {
    "recipe": Literal["override", "own"],
    "load": Literal["strict", "matching"],
}

DATA: dict[str, Any] = {
    "batch_size": Count,
    "eval_batch_size": Count,
    "num_workers": Annotated[int, Ge(0)],
}

OPTIMIZER: dict[str, Any] = {
    "lr": Positive,
    "weight_decay": NotNegative,
    "scale_lr": Literal["none", "linear", "sqrt"],
    "reference_batch_size": Count,
    "scale_steps": Literal["none", "sqrt"],
    "reference_steps": Count,
}

FIND_LR: dict[str, Any] = {
    "steps": Annotated[int, Ge(25)],
    "start": Positive,
    "end": Positive,
    "suggestion": Literal["valley", "slide", "steepest", "minimum"],
}

KNOWN_OPTIMIZER: dict[str, Any] = OPTIMIZER | {
    "momentum": Memory,
    "betas": tuple[Memory, Memory] | tuple[Memory, Memory, Memory],
}

TORCH_OPTIMIZER: dict[str, Any] = KNOWN_OPTIMIZER | {
    "dampening": Annotated[float, Interval(ge=0, le=1)],
    "nesterov": bool,
    "betas": tuple[Memory, Memory],
    "alpha": Memory,
    "rho": Memory,
    "eps": Positive | tuple[Positive | None, Positive],
    "amsgrad": bool,
    "centered": bool,
    "decoupled_weight_decay": bool,
    "lr_decay": NotNegative,
    "initial_accumulator_value": NotNegative,
    "momentum_decay": NotNegative,
    "beta2_decay": Annotated[float, Le(0)],
    "d": Annotated[float, Ge(1)],
    "maximize": bool,
    "fused": Switch,
    "foreach": Switch,
}

TRAINER: dict[str, Any] = {
    "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "devices": Literal["auto", -1] | Count | list[Annotated[int, Ge(0)]] | Annotated[str, Predicate(is_device_list)],
    "strategy": Annotated[str, Predicate(is_strategy)] | dict,
    "num_nodes": Count,
    "precision": Literal[
        "auto",  # ours
        "32-true",
        "bf16-mixed",
        "16-mixed",
        "bf16-true",
        "16-true",
        "64-true",
        "transformer-engine",
        "transformer-engine-float16",
        "bf16",  # as the numbers, a short name of Lightning's
        16,
        32,
        64,
    ],
    "max_epochs": Count | Literal[-1] | None,
    "min_epochs": Count | None,
    "max_steps": Count | Literal[-1],
    "min_steps": Count | None,
    "max_time": Time | None,
    "accumulate_grad_batches": Count,
    "compile": bool,
    "channels_last": bool,
    "gradient_clip_val": Positive | None,
    "gradient_clip_algorithm": Literal["norm", "value"] | None,
    "log_every_n_steps": Count,
    "check_val_every_n_epoch": Count | None,
    "val_check_interval": SomeBatches | Time | None,
    "limit_train_batches": SomeBatches | None,
    "limit_val_batches": Batches | None,
    "limit_test_batches": Batches | None,
    "overfit_batches": Batches,
    "num_sanity_val_steps": Annotated[int, Ge(-1)],
    "reload_dataloaders_every_n_epochs": Annotated[int, Ge(0)],
    "deterministic": bool | Literal["warn"] | None,
    "benchmark": Switch,
    "detect_anomaly": bool,
    "sync_batchnorm": bool | Literal["auto"],
    "inference_mode": bool,
}
