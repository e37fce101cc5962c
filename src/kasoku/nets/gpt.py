"""A compact GPT: a decoder-only transformer with learned positions, pre-norm blocks and torch's fused attention."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from kasoku.faults import ConfigError, Fault
from kasoku.signatures import checked

Probability = Annotated[float, Interval(ge=0, lt=1)]
Init = Literal["scaled", "plain", "zero"]
OFFSET_GAIN = 0.9  # of the first attention with attention_init=offsets: scores of 0.8 sqrt(head's width) at the offset


class GPT(nn.Module):
    """int64 [B, T] -> logits [B, T, num_classes]; position t sees positions 0 .. t.

    Args:
        input_shape: [T] of the data.
        num_classes: size of the vocabulary.
        block_size: longest input; None: that of the data.
        n_layer, n_head, n_embd: blocks, attention heads of a block, width.
        dropout: of embeddings, attention weights and residual branches.
        bias: in linear layers and norms.
        tie_weights: whether the output layer is the token embedding.
        init: of the two layers of a block that write to the residual stream: `scaled`, the others' deviation divided by
            sqrt(2 n_layer) (GPT-2, nanoGPT); `plain`, like the others; `zero`.
        init_std: standard deviation of the linear layers' weights; None: 1 / sqrt(inputs).
        embed_std: standard deviation of the embeddings.
        position_init: of the embeddings of the positions, which are learned: `normal`; `sinusoidal`, see `sinusoids`.
        position_std: their root mean square; None: embed_std.
        attention_init: of the first block. `normal`; `offsets`: head h begins by looking h positions back, which is
            what such heads learn first; needs sinusoidal positions and an even width.

    Raises ConfigError naming `model.net.<key>`. Sources: A. Radford et al., "Language Models are Unsupervised Multitask
    Learners", 2019; its CPU size in A. Karpathy's nanoGPT is n_layer 4, n_head 4, n_embd 128, block_size 64, no bias.
    """

    @checked("model.net.")
    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: Annotated[int, Ge(1)],
        block_size: Annotated[int, Ge(1)] | None = None,
        n_layer: Annotated[int, Ge(1)] = 4,
        n_head: Annotated[int, Ge(1)] = 4,
        n_embd: Annotated[int, Ge(1)] = 128,
        dropout: Probability = 0.0,
        bias: bool = False,
        tie_weights: bool = True,
        init: Init = "scaled",
        init_std: Annotated[float, Gt(0)] | None = 0.02,
        embed_std: Annotated[float, Gt(0)] = 0.02,
        position_init: Literal["normal", "sinusoidal"] = "normal",
        position_std: Annotated[float, Gt(0)] | None = None,
        attention_init: Literal["normal", "offsets"] = "normal",
    ):
        super().__init__()
        faults = _misfits(input_shape, block_size, n_head, n_embd)
        if attention_init == "offsets" and (position_init != "sinusoidal" or n_embd % 2):
            must = "needs model.net.position_init=sinusoidal and an even model.net.n_embd"
            faults.append(Fault("model.net.attention_init", attention_init, must))
        if faults:
            raise ConfigError(*faults)
        self.block_size = block_size or input_shape[0]
        self.tokens = nn.Embedding(num_classes, n_embd)
        self.positions = nn.Embedding(self.block_size, n_embd)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(n_embd, n_head, dropout, bias) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd, bias=bias)
        self.head = nn.Linear(n_embd, num_classes, bias=False)
        nn.init.normal_(self.tokens.weight, std=embed_std)
        self._initialize_positions(position_init, position_std or embed_std)
        self._initialize_layers(init, init_std)
        if attention_init == "offsets":
            self._look_back()
        if tie_weights:
            self.head.weight = self.tokens.weight

    def _initialize_positions(self, init: str, std: float) -> None:
        weight = self.positions.weight.data
        if init == "sinusoidal":
            weight.copy_(sinusoids(*weight.shape))
        else:
            nn.init.normal_(weight)
        weight.mul_(std)

    def _initialize_layers(self, init: Init, init_std: float | None) -> None:
        shrink = {"scaled": 1 / math.sqrt(2 * len(self.blocks)), "plain": 1.0, "zero": 0.0}[init]
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                std = init_std or 1 / math.sqrt(module.in_features)
                nn.init.normal_(module.weight, std=std * (shrink if name.endswith(".out") else 1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _look_back(self) -> None:
        """q(t) = G R^h p(t) and k(s) = G p(s) in head h, where R p(t) = p(t - 1) and G has orthogonal rows."""
        first, width = self.blocks[0], self.tokens.embedding_dim
        assert isinstance(first, Block)
        attention = first.attention
        size = width // attention.heads
        for head in range(attention.heads):
            rows, plane = slice(head * size, (head + 1) * size), torch.empty(size, width)
            nn.init.orthogonal_(plane, gain=OFFSET_GAIN)
            attention.key.weight.data[rows] = plane
            attention.query.weight.data[rows] = plane @ turn_back(width, head)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if length > self.block_size:
            raise ConfigError(
                Fault("model.net.block_size", self.block_size, f"must be >= {length}, the input's length")
            )
        h = self.dropout(self.tokens(x) + self.positions.weight[:length])
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


def sinusoids(length: int, width: int) -> Tensor:
    """[length, width], pairs of a sine and a cosine of the position t, of root mean square 1: the embeddings p(t).

    Their frequencies lie evenly between 0 and pi, so up to `width` positions are orthogonal. Those of A. Vaswani et
    al. 2017, arXiv 1706.03762, fall from 1 to 1/10000 in equal ratios, and neighbours are nearly the same.
    """
    angles = torch.outer(torch.arange(length), _frequencies(width))
    return math.sqrt(2) * torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]


def turn_back(width: int, steps: int) -> Tensor:
    """[width, width], the rotation R^steps of each pair of `sinusoids`: R^steps p(t) = p(t - steps)."""
    angles = steps * _frequencies(width)
    cosines, sines = angles.cos(), angles.sin()
    pairs = torch.stack([cosines, -sines, sines, cosines], dim=1).view(-1, 2, 2)
    return torch.block_diag(*pairs)


def _frequencies(width: int) -> Tensor:
    pairs = (width + 1) // 2
    return math.pi * (torch.arange(pairs) + 0.5) / pairs


def _misfits(input_shape: Sequence[int], block_size: int | None, n_head: int, n_embd: int) -> list[Fault]:
    faults = []
    if len(input_shape) != 1:
        must = f"must be [length of a text], it is that of the data: {list(input_shape)}"
        faults.append(Fault("model.net.input_shape", list(input_shape), must, "data=text"))
    elif block_size is not None and block_size < input_shape[0]:
        faults.append(Fault("model.net.block_size", block_size, f"must be >= data.block_size, {input_shape[0]}"))
    if n_embd % n_head:
        faults.append(Fault("model.net.n_embd", n_embd, f"must be a multiple of n_head, {n_head}"))
    return faults


class Block(nn.Module):
    """h + attention(norm(h)), then h + mlp(norm(h))."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool):
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, bias=bias)
        self.attention = Attention(width, heads, dropout, bias)
        self.norm_mlp = nn.LayerNorm(width, bias=bias)
        self.mlp = MLP(width, dropout, bias)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(self.norm_attention(h))
        return h + self.mlp(self.norm_mlp(h))


class Attention(nn.Module):
    """Causal self-attention, softmax(q k^T / sqrt(width / heads)) v in each head.

    Queries, keys and values have a matrix each, so that an optimizer that works on matrices sees three and not one.
    """

    def __init__(self, width: int, heads: int, dropout: float, bias: bool):
        super().__init__()
        self.heads = heads
        self.p = dropout
        self.query, self.key, self.value = (nn.Linear(width, width, bias=bias) for _ in range(3))
        self.out = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (self._split(layer(h)) for layer in (self.query, self.key, self.value))
        p = self.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))

    def _split(self, h: Tensor) -> Tensor:
        """[B, T, C] -> [B, heads, T, C / heads]."""
        return h.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """out(gelu(up(h))), four times as wide inside."""

    def __init__(self, width: int, dropout: float, bias: bool):
        super().__init__()
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.out = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        return self.dropout(self.out(F.gelu(self.up(h))))
