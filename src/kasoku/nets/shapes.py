"""The shapes that nets take, said before a layer is made."""

from collections.abc import Sequence

from kasoku.faults import ConfigError, Fault


def image(input_shape: Sequence[int], fix: str = "", least: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of `input_shape`, both sides at least `least` pixels.

    Raises:
        ConfigError: it is no image, or too small a one; `fix` says what to do.
    """
    if len(input_shape) == 3 and min(input_shape[1:]) >= least:
        channels, height, width = input_shape
        return channels, height, width
    smallest = f" with at least {least} pixels a side" if least > 1 else ""
    must = f"must be [channels, height, width]{smallest}"
    raise ConfigError(Fault("model.net.input_shape", list(input_shape), must, fix))
