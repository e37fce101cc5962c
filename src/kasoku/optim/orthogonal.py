"""Newton-Schulz: the nearest orthogonal matrix, approximately, by matrix products alone."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Coefficients = Literal["quintic", "polar_express"]
Step = tuple[float, float, float]

# Of the quintic p(s) = a s + b s^3 + c s^5, chosen for the steepest slope at 0: five steps carry singular values from
# 0.003 to 1 into 0.68 to 1.13. Keller Jordan et al. 2024, kellerjordan.github.io/posts/muon
QUINTIC: Step = (3.4445, -4.7750, 2.0315)
# A quintic for each step, each the best for the interval that those before it lead to from [0.001, 1]. The values are
# those of N. Amsel, D. Persson, C. Musco, R. Gower 2025, "The Polar Express", arXiv 2505.16932.
POLAR_EXPRESS: Sequence[Step] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
)
LIMIT: Step = (1.875, -1.25, 0.375)  # what they tend to
SAFETY = 1.01  # singular values that rounding has carried past an interval's end are brought back before each step
EPS = 1e-7


def steps_of(coefficients: Coefficients, steps: int) -> list[Step]:
    """(a, b, c) of each of `steps` steps."""
    if coefficients == "quintic":
        return [QUINTIC] * steps
    safe = [(a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in POLAR_EXPRESS]
    return [*safe, *[LIMIT] * steps][:steps]


def newton_schulz(matrices: Tensor, steps: int = 5, coefficients: Coefficients = "quintic") -> Tensor:
    """[..., rows, cols] U S V^T -> approximately U V^T, in the same type: each matrix over its norm, then `steps` times

        X <- (a + b X X^T + c (X X^T)^2) X

    with rows <= cols, where need be by transposing. All matrices of the batch go through one product at a time.
    """
    if matrices.size(-2) > matrices.size(-1):
        return newton_schulz(matrices.mT, steps, coefficients).mT
    shape = matrices.shape
    x = matrices.reshape(-1, *shape[-2:])
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=EPS)
    # In float32 X X^T keeps enough digits to iterate on it alone, which costs less from twice as wide as high on.
    small = shape[-1] >= 2 * shape[-2] and x.dtype == torch.float32
    return (_on_gram if small else _on_matrix)(x, steps_of(coefficients, steps)).reshape(shape)


def _on_matrix(x: Tensor, steps: Sequence[Step]) -> Tensor:
    for a, b, c in steps:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _on_gram(x: Tensor, steps: Sequence[Step]) -> Tensor:
    """The same iteration with X = Q X_0: from G = X X^T follow Z = a + b G + c G^2, Q <- Z Q, G <- Z G Z."""
    gram = x @ x.mT
    total = identity = torch.eye(x.size(-2), device=x.device, dtype=x.dtype).expand_as(gram)
    for step, (a, b, c) in enumerate(steps):
        z = torch.baddbmm(gram, gram, gram, beta=b, alpha=c).add_(identity, alpha=a)
        total = z @ total if step else z
        gram = z @ gram @ z if step < len(steps) - 1 else gram
    return total @ x
