"""A module looked at before it is trained: the sizes that a first batch decides, and the flow of data through it."""

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torchmetrics import Metric

from kasoku.faults import ConfigError, Fault
from kasoku.optim import layers
from kasoku.optim.flow import Flow, evaluating, mapped, observe, tensors
from kasoku.optim.weights import layer_of
from kasoku.training.batch_norm import first_batches, training_batches
from kasoku.training.copies import copied

log = logging.getLogger("kasoku")

FEW = 2  # samples that are enough to see the flow
_FLOWS: WeakKeyDictionary[nn.Module, Flow | None] = WeakKeyDictionary()


def uninitialised(module: nn.Module) -> list[str]:
    """The names of the parameters and buffers whose size the first call decides, as those of LazyLinear."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in named if isinstance(tensor, UninitializedParameter | UninitializedBuffer)]


def first_batch(data: pl.LightningDataModule) -> Any:
    """The first training batch of `data`, before there is a trainer; whatever foreign data raises is raised."""
    with isolate_rng():
        data.prepare_data()
        data.setup("fit")
        return next(iter(first_batches(data.train_dataloader(), 1)))


def batch_for_sizes(module: pl.LightningModule, data: pl.LightningDataModule) -> Any:
    """The first training batch of `data`, before there is a trainer.

    Raises:
        ConfigError: there is none.
    """
    try:
        return first_batch(data)
    except Exception as error:  # of foreign data, whatever it is
        must = (
            f"{uninitialised(module)[0]} has no size before a first batch, which the data does not give here: {error}"
        )
        raise ConfigError(Fault("model", type(module).__name__, must, "give its size")) from error


def materialise(module: pl.LightningModule, batch: Any) -> None:
    """Give the parameters without a size theirs by one call on `batch`, before anything needs to know it.

    Raises:
        ConfigError: no call of the module reaches all of them.
    """
    errors: list[Exception] = []
    for call in (_forward, _training_step):
        try:
            with _without_trainer(module), evaluating(module), torch.no_grad(), _quiet():
                call(module, batch)
        except Exception as error:  # of a foreign forward, whatever it is
            errors.append(error)
        if not uninitialised(module):
            for metric in (inner for inner in module.modules() if isinstance(inner, Metric)):
                metric.reset()
            return
    why = f": {type(errors[-1]).__name__}: {errors[-1]}" if errors else ""
    must = f"{uninitialised(module)[0]} has no size, and a call on a training batch gives it none{why}"
    raise ConfigError(
        Fault("model", type(module).__name__, must, "give its size, or the module an example_input_array")
    )


def flow_of(trainer: pl.Trainer, module: pl.LightningModule) -> Flow | None:
    """The flow of data through `module`, by one evaluation of a few training samples; None where it cannot be told.

    It is looked at once. Nothing that training uses is changed by it: see `kasoku.optim.flow.observe`.
    """
    if module not in _FLOWS:
        _FLOWS[module] = _observed(trainer, module)
    return _FLOWS[module]


def _observed(trainer: pl.Trainer, module: pl.LightningModule) -> Flow | None:
    parameters = list(module.parameters())
    if any(hasattr(parameter, "full_tensor") for parameter in parameters):  # sharded: what a call uses is gathered anew
        return None
    best, error = Flow(), None
    with isolate_rng(), trainer.precision_plugin.forward_context(), _quiet():
        batch = trainer.precision_plugin.convert_input(next(iter(training_batches(trainer, 1)), None))
        for attempt in (_by_forward, _by_training_step):
            try:
                flow = attempt(module, _few(batch))
            except Exception as raised:  # of a foreign forward, whatever it is
                error = raised
                continue
            best = max(best, flow, key=lambda one: len(one.first))
            if len(best.first) == len(parameters):
                break
    if best.first:
        return best
    reason = f" ({type(error).__name__}: {error})" if error else ""
    log.info("the flow of data through %s cannot be seen%s", type(module).__name__, reason)
    return None


def _by_forward(module: pl.LightningModule, batch: Any) -> Flow:
    return observe(module, lambda: _forward(module, batch))


def _by_training_step(module: pl.LightningModule, batch: Any) -> Flow:
    """Of a copy without a trainer, for a training step may count, keep or log what it likes."""
    twin = copied(module, "the look at its training_step")
    return observe(twin, lambda: _training_step(twin, batch))


def _forward(module: pl.LightningModule, batch: Any) -> Any:
    """The answer of `forward` to the module's example_input_array, or to the inputs in `batch`."""
    if module.example_input_array is not None:
        example = mapped(lambda tensor: tensor.to(module.device), module.example_input_array)
        return module(*example) if isinstance(example, tuple) else module(example)
    given = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if isinstance(given, Mapping):
        names = inspect.signature(module.forward).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in names.values())
        known = {name: value for name, value in given.items() if open_ended or name in names}
        return module(**known) if known else module(given)
    return module(given)


def _training_step(module: pl.LightningModule, batch: Any) -> Any:
    """The answer of `training_step`; None of one that would take optimizer steps itself."""
    if not module.automatic_optimization:
        return None
    takes_index = len(inspect.signature(module.training_step).parameters) > 1
    return module.training_step(batch, 0) if takes_index else module.training_step(batch)


def _few(batch: Any) -> Any:
    """The first samples of a batch whose tensors have a common first dimension; any other batch as it is."""
    sizes = {tensor.shape[0] if tensor.ndim else 0 for tensor in tensors(batch)}
    return mapped(lambda tensor: tensor[:FEW], batch) if len(sizes) == 1 and sizes.pop() > FEW else batch


@contextmanager
def _without_trainer(module: pl.LightningModule) -> Iterator[None]:
    """Inside the block `module` logs nothing."""
    try:
        trainer = module.trainer
    except RuntimeError:  # it has none
        yield
        return
    module.trainer = None
    try:
        yield
    finally:
        module.trainer = trainer


@contextmanager
def _quiet() -> Iterator[None]:
    """No compilation for a single call, and none of Lightning's words about a module without its trainer."""
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        warnings.simplefilter("ignore")
        yield


def heads_of(trainer: pl.Trainer, module: pl.LightningModule) -> tuple[set[str], str]:
    """The names of the head's parameters, and what tells them."""
    groups = getattr(getattr(module, "recipe", None), "groups", None)
    if groups is not None and groups.head:
        return groups.heads(module), "by optimizer.groups.head"
    flow = flow_of(trainer, module)
    return layers.head(module, flow), "last in the flow of data" if flow else "registered last"


def head_line(trainer: pl.Trainer, module: pl.LightningModule) -> str:
    """A line that says which layer is taken for the head."""
    names, how = heads_of(trainer, module)
    return f"head {' '.join(sorted({layer_of(name) or name for name in names})) or 'none'}, {how}"
