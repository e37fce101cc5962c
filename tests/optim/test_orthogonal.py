"""Newton-Schulz against the singular value decomposition, and against torch's own iteration."""

import pytest
import torch
from torch.optim._muon import _zeropower_via_newtonschulz

from kasoku.optim.orthogonal import POLAR_EXPRESS, QUINTIC, newton_schulz, steps_of

SHAPES = [(64, 64), (128, 512), (512, 128), (96, 128), (1, 7), (7, 1)]


def polynomial(values, steps=5, coefficients="quintic"):
    """What the iteration does to singular values."""
    for a, b, c in steps_of(coefficients, steps):
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize(("coefficients", "steps"), [("quintic", 5), ("polar_express", 3), ("polar_express", 8)])
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_stay_and_values_follow_the_polynomial(shape, coefficients, steps):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    expected = u @ torch.diag(polynomial(s / s.norm(), steps, coefficients)) @ v
    torch.testing.assert_close(newton_schulz(matrix, steps, coefficients), expected)
    single = newton_schulz(matrix.float(), steps, coefficients)
    # float32's rounding, 6e-8, times the slope: 480 of five quintics, 130 of three of polar_express, and some sums
    torch.testing.assert_close(single, expected.float(), atol=3e-5, rtol=0)


def test_each_polynomial_of_polar_express_is_the_best_for_its_interval():
    """Chebyshev: the best one errs as much upwards as downwards, and four times in turn.

    The first intervals end at 0.024 of their upper end below, lest the slope at 0 grow too steep for bfloat16; each
    polynomial is scaled so that what it makes of the whole interval has its middle at 1 (algorithm 1 of the paper).
    """
    low, high = 1e-3, 1.0
    for a, b, c in POLAR_EXPRESS:
        s = torch.linspace(max(low, 0.02407327424182761 * high), high, 400_001, dtype=torch.float64)
        image = a * s + b * s**3 + c * s**5
        turns = (image[1:-1] - image[:-2]) * (image[2:] - image[1:-1]) < 0
        first, second, third, fourth = torch.cat([image[:1], image[1:-1][turns], image[-1:]]).tolist()
        assert (third, fourth) == pytest.approx((first, second), rel=1e-4)
        low, high = a * low + b * low**3 + c * low**5, second
        assert low + high == pytest.approx(2, rel=1e-4)


def test_polar_express_goes_on_to_one():
    values = torch.logspace(-2, 0, 50, dtype=torch.float64)
    torch.testing.assert_close(polynomial(values, 9, "polar_express"), torch.ones_like(values), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(64, 64), (128, 512), (512, 128)])
def test_singular_values_are_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(newton_schulz(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.21


@pytest.mark.parametrize("shape", SHAPES)
def test_as_torch_within_its_bfloat16(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(2))
    theirs = _zeropower_via_newtonschulz(matrix, QUINTIC, 5, 1e-7).float()
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
