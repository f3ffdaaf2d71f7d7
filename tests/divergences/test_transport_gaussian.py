"""Transport between Gaussians against commuting closed forms, scipy, and the properties that define it."""

import math

import pytest
import scipy.linalg
import torch

from creo.divergences.transport import (
    bures_wasserstein,
    cost_matrix,
    entropic_gaussian,
    gaussian_barycentre,
    gaussian_map,
    sinkhorn,
    wasserstein_1d,
)
from creo.errors import DataError, OptionError

F64 = torch.float64


def _gaussian(*shape, d=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(*shape, d, d, dtype=F64, generator=generator)
    mean = torch.randn(*shape, d, dtype=F64, generator=generator)
    return mean, root @ root.mT + 0.1 * torch.eye(d, dtype=F64)


def test_distance_agrees_with_scipy_sqrtm():
    (m, A), (n, B) = _gaussian(4), _gaussian(4, seed=1)
    got = bures_wasserstein((m, A), (n, B))
    for i in range(4):
        cross = scipy.linalg.sqrtm((A[i] @ B[i]).numpy()).real.trace()
        squared = (m[i] - n[i]).square().sum() + A[i].trace() + B[i].trace() - 2 * cross
        assert got[i].item() == pytest.approx(math.sqrt(squared), rel=1e-10)


def test_diagonal_gaussians_and_a_singular_one():
    s, t = torch.tensor([1.0, 2.0, 0.0], dtype=F64), torch.tensor([3.0, 0.5, 2.0], dtype=F64)
    zero = torch.zeros(3, dtype=F64)
    got = bures_wasserstein((zero, torch.diag(s**2)), (zero + 1, torch.diag(t**2)))
    assert got.item() == pytest.approx(math.sqrt(3 + (s - t).square().sum().item()), rel=1e-12)


def test_one_dimension_agrees_with_quantiles():
    """Quantiles at the midpoints of k equal cells stand for the Gaussian up to its outermost cells."""
    k = 200_000
    q = (torch.arange(k, dtype=F64) + 0.5) / k
    z = math.sqrt(2) * torch.erfinv(2 * q - 1)
    exact = bures_wasserstein(
        (torch.zeros(1, dtype=F64), torch.eye(1, dtype=F64)),
        (torch.ones(1, dtype=F64), 4 * torch.eye(1, dtype=F64)),
    )
    assert wasserstein_1d(z, 1 + 2 * z, p=2).item() == pytest.approx(exact.item(), rel=1e-4)
    assert exact.item() == pytest.approx(math.sqrt(2), rel=1e-12)


def test_the_map_pushes_one_gaussian_to_the_other_and_costs_the_distance():
    p, q = _gaussian(2), _gaussian(2, seed=1)
    T, t = gaussian_map(p, q)
    torch.testing.assert_close(T @ p[1] @ T.mT, q[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close((T @ p[0].unsqueeze(-1)).squeeze(-1) + t, q[0])
    assert torch.linalg.eigvalsh(T).min() > 0  # the gradient of a convex function, so optimal (Brenier)
    off = T - torch.eye(3, dtype=F64)
    cost = (off @ p[1] @ off.mT).diagonal(dim1=-2, dim2=-1).sum(-1) + (p[0] - q[0]).square().sum(-1)
    torch.testing.assert_close(bures_wasserstein(p, q) ** 2, cost)


def test_gradient_by_the_envelope_theorem():
    (m, A), (n, B) = _gaussian(), _gaussian(seed=1)
    tensors = [t.clone().requires_grad_() for t in (m, A, n, B)]

    def distance(m, A, n, B):
        return bures_wasserstein((m, (A + A.mT) / 2), (n, (B + B.mT) / 2))

    assert torch.autograd.gradcheck(distance, tensors)


def test_barycentre_of_commuting_gaussians_averages_standard_deviations():
    s = torch.tensor([[1.0, 2.0], [3.0, 0.5], [2.0, 2.0]], dtype=F64)
    w = torch.tensor([1.0, 2.0, 1.0], dtype=F64)
    got = gaussian_barycentre(s, torch.diag_embed(s**2), weights=w)
    expected = (w[:, None] * s).sum(0) / 4
    assert got.converged
    torch.testing.assert_close(got.covariance, torch.diag(expected**2))
    torch.testing.assert_close(got.mean, expected)


def test_barycentre_is_where_the_maps_average_to_the_identity():
    means, covariances = _gaussian(2, 3)
    got = gaussian_barycentre(means, covariances)
    centre = (got.mean.unsqueeze(1).expand_as(means), got.covariance.unsqueeze(1).expand_as(covariances))
    T, _ = gaussian_map(centre, (means, covariances))
    torch.testing.assert_close(T.mean(1), torch.eye(3, dtype=F64).expand(2, 3, 3), rtol=0, atol=1e-8)


def test_barycentre_says_when_it_gave_up():
    got = gaussian_barycentre(*_gaussian(3), max_iterations=1)
    assert (got.converged, got.iterations) == (False, 1)
    assert got.error > 1e-10


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_entropic_closed_form_agrees_with_sinkhorn_on_a_grid(epsilon):
    """A trapezoid sum of an analytic, decaying integrand converges exponentially: the grid is as good as the line."""
    grid = torch.linspace(-8, 8, 161, dtype=F64).unsqueeze(-1)
    a = torch.exp(-((grid + 0.5) ** 2) / 2).squeeze(-1)
    b = torch.exp(-((grid - 0.5) ** 2) / (2 * 0.49)).squeeze(-1)
    cost = cost_matrix(grid, grid)
    got = sinkhorn(cost, a=a / a.sum(), b=b / b.sum(), epsilon=epsilon, relative=False, tolerance=1e-9)
    one = torch.ones(1, dtype=F64)
    p, q = (-0.5 * one, one[:, None]), (0.5 * one, 0.49 * one[:, None])
    assert got.converged
    assert got.value.item() == pytest.approx(entropic_gaussian(p, q, epsilon=epsilon).item(), rel=1e-7)


def test_entropic_tends_to_bures_and_to_the_independent_plan():
    p, q = _gaussian(), _gaussian(seed=1)
    squared = bures_wasserstein(p, q).item() ** 2
    assert entropic_gaussian(p, q, epsilon=1e-7).item() == pytest.approx(squared, abs=1e-5)
    independent = (p[0] - q[0]).square().sum() + p[1].trace() + q[1].trace()
    assert entropic_gaussian(p, q, epsilon=1e6).item() == pytest.approx(independent.item(), rel=1e-4)


EYE, ZERO = torch.eye(2), torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: bures_wasserstein((ZERO, EYE), (ZERO, -EYE)), DataError, "negative eigenvalue"),
        (
            lambda: bures_wasserstein((ZERO, EYE), (ZERO, torch.tensor([[1.0, 1.0], [0.0, 1.0]]))),
            DataError,
            "symmetric",
        ),
        (lambda: bures_wasserstein((ZERO, EYE), (ZERO, EYE * math.nan)), DataError, "NaN"),
        (lambda: bures_wasserstein((ZERO, EYE), (torch.zeros(3), EYE)), DataError, r"received \(3,\)"),
        (lambda: bures_wasserstein((ZERO, EYE), (torch.zeros(3), torch.eye(3))), DataError, "same dimension"),
        (lambda: entropic_gaussian((ZERO, EYE), (ZERO, EYE), epsilon=0.0), OptionError, "epsilon"),
        (lambda: gaussian_barycentre(ZERO[None], EYE[None], tolerance=0.0), OptionError, "tolerance"),
        (lambda: gaussian_barycentre(ZERO[None], EYE[None], weights=-torch.ones(1)), DataError, "negative"),
    ],
)
def test_bad_input_is_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()
