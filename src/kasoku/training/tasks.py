"""Tasks: how outputs and targets are paired, what metrics see, what targets must be, how many outputs a net needs.

B is the batch, C the classes, K labels or numbers of a sample, T the positions of a sequence, [...] any axes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kasoku.faults import ConfigError, Fault
from kasoku.training.losses import OfTheNet, takes_probabilities
from kasoku.training.pairing import Pair, described, elements, rows, shown

Outputs = Literal["logits", "probabilities"]


class Task(ABC):
    """The way in which the outputs of a net and the targets of a batch belong together.

    A task of one's own derives from this, or from one of the others, and is chosen by `task._target_`.
    """

    name: ClassVar[str]
    pairs: ClassVar[str]  # the shapes, in words
    default_loss: ClassVar[type[nn.Module]]
    of_torchmetrics: ClassVar[str | None] = None  # what torchmetrics calls it

    @abstractmethod
    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        """Both as the loss takes them, element beside element; None where their shapes or kinds do not pair."""

    def pair(self, outputs: Any, y: Any) -> tuple[Any, Any]:
        """Both as the loss takes them; nothing is ever broadcast.

        Raises:
            ConfigError: they do not pair; it names both shapes.
        """
        both = isinstance(outputs, Tensor) and isinstance(y, Tensor)
        found = self.paired(outputs, y) if both else None
        if found is None:
            raise ConfigError(self._misfit(outputs, y))
        return found

    def seen(self, outputs: Any, y: Any) -> tuple[Any, Any]:
        """Paired outputs and targets as metrics take them."""
        return outputs, y

    def faults(self, outputs: Any, y: Any, loss: nn.Module, classes: int | None) -> Iterable[Fault]:
        """Faults of paired outputs and targets of a first batch, where the data says it has `classes`."""
        return ()

    def weight(self, y: Any, loss: nn.Module) -> Tensor | int:
        """The number of paired targets that the mean `loss` of a batch is taken over."""
        return y.numel() if isinstance(y, Tensor) else 1

    def num_outputs(self, fact: Callable[[str], Any]) -> int | None:
        """The number of outputs that a net needs; `fact(name)` is what the data says of itself, or None."""
        return fact("num_classes")

    def _misfit(self, outputs: Any, y: Any) -> Fault:
        if y is None:
            must = "batches have no targets, and the net returns no dict with a `loss`"
            return Fault("batch.y", None, must, "say which entry they are: batch.y=NAME")
        if not isinstance(outputs, Tensor):
            must = f"the net gives {shown(outputs)}, task={self.name} takes one tensor"
            return Fault("batch.output", None, must, "say which: batch.output=NAME (or a number), or task=custom")
        others = [task.name for task in TASKS if task.name != self.name and _takes(task(), outputs, y)]
        fix = f"these pair under task={', '.join(others)}" if others else "change the net's outputs or the targets"
        if not others and isinstance(y, Tensor) and outputs.ndim == y.ndim == 2 and len(outputs) == len(y):
            fix = f"give the net {y.shape[1]} outputs: model.net.num_classes={y.shape[1]}"
        return Fault("task", self.name, f"pairs {self.pairs}, and got {described(outputs, y)}", fix)


class _Classes(Task):
    """Targets that are classes: whole numbers from 0 to C - 1."""

    default_loss = nn.CrossEntropyLoss
    of_torchmetrics = "multiclass"

    def faults(self, outputs: Tensor, y: Tensor, loss: nn.Module, classes: int | None) -> Iterable[Fault]:
        count, ignored = outputs.shape[1], getattr(loss, "ignore_index", None)
        if classes and count < classes:
            must = f"gives {count} outputs, the data has {classes} classes"
            yield Fault("model.net.num_classes", count, must, "leave it null, or give as many")
        if y.is_floating_point():
            return
        found = y if ignored is None else y[y != ignored]
        if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < count:
            must = f"targets must be 0 to {count - 1} for {count} outputs, found {found.min()} to {found.max()}"
            fix = "number the classes from 0; what belongs to none: +model.loss.ignore_index=NUMBER"
            yield Fault("task", self.name, must, fix)

    def weight(self, y: Tensor, loss: nn.Module) -> Tensor | int:
        """The sum of the weights of the targets' classes, those left out that the loss ignores."""
        weights, ignored = getattr(loss, "weight", None), getattr(loss, "ignore_index", None)
        if y.is_floating_point():
            return len(y)
        kept = torch.ones_like(y, dtype=torch.bool) if ignored is None else y != ignored
        return kept.sum() if weights is None else torch.where(kept, weights[torch.where(kept, y, 0)], 0.0).sum()


@dataclass(frozen=True)
class Classification(_Classes):
    """One class of C for each sample, or each position.

    | outputs | targets | the loss sees |
    |---|---|---|
    | [B, C] | whole [B] or [B, 1] | [B, C], [B] |
    | [B, ..., C] | whole [B, ...] | [N, C], [N], N the product of the axes before C |
    | [B, ..., C] | floating, the same shape: shares of classes | [N, C], [N, C] |

    Metrics see probabilities [N, C] and classes [N].
    """

    name = "classification"
    pairs = "outputs [B, C] with whole numbers [B], or [B, T, C] with [B, T]"
    targets: str = "classes"

    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        return rows(outputs, y)

    def seen(self, outputs: Tensor, y: Tensor) -> Pair:
        return outputs.float().softmax(-1), y.argmax(-1) if y.is_floating_point() else y


@dataclass(frozen=True)
class LanguageModelling(_Classes):
    """The next token: outputs [B, T, V], targets whole [B, T] -> [B T, V], [B T], V the size of the vocabulary.

    Metrics see the same.
    """

    name = "language_modelling"
    pairs = "outputs [B, T, V] with whole numbers [B, T]"
    targets: str = "tokens"

    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        return rows(outputs, y) if y.ndim > 1 and not y.is_floating_point() else None


@dataclass(frozen=True)
class Segmentation(_Classes):
    """One class of C for each place: outputs [B, C, H, W], targets whole [B, H, W] or [B, 1, H, W]; any number of axes.

    The loss sees [B, C, H, W] and [B, H, W], metrics probabilities and classes of these shapes.
    """

    name = "segmentation"
    pairs = "outputs [B, C, H, W] with whole numbers [B, H, W] or [B, 1, H, W]"
    targets: str = "maps"

    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        if outputs.ndim < 3 or y.is_floating_point():
            return None
        if y.ndim == outputs.ndim and y.shape[1] == 1:
            y = y.squeeze(1)
        return (outputs, y.long()) if outputs.shape[:1] + outputs.shape[2:] == y.shape else None

    def seen(self, outputs: Tensor, y: Tensor) -> Pair:
        return outputs.float().softmax(1), y


class _Decisions(Task):
    """Targets of 0 and 1."""

    default_loss = nn.BCEWithLogitsLoss
    outputs: Outputs

    def seen(self, outputs: Tensor, y: Tensor) -> Pair:
        probabilities = outputs.float() if self.outputs == "probabilities" else outputs.float().sigmoid()
        return probabilities, (y >= 0.5).long()

    def faults(self, outputs: Tensor, y: Tensor, loss: nn.Module, classes: int | None) -> Iterable[Fault]:
        if y.numel() and not 0 <= float(y.min()) <= float(y.max()) <= 1:  # NaN is not either
            must = f"targets must be 0 or 1, found {float(y.min()):g} to {float(y.max()):g}"
            yield Fault("task", self.name, must, "or choose another task")
        elif self.outputs == "logits" and takes_probabilities(loss, outputs[:1], y[:1]):
            fix = "where the net ends in a sigmoid: task.outputs=probabilities; else a loss of logits"
            yield Fault("task.outputs", "logits", f"the loss, {loss._get_name()}, takes probabilities", fix)
        elif self.outputs == "probabilities" and isinstance(loss, self.default_loss):
            must = f"the loss, {loss._get_name()}, takes logits"
            yield Fault("task.outputs", "probabilities", must, "choose model.loss._target_=torch.nn.BCELoss")


@dataclass(frozen=True)
class Binary(_Decisions):
    """Yes or no. Outputs and targets of one shape, or one of them with one axis of length 1 more ([B, 1] and [B]).

    Targets are 0 and 1, or shares in between, of any type. Metrics see probabilities and whole numbers.

    Args:
        targets: what data of tables make of the target column.
        outputs: logits, or probabilities where the net ends in a sigmoid.
    """

    name = "binary"
    of_torchmetrics = "binary"
    pairs = "outputs and targets of one shape, or [B, 1] and [B]"
    targets: str = "binary"
    outputs: Outputs = "logits"

    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        return elements(outputs, y)

    def num_outputs(self, fact: Callable[[str], Any]) -> int:
        return 1


@dataclass(frozen=True)
class Multilabel(_Decisions):
    """Any number of K labels: outputs [B, K, ...] and targets [B, K, ...], 0 and 1 of any type.

    Metrics see probabilities and whole numbers.
    """

    name = "multilabel"
    of_torchmetrics = "multilabel"
    pairs = "outputs [B, K] with targets [B, K]"
    targets: str = "labels"
    outputs: Outputs = "logits"

    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        return elements(outputs, y) if outputs.ndim > 1 and outputs.shape == y.shape else None

    def num_outputs(self, fact: Callable[[str], Any]) -> int | None:
        return fact("num_outputs")


@dataclass(frozen=True)
class Regression(Task):
    """Numbers. Outputs and targets of one shape, or one of them with one axis of length 1 more ([B, 1] and [B]).

    Metrics see [B] or [B, K], in the targets' own unit.

    Args:
        targets: what data of tables make of the target columns.
        target_mean, target_std: of each of the K numbers, where the data has standardised them.
    """

    name = "regression"
    pairs = "outputs and targets of one shape, or [B, 1] and [B]"
    default_loss = nn.MSELoss
    targets: str = "numbers"
    target_mean: Sequence[float] | None = None
    target_std: Sequence[float] | None = None

    def paired(self, outputs: Tensor, y: Tensor) -> Pair | None:
        return elements(outputs, y)

    def seen(self, outputs: Tensor, y: Tensor) -> Pair:
        outputs, y = self._in_their_unit(outputs), self._in_their_unit(y)
        return (outputs, y) if outputs.ndim < 2 else (outputs.flatten(1), y.flatten(1))

    def faults(self, outputs: Tensor, y: Tensor, loss: nn.Module, classes: int | None) -> Iterable[Fault]:
        if not torch.isfinite(y).all():
            yield Fault("task", self.name, "targets must be finite numbers, found NaN or infinity among them")

    def num_outputs(self, fact: Callable[[str], Any]) -> int:
        return fact("num_outputs") or 1

    def _in_their_unit(self, values: Tensor) -> Tensor:
        values = values.float()
        if self.target_mean is None or self.target_std is None:
            return values
        mean, std = values.new_tensor(self.target_mean), values.new_tensor(self.target_std)
        return values * (std[0] if values.ndim == 1 else std) + (mean[0] if values.ndim == 1 else mean)


@dataclass(frozen=True)
class Custom(Task):
    """Anything: loss and metrics see what the net gives and the targets as they are."""

    name = "custom"
    pairs = "anything"
    default_loss = OfTheNet
    targets: str = "any"

    def paired(self, outputs: Tensor, y: Tensor) -> Pair:
        return outputs, y

    def pair(self, outputs: Any, y: Any) -> tuple[Any, Any]:
        return outputs, y

    def num_outputs(self, fact: Callable[[str], Any]) -> int | None:
        return fact("num_outputs") or fact("num_classes")


TASKS: tuple[type[Task], ...] = (Classification, Binary, Multilabel, Regression, LanguageModelling, Segmentation)


def _takes(task: Task, outputs: Any, y: Any) -> bool:
    return isinstance(outputs, Tensor) and isinstance(y, Tensor) and task.paired(outputs, y) is not None
