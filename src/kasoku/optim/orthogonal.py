"""Newton-Schulz: the nearest orthogonal matrix, approximately, by matrix products alone."""

import torch
from torch import Tensor

# Of the quintic p(s) = a s + b s^3 + c s^5, chosen for the steepest slope at 0: five steps carry singular values from
# 0.003 to 1 into 0.68 to 1.13. Keller Jordan et al. 2024, kellerjordan.github.io/posts/muon
A, B, C = 3.4445, -4.7750, 2.0315
EPS = 1e-7


def newton_schulz(matrices: Tensor, steps: int = 5) -> Tensor:
    """[..., rows, cols] U S V^T -> approximately U V^T, in the same type: each matrix over its norm, then `steps` times

        X <- (a + b X X^T + c (X X^T)^2) X

    with rows <= cols, where need be by transposing. All matrices of the batch go through one product at a time.
    """
    if matrices.size(-2) > matrices.size(-1):
        return newton_schulz(matrices.mT, steps).mT
    shape = matrices.shape
    x = matrices.reshape(-1, *shape[-2:])
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=EPS)
    # In float32 X X^T keeps enough digits to iterate on it alone, which costs less from twice as wide as high on.
    small = shape[-1] >= 2 * shape[-2] and x.dtype == torch.float32
    return (_on_gram(x, steps) if small else _on_matrix(x, steps)).reshape(shape)


def _on_matrix(x: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


def _on_gram(x: Tensor, steps: int) -> Tensor:
    """The same iteration with X = Q X_0: from G = X X^T follow Z = a + b G + c G^2, Q <- Z Q, G <- Z G Z."""
    gram = x @ x.mT
    identity = torch.eye(x.size(-2), device=x.device, dtype=x.dtype).expand_as(gram)
    total = identity
    for step in range(steps):
        z = torch.baddbmm(gram, gram, gram, beta=B, alpha=C).add_(identity, alpha=A)
        total = z @ total if step else z
        gram = z @ gram @ z if step < steps - 1 else gram
    return total @ x
