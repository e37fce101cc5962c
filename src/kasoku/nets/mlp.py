"""A multilayer perceptron."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Interval
from torch import Tensor, nn

from kasoku.signatures import checked

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class MLP(nn.Module):
    """[B, *input_shape] -> logits [B, num_classes], through `depth` hidden layers of `hidden` units.

    Raises ConfigError naming `model.net.<key>` for a value out of range.
    """

    @checked("model.net.")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: Annotated[int, Ge(1)],
        hidden: Annotated[int, Ge(1)] = 64,
        depth: Annotated[int, Ge(0)] = 1,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        activation: Literal["relu", "gelu", "silu", "tanh"] = "relu",
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for _ in range(depth):
            layers += [nn.Linear(width, hidden), ACTIVATIONS[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
