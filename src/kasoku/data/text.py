"""Text for language models: a file of characters, bytes or token ids, split by position."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval

from kasoku.data.memory import Count, InMemory, Seed
from kasoku.data.tokens import Level, Sampling, Windows, read
from kasoku.faults import ConfigError, Fault
from kasoku.files import kind
from kasoku.signatures import checked


class Text(InMemory):
    """x int64 [B, block_size], y int64 [B, block_size]: y is x one position later.

    The file's first part is for training, then come validation and test (`test_fraction` 0: tested on validation). They
    share no token. Training windows are described at `kasoku.data.tokens.Windows`; validation covers its whole part
    once in windows side by side, the last of them shorter (left out where several processes share the work).
    Raises ConfigError naming `data.<key>`.
    """

    @checked("data.")
    def __init__(
        self,
        *,
        path: str | None,
        level: Level = "char",
        dtype: str | None = None,
        encoding: str | None = None,
        block_size: Count = 64,
        batch_size: Count = 12,
        eval_batch_size: Count = 64,
        val_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
        test_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        sampling: Sampling = "random",
        vocab_size: Annotated[int, Ge(1)] | None = None,
        drop_last: bool = True,
        seed: Seed = 0,
    ):
        if val_fraction + test_fraction >= 1:
            must = f"val_fraction + test_fraction must be below 1, test_fraction is {test_fraction}"
            raise ConfigError(Fault("data.val_fraction", val_fraction, must))
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, drop_last=drop_last, seed=seed)
        self.path = existing(path)
        self.origin = "data.path", path
        self.level = level
        self.dtype = dtype
        self.encoding = encoding
        self.fractions = val_fraction, test_fraction
        self.sampling = sampling
        self.block_size = self.tokens_per_sample = block_size
        self.vocab_size = vocab_size
        self.input_shape = (block_size,)

    def load(self) -> tuple[Windows, Windows, Windows]:
        """Read the file, check its ids against `vocab_size`, and cut it."""
        tokens = read(self.path, self.level, self.dtype, self.encoding)
        if self.vocab_size is not None and self.vocab_size < tokens.num_classes:
            must = f"must be >= {tokens.num_classes}, which {self.path} needs"
            raise ConfigError(Fault("data.vocab_size", self.vocab_size, must))
        self.num_classes = self.vocab_size or tokens.num_classes
        self.characters = tokens.characters
        size, (val, test) = len(tokens.ids), self.fractions
        ends = [int(size * (1 - val - test)), int(size * (1 - test)), size]
        parts = [tokens.ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        self._check_length(min(len(part) for part in parts if len(part) or part is not parts[2]))
        windows = [Windows(part, tokens.table, self.block_size, self.sampling) for part in parts]
        return windows[0], windows[1], windows[2] if test else windows[1]

    def _check_length(self, shortest: int) -> None:
        if shortest < 2 * self.block_size:
            must = f"must be at most half of the shortest part of {self.path}, which has {shortest} tokens"
            raise ConfigError(Fault("data.block_size", self.block_size, must))


def existing(path: str | None) -> Path:
    """`path` as a file that is there. ConfigError otherwise."""
    if path is None:
        raise ConfigError(Fault("data.path", None, "must name a text or token file", "data.path=FILE"))
    if (noun := kind(Path(path))) != "file":
        raise ConfigError(Fault("data.path", path, "there is no such file" if noun == "nothing" else f"is a {noun}"))
    if not Path(path).stat().st_size:
        raise ConfigError(Fault("data.path", path, "is empty"))
    return Path(path)
