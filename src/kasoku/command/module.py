"""The LightningModule of a run: one of the user's, or `Module` around the net, loss and metrics that model= names."""

import inspect
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from torch import nn
from torchmetrics import Metric, MetricCollection

from kasoku.command import tasks
from kasoku.command.make import Maker, is_node, nodes, without
from kasoku.config.replaced import OF_THE_RUN
from kasoku.faults import ConfigError, Fault
from kasoku.training.module import Module
from kasoku.training.tasks import Task


def make_module(
    maker: Maker,
    model: DictConfig,
    data: pl.LightningDataModule | None,
    task_node: DictConfig | None = None,
    batch: DictConfig | None = None,
) -> Any:
    """A LightningModule of the user's (`model._target_`), or `Module` around `model.net`."""
    model = _with_offers(maker, without(model, OF_THE_RUN))
    fact = tasks.facts_of(data)
    task = None if data is None else tasks.make_task(maker, task_node, fact)
    if task is None or not maker.attempt(lambda: tasks.fill(maker, model, task, fact)):
        maker.judge(_without_facts(model), "model")
        return None
    if "_target_" in model:
        left = maker.attempt(lambda: tasks.left_to(maker, model, task))
        return None if left is None else maker.attempt(lambda: _lightning_module(maker.make(left, "model"), model))
    net = _net(maker, model.net, task)
    loss = tasks.make_loss(maker, model.get("loss"), task)
    nodes = model.get("metrics") or {}
    metrics = {name: _metric(maker, node, f"model.metrics.{name}") for name, node in nodes.items()}
    at_fault = any(made is None for made in (net, loss, *metrics.values()))
    if at_fault or isinstance(net, pl.LightningModule):
        return net
    return Module(net, loss, metrics, task=task, batch=tasks.batch_of(batch))


def _net(maker: Maker, node: DictConfig, task: Task) -> Any:
    target = maker.locate(node, "model.net")
    if target is not None and (fault := tasks.lacking(node, target, task)):
        maker.faults.append(fault)
        return None
    made = maker.make(node, "model.net")
    return maker.of_kind(made, isinstance(made, nn.Module), "model.net", node, "torch.nn.Module")


def _metric(maker: Maker, node: DictConfig, key: str) -> Any:
    for where, inner in nodes(node, key):
        target = maker.locate(inner, where)
        if inspect.isfunction(target) and {"preds", "target"} <= inspect.signature(target).parameters.keys():
            fix = "name the class that gathers it over an epoch, such as torchmetrics.classification.MulticlassF1Score"
            maker.faults.append(Fault(where, inner["_target_"], "is a function of one batch", fix))
            return None
        if target is not None and (fault := tasks.unsaid(where, inner, target)):
            maker.faults.append(fault)
            return None
    made = maker.make(node, key)
    return maker.of_kind(made, isinstance(made, Metric | MetricCollection), key, node, "metric of torchmetrics")


def _with_offers(maker: Maker, model: DictConfig) -> DictConfig:
    """`model` with nulls for what the classes of net and metrics take from the data and are not given."""
    net = model.get("net")
    for key, node in [*nodes(model.get("metrics"), "metrics"), *([("net", net)] if is_node(net) else [])]:
        target = maker.locate(node, f"model.{key}")
        if target is not None:
            tasks.offer(node, target, optional=key != "net")
    return model


def _lightning_module(module: Any, node: DictConfig) -> Any:
    """`module`, if it is one of the package that trains it.

    Raises:
        ConfigError: it is another Lightning's, or a plain net.
    """
    if module is None or isinstance(module, pl.LightningModule):
        return module
    name = node["_target_"]
    if any(kind.__module__.startswith("lightning.") for kind in type(module).__mro__):
        must = "is a module of the package lightning, imported before kasoku could put pytorch_lightning in its place"
        raise ConfigError(Fault("model._target_", name, must, "write in its file: import pytorch_lightning as L"))
    raise ConfigError(
        Fault("model._target_", name, "is no LightningModule", f"for a plain net: model.net._target_={name}")
    )


def _without_facts(node: DictConfig) -> DictConfig:
    """`node` less what only the data could say."""
    rest = without(node, [key for key, value in node.items() if key in tasks.FROM_DATA and value is None])
    for key, value in rest.items():
        if isinstance(value, DictConfig):
            rest[key] = _without_facts(value)
    return rest
