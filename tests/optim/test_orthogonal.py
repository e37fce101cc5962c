"""Newton-Schulz against the singular value decomposition, and against torch's own iteration."""

import pytest
import torch
from torch.optim._muon import _zeropower_via_newtonschulz

from kasoku.optim.orthogonal import A, B, C, newton_schulz

SHAPES = [(64, 64), (128, 512), (512, 128), (96, 128), (1, 7), (7, 1)]


def polynomial(values, steps=5):
    """What the iteration does to singular values."""
    for _ in range(steps):
        values = A * values + B * values**3 + C * values**5
    return values


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_stay_and_values_follow_the_polynomial(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    expected = u @ torch.diag(polynomial(s / s.norm())) @ v
    torch.testing.assert_close(newton_schulz(matrix), expected)
    torch.testing.assert_close(newton_schulz(matrix.float()), expected.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(64, 64), (128, 512), (512, 128)])
def test_singular_values_are_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(newton_schulz(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.21


@pytest.mark.parametrize("shape", SHAPES)
def test_as_torch_within_its_bfloat16(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(2))
    theirs = _zeropower_via_newtonschulz(matrix, (A, B, C), 5, 1e-7).float()
    for ours in (newton_schulz(matrix), newton_schulz(matrix.bfloat16()).float()):
        assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_a_batch_is_its_matrices():
    batch = torch.randn(2, 3, 16, 48, generator=torch.Generator().manual_seed(3))
    each = torch.stack([newton_schulz(matrix) for matrix in batch.reshape(-1, 16, 48)])
    torch.testing.assert_close(newton_schulz(batch), each.view_as(batch))


@pytest.mark.parametrize("shape", [(32, 32), (32, 128)])
def test_low_rank_and_zero_matrices_stay_finite(shape):
    generator = torch.Generator().manual_seed(4)
    low = torch.randn(shape[0], 2, generator=generator) @ torch.randn(2, shape[1], generator=generator)
    torch.testing.assert_close(newton_schulz(low), newton_schulz(low.double()).float(), atol=1e-3, rtol=0)
    assert torch.equal(newton_schulz(torch.zeros(shape)), torch.zeros(shape))
