"""mode=export: the net of a module and a batch of its data found, its files written and told as a table."""

import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from rich.console import Console
from rich.table import Table
from torch import nn

from kasoku import home
from kasoku.faults import ConfigError, Fault
from kasoku.files import Format
from kasoku.optim.flow import mapped
from kasoku.training.batch_norm import first_batches
from kasoku.training.batches import Batch, Inputs
from kasoku.training.export import Exported, Written, export
from kasoku.training.module import Module
from kasoku.training.programs import first

log = logging.getLogger("kasoku")

MOST = 64  # samples that the files are held against
WHY = (
    "Each file was loaded back and given a batch of the data. Allowed is half of the digits of the outputs' type at "
    "the largest output: sums in another order cost a few of the last digits, a wrong weight the first."
)


def net_of(module: pl.LightningModule) -> nn.Module:
    """The net that a module trains: that of kasoku's own Module, one with a forward itself, or what it calls `net`.

    Raises:
        ConfigError: nothing says what the module computes.
    """
    if isinstance(module, Module) and type(module).forward is Module.forward:
        return module.net
    if type(module).forward is not pl.LightningModule.forward:
        return module
    if isinstance(net := getattr(module, "net", None), nn.Module):
        return net
    must = "has neither a forward nor a net, so nothing says what it computes"
    raise ConfigError(Fault("model", type(module).__name__, must, "give it a forward"))


def inputs_of(module: pl.LightningModule, net: nn.Module, data: pl.LightningDataModule, batch: Batch) -> Inputs:
    """The arguments of `net` in a batch of validation, or of training where there is none; at most MOST samples.

    A module of one's own with an `example_input_array` is asked with that.

    Raises:
        ConfigError: the data gives no batch, or none that the net takes.
    """
    if net is module and module.example_input_array is not None:
        example = module.example_input_array
        return Inputs(example, {}) if isinstance(example, tuple) else Inputs((example,), {})
    inputs = first(getattr(module, "batch", batch).split(_batch(module, data), net)[0], MOST)
    is_double = any(tensor.dtype == torch.float64 for tensor in net.parameters())
    return (
        mapped(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, inputs)
        if is_double
        else inputs
    )


def write(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    batch: Batch,
    directory: Path,
    formats: Sequence[Format] | None,
) -> int:
    """Write the files of `module` into `directory` and print them; 0, or 1 where a file did not agree with the net.

    Raises:
        ConfigError: a format that was asked for cannot be had, or net and data do not fit.
    """
    net = net_of(module)
    exported = export(net, inputs_of(module, net, data, batch), directory, formats)
    for name, reason in exported.left_out.items():
        log.info("%s left out: %s", name, reason)
    _print(exported)
    wrong = [one for one in exported.written if one.error]
    for one in wrong:
        log.error("%s: %s, and is not kept", one.path.name, one.error)
    log.info("the files are in %s", home.shown(directory))
    return 1 if wrong else 0


def _batch(module: pl.LightningModule, data: pl.LightningDataModule) -> Any:
    """A batch as a validation step gets it, of training where there is no validation."""
    try:
        with isolate_rng():
            data.prepare_data()
            data.setup("fit")
            for name in ("val_dataloader", "train_dataloader"):
                if (found := _first(data, name)) is not None:
                    return _transferred(module, data, found)
    except ConfigError:
        raise
    except Exception as error:  # of foreign data, whatever it is
        must = f"gives no batch to hold the files against: {type(error).__name__}: {error}"
        raise ConfigError(Fault("data", type(data).__name__, must)) from error
    raise ConfigError(Fault("data", type(data).__name__, "gives no batch to hold the files against"))


def _first(data: pl.LightningDataModule, name: str) -> Any:
    if getattr(type(data), name) is getattr(pl.LightningDataModule, name):
        return None
    loader = getattr(data, name)()
    while isinstance(loader, list | tuple) and loader:
        loader = loader[0]
    return next(iter(first_batches(loader, 1)), None) if loader else None


def _transferred(module: pl.LightningModule, data: pl.LightningDataModule, batch: Any) -> Any:
    """`batch` after the hooks around its way to the device, which stays the CPU; those of the data come first."""
    for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):
        own = [one for one in (data, module) if getattr(type(one), hook) is not _plain_hook(one, hook)]
        if own:
            batch = getattr(own[0], hook)(batch, 0)
    return batch


def _plain_hook(owner: Any, hook: str) -> Any:
    base = pl.LightningDataModule if isinstance(owner, pl.LightningDataModule) else pl.LightningModule
    return inspect.getattr_static(base, hook)


def _print(exported: Exported) -> None:
    table = Table("format", "file", title="export", title_justify="left")
    for name in ("bytes", "largest difference", "allowed"):
        table.add_column(name, justify="right")
    for one in exported.written:
        table.add_row(
            one.format, one.path.name, f"{one.size:,}", *_difference(one), style="bold" if one.error else None
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(WHY, soft_wrap=False)


def _difference(one: Written) -> tuple[str, str]:
    return f"{one.compared.difference:.3g}", f"{one.compared.allowed:.3g}"
