"""Tables of text, CSV and its kin: the features of each row, and the target that the task asks for."""

import logging
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from kasoku.data.memory import Count, InMemory, Rows, Seed
from kasoku.data.order import SPLIT, generator, permutation, stratified
from kasoku.data.table import Encoded, Table, as_numbers, is_number, levels_of, of_levels, of_numbers, read
from kasoku.data.text import existing
from kasoku.faults import ConfigError, Fault, show, unknown
from kasoku.signatures import checked

log = logging.getLogger("kasoku")

Targets = Literal["classes", "binary", "labels", "numbers"]
Delimiter = Literal["comma", "semicolon", "tab", "pipe", "space"]
Names = list[str]


class CSV(InMemory):
    """x float32 [B, F], the features of a row; y by `targets`:

    | targets | the column holds | y |
    |---|---|---|
    | classes | any values, each a class | int64 [B] |
    | binary | two values, the first in order being 0 | float32 [B] |
    | labels | two values, of several columns | float32 [B, K] |
    | numbers | numbers, of one column or several | float32 [B] or [B, K] |

    Columns of numbers are standardised and a gap in them put at the mean, other columns have a feature for each of
    their levels; all by the training rows alone, chosen by the seed (for classes and binary stratified).
    After `setup()`: `feature_names`, `classes`, and `num_classes` or `num_outputs` (K).

    Raises ConfigError naming `data.<key>` and the column.
    """

    @checked("data.")
    def __init__(
        self,
        *,
        path: str | None,
        target: str | Names | None,
        targets: Targets,
        features: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        categorical: Sequence[str] = (),
        delimiter: Delimiter = "comma",
        missing: Sequence[str] = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"),
        max_levels: Count = 100,
        standardize: bool = True,
        val_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        test_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.15,
        batch_size: Count = 32,
        eval_batch_size: Count = 1024,
        drop_last: bool = True,
        seed: Seed = 0,
    ):
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, drop_last=drop_last, seed=seed)
        self.path = existing(path)
        self.target, self.targets = target, targets
        self.features, self.exclude, self.categorical = features, exclude, categorical
        self.delimiter, self.missing = delimiter, [*missing, ""]
        self.max_levels, self.standardize = max_levels, standardize
        self.fractions = val_fraction, test_fraction

    def load(self) -> tuple[Rows, Rows, Rows]:
        """Read the file, split its rows, and make features and targets of its columns."""
        table = read(self.path, self.delimiter)
        targets, features = self._columns(table)
        y = self._targets(table, targets)
        kinds = self._kinds(table, features)
        train, val, test = self._parts(table, y)
        encoded = [self._encoded(table, name, kinds[name], train.numpy()) for name in features]
        x = torch.from_numpy(np.concatenate([column.values for column in encoded], 1)).float()
        self.feature_names = [name for column in encoded for name in column.names]
        self.input_shape = (len(self.feature_names),)
        y = self._standardized(y, train)
        _say(features, encoded)
        sets = [Rows(x[part], y[part]) for part in (train, val, test)]
        return sets[0], sets[1], sets[2] if len(test) else sets[1]

    def _columns(self, table: Table) -> tuple[Names, Names]:
        """The columns of the targets, and those of the features in the order of the file."""
        if self.target is None:
            must = f"must name the column to be predicted, there are: {' '.join(table.columns)}"
            raise ConfigError(Fault("data.target", None, must, "data.target=NAME"))
        targets = [self.target] if isinstance(self.target, str) else list(self.target)
        chosen = self.features or [name for name in table.columns if name not in targets]
        features = [name for name in table.columns if name in chosen and name not in self.exclude]
        faults = self._unknown(table, targets)
        if both := [name for name in targets if name in features]:
            faults.append(Fault("data.features", both, "is the target, which it would give away"))
        if not features and not faults:
            faults.append(Fault("data.exclude", list(self.exclude), "leaves no column to predict from"))
        if len(targets) != 1 and (self.targets in ("classes", "binary") or not targets):
            fix = "several: task=multilabel or task=regression"
            faults.append(Fault("data.target", targets, f"must be one column for targets={self.targets}", fix))
        if faults:
            raise ConfigError(*faults)
        return targets, features

    def _unknown(self, table: Table, targets: Names) -> list[Fault]:
        """A fault for each name that is no column."""
        given = {"target": targets, "features": self.features or ()}
        given |= {"exclude": self.exclude, "categorical": self.categorical}
        what = f"no such column in {self.path}, the columns are"
        wrong = [(key, name) for key, names in given.items() for name in names if name not in table.columns]
        return [unknown(f"data.{key}", name, name, table.columns, what) for key, name in wrong]

    def _targets(self, table: Table, names: Names) -> Tensor:
        """The targets as they stand in the file, [N] or [N, K]."""
        columns, faults = list[np.ndarray](), list[Fault]()
        for name in names:
            try:
                columns.append(self._target(table, name))
            except ConfigError as error:
                faults += error.faults
        if faults:
            raise ConfigError(*faults)
        if self.targets != "classes":
            self.num_outputs = len(columns)
        y = torch.from_numpy(columns[0] if isinstance(self.target, str) else np.stack(columns, 1))
        if self.targets in ("classes", "binary"):
            y = y.flatten()
        return y if self.targets == "classes" else y.double()

    def _target(self, table: Table, name: str) -> np.ndarray:
        values = table.columns[name]
        if gaps := [row for row, value in enumerate(values) if value in self.missing]:
            must = f"has no value in {len(gaps)} of {len(table)} rows ({table.where(gaps)})"
            raise ConfigError(Fault("data.target", name, must, "take these rows out of the file"))
        if self.targets == "numbers":
            return self._numbers(table, name)
        levels = levels_of(values)
        self._check_levels(name, levels, len(table))
        place = {level: number for number, level in enumerate(levels)}
        if self.targets == "classes":
            self.classes, self.num_classes = levels, len(levels)
        else:
            log.info("data: %s is 0 for %s and 1 for %s", name, *levels)
        return np.array([place[value] for value in values])

    def _numbers(self, table: Table, name: str) -> np.ndarray:
        values, wrong = as_numbers(table.columns[name], [])
        if wrong:
            must = (
                f"must be a number in every row, {show(table.columns[name][wrong[0]])} ({table.where(wrong)}) is none"
            )
            raise ConfigError(Fault("data.target", name, must, "classes that are texts: task=classification"))
        if values.min() == values.max():
            raise ConfigError(Fault("data.target", name, f"is {values[0]:g} in every row, there is nothing to learn"))
        return values

    def _check_levels(self, name: str, levels: Names, rows: int) -> None:
        if len(levels) == 1:
            must = f"is {levels[0]} in every row, there is nothing to learn"
            raise ConfigError(Fault("data.target", name, must))
        if self.targets != "classes" and len(levels) != 2:
            must = f"must have two values for targets={self.targets}, it has {len(levels)}: {_some(levels)}"
            raise ConfigError(Fault("data.target", name, must, "more than two: task=classification"))
        if len(levels) > self.max_levels:
            must = f"has {len(levels)} different values in {rows} rows, data.max_levels is {self.max_levels}"
            raise ConfigError(Fault("data.target", name, must, "numbers: task=regression"))

    def _kinds(self, table: Table, features: Names) -> dict[str, np.ndarray | None]:
        """The values of each column of numbers, None for each column of levels."""
        kinds, faults = dict[str, np.ndarray | None](), list[Fault]()
        for name in features:
            try:
                kinds[name] = self._kind(table, name)
            except ConfigError as error:
                faults += error.faults
        if faults:
            raise ConfigError(*faults)
        return kinds

    def _kind(self, table: Table, name: str) -> np.ndarray | None:
        values = table.columns[name]
        different = {"" if value in self.missing else value for value in values}
        leave_out = f"leave it out: data.exclude=[{name}]"
        if len(different) == 1:
            raise ConfigError(Fault("data", name, f"is {show(values[0])} in every row, which tells nothing", leave_out))
        if name not in self.categorical:
            numbers, wrong = as_numbers(values, self.missing)
            if not wrong:
                return numbers
            if any(map(is_number, different)):
                text = values[wrong[0]]
                must = f"holds numbers, and {show(text)} ({table.where(wrong)})"
                missing = [
                    word for word in self.missing if word and any(word in column for column in table.columns.values())
                ]
                gap = show([*missing, text])
                fix = f"where that stands for no value: data.missing={gap}; else data.categorical=[{name}]"
                raise ConfigError(Fault("data", name, must, fix))
        if len(different) > self.max_levels:
            must = f"has {len(different)} different values in {len(table)} rows, data.max_levels is {self.max_levels}"
            raise ConfigError(Fault("data", name, must, f"if it only names the row, {leave_out}"))
        return None

    def _parts(self, table: Table, y: Tensor) -> Sequence[Tensor]:
        """The rows for training, validation and test."""
        val, test = (round(len(table) * fraction) for fraction in self.fractions)
        train = len(table) - val - test
        if train < 1 or val < 1:
            must = f"must leave a row for training and one for validation, of {len(table)} it takes {val}"
            raise ConfigError(Fault("data.val_fraction", self.fractions[0], must))
        if self.targets in ("classes", "binary"):
            return stratified(y.numpy(), [train, val, test], self.seed)
        order = permutation(len(table), generator(self.seed, SPLIT))
        return [part.sort().values for part in order.split([train, val, test])]

    def _encoded(self, table: Table, name: str, numbers: np.ndarray | None, train: np.ndarray) -> Encoded:
        if numbers is None:
            return of_levels(name, table.columns[name], train, self.missing)
        return of_numbers(name, numbers, train, self.standardize)

    def _standardized(self, y: Tensor, train: Tensor) -> Tensor:
        """Numbers less their mean, by their standard deviation, over the training rows."""
        if self.targets == "classes":
            return y.long()
        if self.targets == "numbers" and self.standardize:
            mean, std = y[train].mean(0), y[train].std(0, correction=0)
            std = torch.where(std > 0, std, 1.0)
            self.target_mean, self.target_std = mean.reshape(-1).tolist(), std.reshape(-1).tolist()
            y = (y - mean) / std
        return y.float()


def _say(features: Iterable[str], encoded: Iterable[Encoded]) -> None:
    for name, column in zip(features, encoded, strict=True):
        if column.unseen:
            log.warning(
                "data: %s has %d values that no training row has; they are none of its levels", name, column.unseen
            )


def _some(levels: Names) -> str:
    return " ".join(levels[:5]) + (" ..." if len(levels) > 5 else "")
