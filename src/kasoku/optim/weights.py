"""The parameters of a net that are weights, the only ones that decay; the others, which weight decay spares.

A weight multiplies activations: the matrix of a linear layer, the kernel of a convolution, the matrices of an attention
or a recurrent layer. Spared are

1. what has fewer than two dimensions: biases, gains, scales;
2. norms and embeddings;
3. what the net names itself, as timm's do: `no_weight_decay()` of any module inside (names of its parameters or
   modules), `no_weight_decay_keywords()` (parts of names, as Swin's), and parameters with `_no_weight_decay` (Mamba's);
4. bare parameters, those that a module of one's own holds and no layer of torch.nn, if they are broadcast: at most one
   dimension is above 1 (class token [1, 1, C], layer scale [C, 1, 1]), or the first of three or more is 1 (position
   embedding [1, T, C]);
5. bare parameters whose name has a word of SPARED in it and none of WEIGHTS, as the tables without such a dimension
   have by custom: `positional_embedding` [T, C] in CLIP, `relative_position_bias_table` [offsets, heads] in Swin,
   `rel_pos_h` in MViT.

Everything else decays, a bare matrix `weight` [in, out] of a layer of one's own among it.

Sources: pytorch-image-models (timm.optim.param_groups_weight_decay and `no_weight_decay` of its nets), the
configurations of DeiT, Swin and BEiT, karpathy/minGPT (configure_optimizers).
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from torch import nn

from kasoku.faults import ConfigError, Fault

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (nn.Linear, *CONVS)

SPARED = {
    *("pos", "position", "positions", "positional", "embed", "embedding", "embeddings", "table"),
    *("token", "tokens", "prompt", "prompts", "latent", "latents"),
    *("bias", "biases", "gain", "gamma", "beta", "scale", "temperature"),
}
WEIGHTS = {"weight", "weights", "kernel", "matrix", "proj", "projection"}
HOLDERS = (*CONTAINERS, nn.ParameterList, nn.ParameterDict)  # of torch.nn, but no layers
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def spared(module: nn.Module) -> set[str]:
    """The names of the parameters of `module` that weight decay spares; a shared one under its first name.

    Raises:
        ConfigError: `no_weight_decay` of a module gives no names.
    """
    named = set(_named_by_the_net(module))
    return {
        name
        for name, owner, parameter in owned(module)
        if parameter.ndim < 2
        or isinstance(owner, NORMS + EMBEDDINGS)
        or name in named
        or getattr(parameter, "_no_weight_decay", False)
        or (is_bare(owner, name) and (_is_broadcast(parameter) or _has_word(name)))
    }


def owned(module: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Each parameter of `module` once: its name, the module that holds it, the parameter."""
    modules = dict(module.named_modules())
    for name, parameter in module.named_parameters():
        yield name, modules[name.rpartition(".")[0]], parameter


def layer_of(name: str) -> str:
    """The name of the layer that the parameter `name` belongs to, "" for the net itself.

    >>> layer_of("body.0.weight"), layer_of("head.parametrizations.weight.original1")
    ('body.0', 'head')
    """
    return name.split(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]


def is_bare(owner: nn.Module, name: str) -> bool:
    """True if `name` is held by a module of one's own, or is none of the weights of a layer of torch.nn."""
    layers = [kind for kind in type(owner).__mro__ if kind.__module__.startswith("torch.nn.modules.")]
    if not any(issubclass(kind, nn.Module) and kind not in (nn.Module, *HOLDERS) for kind in layers):
        return True
    own = name.rpartition(".")[2]
    return "weight" not in own or own == "weight_g"  # the lengths of the older weight_norm


def _is_broadcast(parameter: nn.Parameter) -> bool:
    large = sum(size > 1 for size in parameter.shape)
    return large < 2 or (parameter.ndim > 2 and parameter.shape[0] == 1)


def _has_word(name: str) -> bool:
    own = next((part for part in reversed(name.split(".")) if not part.isdigit()), "")  # a list's name, not its index
    words = {word.lower() for word in WORD.findall(own)}
    return bool(words & SPARED) and not words & WEIGHTS


def _named_by_the_net(module: nn.Module) -> Iterator[str]:
    names = [name for name, _ in module.named_parameters()]
    for prefix, inner in module.named_modules():
        start = f"{prefix}." if prefix else ""
        inside = {name.removeprefix(start): name for name in names if name.startswith(start)}
        given, parts = _said(inner, "no_weight_decay"), _said(inner, "no_weight_decay_keywords")
        for own, name in inside.items():
            if any(own == one or own.startswith(f"{one}.") for one in given) or any(part in own for part in parts):
                yield name


def _said(module: nn.Module, attribute: str) -> Collection[str]:
    said: Any = getattr(module, attribute, ())
    said = said() if callable(said) else said
    names = [said] if isinstance(said, str) else list(said) if isinstance(said, Collection) else None
    if names is None or not all(isinstance(name, str) for name in names):
        must = f"gives {said!r}, and must give the names of parameters"
        raise ConfigError(Fault("model", f"{type(module).__name__}.{attribute}", must, "a list or a set of texts"))
    return names
