"""Frechet distance against scipy's square root, closed forms, and its known bias."""

import math

import numpy as np
import pytest
import torch

from creo.errors import DataError, OptionError, SpaceError
from creo.evaluation.frechet import FrechetReference, Moments, frechet_distance, frechet_infinity
from creo.model import seeded


def by_scipy(x, y):
    from scipy.linalg import sqrtm

    x, y = x.double().numpy(), y.double().numpy()
    a, b = np.cov(x.T), np.cov(y.T)
    root = np.trace(sqrtm(a @ b)).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * root)


@pytest.fixture(scope="module")
def features():
    with seeded(0):
        mix = torch.randn(12, 12, dtype=torch.float64)
        return torch.randn(400, 12, dtype=torch.float64) @ mix, torch.randn(300, 12, dtype=torch.float64) + 1


def test_equals_scipy(features):
    x, y = features
    assert frechet_distance(x, y) == pytest.approx(by_scipy(x, y), rel=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9 * float(x.square().sum(1).mean()))


def test_diagonal_gaussians_in_closed_form():
    """sum (m1 - m2)^2 + (s1 - s2)^2."""
    s1, s2 = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.1]).double()
    a = Moments(10, torch.zeros(3).double(), torch.diag(s1**2))
    b = Moments(10, torch.tensor([1.0, 0.0, 2.0]).double(), torch.diag(s2**2))
    exact = 5.0 + float((s1 - s2).square().sum())
    assert FrechetReference.of(b).distance(a) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(8, 300), (300, 8), (8, 9), (12, 12)])
def test_fewer_samples_than_features(features, n, m):
    """Thin and full forms agree. Singular roots lose half of the digits, in scipy and in the eigenvalues."""
    x, y = features[0][:n], features[1][:m]
    thin = FrechetReference.of(y).distance(x)
    full = FrechetReference.of(Moments.of([y])).distance(Moments.of([x]))
    assert thin == pytest.approx(full, rel=1e-6)


def test_a_singular_reference():
    with seeded(1):
        y = torch.randn(50, 3, dtype=torch.float64) @ torch.randn(3, 6, dtype=torch.float64)
        x = torch.randn(60, 6, dtype=torch.float64)
    exact = FrechetReference.of(Moments.of([x])).distance(y)
    assert frechet_distance(x, y) == pytest.approx(exact, rel=1e-7)


def test_moments_stream(features):
    x = features[0] * 1e-3 + 1e4  # a large mean, where the naive sum of squares would lose its digits
    whole, parts = Moments.of([x]), Moments.of(x.split(7))
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(parts.covariance, torch.cov(x.T), rtol=1e-6, atol=1e-12)
    assert parts.n == 400


def test_the_bias_and_its_extrapolation():
    """Against the exact moments of the truth: FD(n) is biased by about c/n, its limit is 0 within the error."""
    d = 20
    truth = FrechetReference.of(Moments(10**9, torch.zeros(d).double(), torch.eye(d).double()))
    with seeded(4):
        x = torch.randn(4000, d, dtype=torch.float64)
    few, many = truth.distance(x[:200]), truth.distance(x)
    expected = (d + d * (d + 1) / 4) / 200  # E|m|^2 + tr of the root's second-order term
    assert few == pytest.approx(expected, rel=0.25)
    assert few > 10 * many
    limit = frechet_infinity(x, truth, smallest=200)
    assert abs(limit.value) < max(4 * limit.standard_error, 1.5 * d / 4000)
    assert abs(limit.value) < 0.3 * many
    assert limit.slope == pytest.approx(200 * expected, rel=0.25)


def test_extrapolation_of_a_shift():
    truth = FrechetReference.of(Moments(10**9, torch.zeros(5).double(), torch.eye(5).double()))
    with seeded(4):
        x = torch.randn(3000, 5, dtype=torch.float64) + 1
    limit = frechet_infinity(x, truth)
    assert abs(limit.value - 5.0) < 4 * math.sqrt(4 * 5 / 3000)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.full((5, 3), math.nan), DataError, "NaN"),
        (torch.ones(1, 3), DataError, "2 rows"),
        (torch.ones(50, 4), SpaceError, "3 features"),
        (torch.ones(50, 3, dtype=torch.long), SpaceError, "floating"),
    ],
)
def test_unfit_features_get_one_line(x, error, message):
    reference = FrechetReference.of(torch.randn(50, 3))
    with pytest.raises(error, match=message):
        reference.distance(x)


def test_extrapolation_needs_room():
    reference = FrechetReference.of(torch.randn(50, 3))
    with pytest.raises(OptionError, match="smallest"):
        frechet_infinity(torch.randn(10, 3), reference, smallest=10)
