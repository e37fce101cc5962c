"""Lengths in the unit that suits them: `500` steps, `"3ep"`, `"10%"` of the run, `"50000samples"`, `"1e6tokens"`.

Everything else in the project counts optimizer steps; `to_steps` is the one place where lengths become them.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

GRAMMAR = "500 (steps), 3ep, 10% (of the run), 50000samples or 1e6tokens"

HIDDEN = "unknown where max_time alone ends the run or data has no length"  # total steps

# Bounded digits and exponent: lengths are exact arithmetic, which a "1e999999999" would keep busy for good.
_LENGTH = re.compile(r"(\d{1,18}(?:\.\d{1,18})?(?:e[+-]?\d{1,2})?)(ep|%|samples|tokens|)", re.ASCII)


@dataclass(frozen=True)
class Clock:
    """The facts that turn lengths into optimizer steps; None stands for one that a run does not know.

    `total`: optimizer steps of the run.  `epoch`: optimizer steps of an epoch, the last and smaller accumulation
    included.  `samples`, `tokens`: seen by one optimizer step over all devices and accumulated batches.  `has_length`:
    of the data; an iterable that has none leaves `total` and `epoch` unknown.
    """

    total: int | None
    epoch: int | None = None
    samples: int | None = None
    tokens: int | None = None
    has_length: bool = True


class Unknown(ValueError):
    """A length needs a `fact` that its clock does not know: total, epoch, samples or tokens."""

    def __init__(self, fact: str, text: str):
        self.fact = fact
        super().__init__(text)


def parse(length: object) -> tuple[Fraction, str]:
    """The number of a length and its unit: "ep", "%", "samples", "tokens", or "" for optimizer steps.

    Raises ValueError, saying what the length must be.

    >>> parse("2.5ep")
    (Fraction(5, 2), 'ep')
    """
    if must := violated(length):
        raise ValueError(f"{length!r} {must}")
    return _read(length)


def violated(length: object, least: int = 0) -> str:
    """The condition that `length` fails to be read as one of `least` steps or more; "" if it holds.

    Whether "1ep" is long enough shows at conversion only; here a zero in any unit fails a `least` of 1 or more.

    >>> violated("3ep"), violated("120%")
    ('', 'must be at most 100% of the run')
    """
    try:
        number, unit = _read(length)
    except ValueError:
        return f"must be a length: {GRAMMAR}"
    if unit == "%" and number > 100:
        return "must be at most 100% of the run"
    if number < (least if unit == "" else 0) or (number == 0 and least > 0):
        return f"must be a length of {least} step{'s' * (least != 1)} or more: {GRAMMAR}"
    return ""


def to_steps(length: int | str, clock: Clock) -> int:
    """`length` in optimizer steps: rounded to the nearest, and at least one step unless it is zero.

    Percent are of the whole run: max(1, round(p * total)). Raises ValueError when the length cannot be read, and
    Unknown when `clock` lacks what its unit needs, which is then named.

    >>> clock = Clock(total=500, epoch=40, samples=32)
    >>> to_steps("10%", clock), to_steps("0.5ep", clock), to_steps("1e3samples", clock), to_steps(7, clock)
    (50, 20, 31, 7)
    """
    number, unit = parse(length)
    if unit == "":
        return int(number)
    steps = number * _steps_per(unit, clock)
    return max(1, round(steps)) if steps else 0


def _read(length: object) -> tuple[Fraction, str]:
    if isinstance(length, bool) or not isinstance(length, int | float | str):
        raise ValueError(f"{length!r} is no length")
    # 1e3 typed on the command line arrives as the number 1000.0
    text = f"{length:.17g}" if isinstance(length, float) else str(length)
    match = _LENGTH.fullmatch(text)
    if match is None or (match[2] == "" and Fraction(match[1]).denominator != 1):
        raise ValueError(f"{length!r} is no length")
    return Fraction(match[1]), match[2]


def _steps_per(unit: str, clock: Clock) -> Fraction:
    match unit:
        case "%":
            return Fraction(_known(clock, "total", "%", "the run's total steps", "give trainer.max_steps"), 100)
        case "ep":
            return Fraction(_known(clock, "epoch", "epochs", "the steps of an epoch", "give it in steps"))
        case "samples":
            needed = "the samples of a step"
            return Fraction(1, _known(clock, "samples", "samples", needed, "give it in steps"))
        case _:
            needed = "the tokens of a step"
            return Fraction(1, _known(clock, "tokens", "tokens", needed, "give it in samples or steps"))


def _known(clock: Clock, fact: str, unit: str, needed: str, fix: str) -> int:
    count: int | None = getattr(clock, fact)
    if count is None:
        maybe = HIDDEN if fact == "total" else "which this run does not know"
        hidden = maybe if clock.has_length else "and this data has no length"
        raise Unknown(fact, f"a length in {unit} needs {needed}, {hidden}: {fix}")
    return count
