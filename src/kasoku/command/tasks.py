"""The share of task and data in a module: sizes that only the data knows, the loss; a module of one's own has less."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn

from kasoku.command.make import Maker, is_node
from kasoku.config.replaced import FROM_DATA
from kasoku.data.wrapped import classes_of
from kasoku.faults import ConfigError, Fault
from kasoku.training.batches import Batch
from kasoku.training.losses import Function
from kasoku.training.observe import first_batch
from kasoku.training.tasks import Classification, Custom, Task

OUTPUTS = ("num_classes", "num_outputs")  # of a net: what the task needs
SHOWN = ("input_shape", "num_classes")  # by the first batch, by the dataset of a loader

Facts = Callable[[str], Any]


def facts_of(data: pl.LightningDataModule) -> Facts:
    """Facts that `data` states of itself or shows, by name, else None. It is set up where that is needed."""

    def fact(name: str) -> Any:
        if not hasattr(data, name):
            data.prepare_data()
            data.setup("fit")
        value = getattr(data, name, None)
        if value is None and name in SHOWN:
            value = _shown(data, name)
        return list(value) if isinstance(value, tuple) else value

    return fact


def _shown(data: pl.LightningDataModule, name: str) -> Any:
    try:
        if name == "num_classes":
            return classes_of(data.train_dataloader())
        batch = first_batch(data)
    except Exception:  # of foreign data, whatever it is: what it does not show is asked for
        return None
    x = batch[0] if isinstance(batch, tuple | list) else None
    return list(x.shape[1:]) if isinstance(x, Tensor) else None


def make_task(maker: Maker, node: DictConfig | None, fact: Facts) -> Task | None:
    """The task that `node` names, what the data knows filled in; None where it is at fault, which is noted."""
    if not node:
        return Classification()
    filled = _resolved(node)
    if not maker.attempt(lambda: _fill(filled, fact)):
        return None
    made = maker.make(filled, "task")
    return maker.of_kind(made, isinstance(made, Task), "task", filled, "Task of kasoku.training.tasks")


def fill(maker: Maker, model: DictConfig, task: Task, fact: Facts) -> bool:
    """Put in the place of each null in `model` what data and task say; True.

    The net's outputs are as many as the task needs; what a metric takes of it and is not given at all is filled in too.
    Where the data says nothing, a net keeps its default, and a metric takes the number of outputs that the net has.
    """
    net = model.get("net")
    outputs = task.num_outputs(fact)
    if isinstance(net, DictConfig):
        _fill(net, lambda name: outputs if name in OUTPUTS else fact(name))
        _keep_defaults(net, maker.locate(net, "model.net"))
        outputs = outputs or _outputs_of(net, maker.locate(net, "model.net"))

    def of_metrics(name: str) -> Any:
        if name == "task":
            return task.of_torchmetrics
        said = fact("num_outputs" if name == "num_labels" else name)
        is_open = said is None and name in (*OUTPUTS, "num_labels")
        return outputs if is_open and outputs and outputs > 1 else said  # one output is of two classes, or none

    for name, node in model.items():
        if name != "net" and isinstance(node, DictConfig):
            _fill(node, of_metrics if name == "metrics" else fact)
    return True


def _keep_defaults(node: DictConfig, target: Callable[..., Any] | None) -> None:
    """Leave out of `node` what the data does not say and `target` has a default for."""
    for name, parameter in (_parameters(target) if target else {}).items():
        if name in FROM_DATA and name in node and node[name] is None and not _is_required(parameter):
            del node[name]


def _outputs_of(node: DictConfig, target: Callable[..., Any] | None) -> int | None:
    """The outputs of a net by its arguments or their defaults; None where neither says."""
    known = _parameters(target) if target else {}
    for name in OUTPUTS:
        value = node.get(name, known[name].default if name in known else None)
        if isinstance(value, int):
            return value
    return None


def offer(node: DictConfig, target: Callable[..., Any], optional: bool = False) -> DictConfig:
    """`node` with a null for each value of FROM_DATA that `target` requires, or with `optional` takes, and lacks.

    A null that `target` does not take was for the class that it replaces, and goes.
    """
    parameters = _parameters(target)
    for name in [name for name in FROM_DATA if name in node and node[name] is None and name not in parameters]:
        del node[name]
    for name, parameter in parameters.items():
        is_open = parameter.default is parameter.empty or (optional and parameter.default is None)
        if name in FROM_DATA and name not in node and is_open:
            node[name] = None
    return node


def unsaid(key: str, node: DictConfig, target: Callable[..., Any]) -> Fault | None:
    """The fault of a metric that asks for a number which neither the data nor the net says."""
    for name, parameter in _parameters(target).items():
        if name in FROM_DATA and name in node and node[name] is None and _is_required(parameter):
            fix = f"give it: {key}.{name}=NUMBER, or let the data have an attribute num_classes"
            return Fault(f"{key}.{name}", None, "neither the data nor the net says how many there are", fix)
    return None


def lacking(net: DictConfig, target: Callable[..., Any], task: Task) -> Fault | None:
    """The fault of a net whose number of outputs, or whose inputs, nobody says."""
    parameters = _parameters(target)
    shape = "input_shape"
    if shape in net and net[shape] is None and _is_required(parameters.get(shape)):
        must = "the data does not say the shape of a sample"
        return Fault(f"model.net.{shape}", None, must, f"give it: model.net.{shape}=[3,32,32], as an example")
    for name in OUTPUTS:
        if name in net and net[name] is None and _is_required(parameters.get(name)):
            must = f"the data does not say how many outputs task={task.name} needs"
            return Fault(f"model.net.{name}", None, must, f"give it: model.net.{name}=NUMBER")
    return None


def make_loss(maker: Maker, node: DictConfig | None, task: Task) -> nn.Module | None:
    """The loss that `node` names; the task's where it names none. A function of (outputs, targets) is bound."""
    if not node:
        return task.default_loss()
    node, target = _fitting(maker, node, task), maker.locate(node, "model.loss")
    if target is not None and _takes_pairs(target, node):
        node["_partial_"] = True
    made = maker.make(node, "model.loss")
    if made is None or isinstance(made, nn.Module):
        return made
    return maker.attempt(lambda: _as_module(made))


def left_to(maker: Maker, model: DictConfig, task: Task) -> DictConfig:
    """`model` less the loss and metrics of the task, which a LightningModule of one's own has itself.

    Raises:
        ConfigError: the module takes an argument of that name, and it is not clear whose it is to be.
    """
    module, rest, faults = maker.locate(model, "model"), _resolved(model), list[Fault]()
    for name in ("loss", "metrics"):
        if module is None or name not in rest:
            continue
        if not _is_the_tasks(name, rest[name], task):
            rest[name] = _fitting(maker, rest[name], task)
        elif name not in _parameters(module) or isinstance(task, Custom):
            del rest[name]
        else:
            must = f"the one of task={task.name} would be given to {module.__qualname__}, which takes a {name}"
            faults.append(Fault(f"model.{name}", rest[name], must, "add task=custom, and give the module its own"))
    if faults:
        raise ConfigError(*faults)
    return rest


def batch_of(node: DictConfig | None) -> Batch:
    """The entries of the batches as `node` has them."""
    values: Any = OmegaConf.to_container(node, resolve=True) if node else {}
    return Batch(**values)


def _is_the_tasks(name: str, value: Any, task: Task) -> bool:
    """True if loss or metrics are those that the task has by default, as far as that shows."""
    if name == "metrics":
        return isinstance(value, DictConfig)
    default = task.default_loss
    return is_node(value) and str(value["_target_"]).rpartition(".")[2] == default.__name__


def _fitting(maker: Maker, node: Any, task: Task) -> Any:
    """A loss without settings of the task's own, at their default, that the class in its place does not take."""
    target = maker.locate(node, "model.loss") if is_node(node) else None
    if target is None:
        return node
    rest, known, own = _resolved(node), _parameters(target), _parameters(task.default_loss)
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return rest
    for name in [name for name in rest if name not in known and name in own and rest[name] == own[str(name)].default]:
        del rest[name]
    return rest


def _takes_pairs(target: Callable[..., Any], node: Mapping[str, Any]) -> bool:
    """True if `target` is a function that lacks two arguments by place: outputs and targets."""
    if inspect.isclass(target):
        return False
    places = [p for p in _parameters(target).values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len([p for p in places if p.default is p.empty and p.name not in node]) >= 2


def _as_module(made: Any) -> nn.Module:
    if not callable(made):
        must = "must be a torch module or a function of (outputs, targets)"
        raise ConfigError(Fault("model.loss", type(made).__name__, must))
    return Function(made)


def _fill(node: DictConfig, fact: Facts) -> bool:
    for key, value in node.items():
        for inner in (value,) if isinstance(value, DictConfig) else value if isinstance(value, ListConfig) else ():
            if isinstance(inner, DictConfig):
                _fill(inner, fact)
        if key in FROM_DATA and value is None:
            node[key] = fact(str(key))
    return True


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except ValueError:  # written in C
        return {}


def _is_required(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is parameter.empty


def _resolved(node: DictConfig) -> DictConfig:
    copied: Any = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    return copied
