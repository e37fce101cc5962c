"""Muon as one optimizer: matrices are orthogonalised, everything else is trained by AdamW.

optimizer = Muon(Groups(kinds=kinds).split(net, lr=0.02, weight_decay=0.01), lr=0.02, adamw_lr=0.003)
"""

import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from kasoku import bfloat16
from kasoku.optim import layers
from kasoku.optim.orthogonal import Coefficients, newton_schulz
from kasoku.optim.weights import CONVS, spared
from kasoku.signatures import checked

Share = Annotated[float, Interval(ge=0, lt=1)]
TINY = 1e-12


class Muon(Optimizer):
    """Momentum, orthogonalised by Newton-Schulz, for groups of kind "muon"; AdamW for groups of kind "adamw".

        M <- mu M + (1 - mu) G,  N = mu M + (1 - mu) G with `nesterov`, else M
        W <- (1 - lr weight_decay) W - lr r newton_schulz(N)

    for W [rows, cols], or a kernel as [out, in x height x width].

    K. Jordan et al. 2024, kellerjordan.github.io/posts/muon; J. Liu et al. 2025, arXiv 2502.16982. The same steps as
    torch.optim.Muon, which takes matrices only; those of equal shape go through the products as one batch here. Takes
    whole parameters (one device, DDP), not shards of them (FSDP).

    Args:
        params: groups with `kind`, as `Groups(kinds=kinds).split(...)` makes them. The `lr` of an "adamw" group is
            understood as lr x its multiplier, and becomes adamw_lr x its multiplier.
        lr: of the matrices.
        momentum, nesterov: mu, and whether to look ahead along M.
        weight_decay: decoupled, for both kinds.
        normalize: whether each matrix is brought to the Frobenius norm sqrt(rows) before its step, as K. Jordan's
            cifar10-airbench does; for nets in which a norm without weights follows each layer.
        row_beta: memory of the mean square of each row of a direction, which the row is divided by the root of, the
            direction's norm kept: rows that moved much move less. None: no such thing. NorMuon, Z. Li et al. 2025,
            arXiv 2510.05491.
        steps: Newton-Schulz iterations.
        coefficients: their polynomials. "quintic", Jordan's for every step; "polar_express", the best for each step
            (N. Amsel et al. 2025, arXiv 2505.16932), of which three or four do what five of Jordan's do.
        adjust_lr: r = sqrt(max(1, rows / cols)) for "original", 0.2 sqrt(max(rows, cols)) for "match_rms_adamw", with
            which an lr tuned for AdamW fits.
        precision: of Newton-Schulz; "auto" is bfloat16 on GPUs and float32 on CPUs, but for large squarish matrices on
            CPUs with bfloat16 units.
        adamw_lr, betas, eps: AdamW's.

    Raises:
        ConfigError: a value is out of its range.
        ValueError: a group has no kind, or one of kind "muon" holds vectors.
    """

    @checked("optimizer.")
    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: Annotated[float, Gt(0)] = 0.04,
        *,
        momentum: Share = 0.95,
        nesterov: bool = True,
        weight_decay: Annotated[float, Ge(0)] = 0.1,
        normalize: bool = False,
        row_beta: Share | None = None,
        steps: Annotated[int, Interval(ge=1, le=20)] = 5,
        coefficients: Coefficients = "quintic",
        adjust_lr: Literal["original", "match_rms_adamw"] = "original",
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        adamw_lr: Annotated[float, Gt(0)] = 0.04,
        betas: tuple[Share, Share] = (0.9, 0.95),
        eps: Annotated[float, Gt(0)] = 1e-8,
    ):
        muon: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "normalize": normalize, "steps": steps}
        muon |= {"coefficients": coefficients, "adjust_lr": adjust_lr, "precision": precision, "row_beta": row_beta}
        rest: dict[str, Any] = {"betas": tuple(betas), "eps": eps}
        shared: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        # Each kind has its own settings and no others, so that a schedule of momentum moves beta1 in AdamW's groups.
        self._settings = {"muon": muon, "adamw": rest}
        self._lrs = (lr, adamw_lr)
        super().__init__(params, shared)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        kind = param_group.get("kind")
        if kind not in self._settings:
            raise ValueError(
                f"kind of a parameter group is {kind!r}, must be 'muon' or 'adamw', as kasoku.optim.muon.kinds tells"
            )
        group = self._settings[kind] | param_group
        lr, adamw_lr = self._lrs
        if kind == "adamw":
            group["lr"] = group.get("lr", lr) / lr * adamw_lr
        super().add_param_group(group)
        if kind == "muon" and any(p.ndim < 2 for p in self.param_groups[-1]["params"]):
            raise ValueError("a parameter group of kind 'muon' holds a vector: Muon takes matrices and kernels")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every group; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                (self._step_muon if group["kind"] == "muon" else self._step_adamw)(group, params)
        return loss

    def _step_muon(self, group: dict[str, Any], params: list[Tensor]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        averages = self._buffers(params, "momentum_buffer")
        torch._foreach_lerp_(averages, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, averages, group["momentum"]) if group["nesterov"] else averages
        directions = orthogonalised(updates, group["steps"], group["precision"], group["coefficients"])
        if group["row_beta"] is not None:
            directions = [self._evened(p, d, group["row_beta"]) for p, d in zip(params, directions, strict=True)]
        ratios = [-float(group["lr"]) * _lr_ratio(p, group["adjust_lr"]) for p in params]
        if group["normalize"]:
            norms = torch._foreach_clamp_min(torch._foreach_norm(params), TINY)
            torch._foreach_mul_(params, [math.sqrt(p.size(0)) / n for p, n in zip(params, norms, strict=True)])
        torch._foreach_mul_(params, 1 - float(group["lr"]) * group["weight_decay"])
        torch._foreach_add_(params, torch._foreach_mul(directions, ratios))

    def _evened(self, parameter: Tensor, direction: Tensor, beta: float) -> Tensor:
        """`direction` with its rows over the root of their mean squares so far, at its own norm."""
        rows, state = direction.flatten(1), self.state[parameter]
        if "row_variance" not in state:
            state["row_variance"] = rows.new_zeros(len(rows), 1)
        state["row_variance"].lerp_(rows.square().mean(dim=1, keepdim=True), 1 - beta)
        even = rows / state["row_variance"].sqrt().clamp(min=TINY)
        return (even * (rows.norm() / even.norm().clamp(min=TINY))).view_as(direction)

    def _step_adamw(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if "step" not in self.state[p]:
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32)
        adamw(
            params,
            [p.grad for p in params if p.grad is not None],
            self._buffers(params, "exp_avg"),
            self._buffers(params, "exp_avg_sq"),
            [],
            [self.state[p]["step"] for p in params],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _buffers(self, params: Sequence[Tensor], name: str) -> list[Tensor]:
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in params]


def kinds(module: nn.Module, head: Container[str] | None = None) -> dict[str, str]:
    """The optimizer that trains each parameter, "muon" or "adamw", by the parameter's name; Muon's first.

    Muon's are matrices and the kernels of ungrouped convolutions; AdamW's are the head, whatever weight decay spares
    (norms, biases, embeddings, weights tied to them, positions, tokens, scales: `kasoku.optim.weights`), and the rest.

    Args:
        module: the net.
        head: the names of the head's parameters; None: those of the layer that was registered last.
    """
    ends = layers.head(module) if head is None else head
    rest = spared(module)
    convs = [name for name, layer in module.named_modules() if isinstance(layer, CONVS) and layer.groups == 1]
    kernels = {f"{name}.weight".lstrip(".") for name in convs}
    names = {
        name: "muon" if (p.ndim == 2 or name in kernels) and name not in rest and name not in ends else "adamw"
        for name, p in module.named_parameters()
    }
    return dict(sorted(names.items(), key=lambda item: item[1], reverse=True))


def orthogonalised(
    tensors: Sequence[Tensor], steps: int = 5, precision: str = "auto", coefficients: Coefficients = "quintic"
) -> list[Tensor]:
    """Each tensor, flattened to [rows, rest], through `newton_schulz`, those of equal shape in one batch."""
    batches: dict[Any, list[int]] = defaultdict(list)
    for i, tensor in enumerate(tensors):
        batches[tensor.flatten(1).shape, tensor.device, tensor.dtype].append(i)
    result = list(tensors)
    for members in batches.values():
        batch = torch.stack([tensors[i].flatten(1) for i in members])
        batch = batch.to(_dtype(precision, batch))
        for i, matrix in zip(members, newton_schulz(batch, steps, coefficients), strict=True):
            result[i] = matrix.reshape(tensors[i].shape).to(tensors[i].dtype)
    return result


def _dtype(precision: str, batch: Tensor) -> torch.dtype:
    if precision != "auto":
        return torch.float32 if precision == "float32" else torch.bfloat16
    if batch.device.type != "cpu":
        return torch.bfloat16
    small, large = sorted(batch.shape[-2:])
    # Measured (bench/muon.py): with the units bfloat16 takes half the time of float32 on large squarish matrices, and
    # no less on small or on long ones. Without them it takes 20 times as long.
    return torch.bfloat16 if bfloat16.on_cpu() and small >= 128 and large < 4 * small else torch.float32


def _lr_ratio(parameter: Tensor, adjust_lr: str) -> float:
    rows, cols = parameter.size(0), parameter.numel() // parameter.size(0)
    return math.sqrt(max(1.0, rows / cols)) if adjust_lr == "original" else 0.2 * math.sqrt(max(rows, cols))
