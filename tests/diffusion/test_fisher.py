"""Score matching: values against closed forms, and each objective recovers the parameters of a Gaussian."""

import pytest
import torch

from creo.divergences.fisher import (
    denoising_score_matching,
    explicit_score_matching,
    implicit_score_matching,
    score_of,
    sliced_score_matching,
)
from creo.errors import OptionError
from creo.model import seeded

MEAN, STD, NOISE = torch.tensor([1.5, -0.5]).double(), torch.tensor([0.7, 1.3]).double(), 0.5


def data(n=4000):
    """Samples whose empirical moments are exactly MEAN and STD, uncorrelated."""
    with seeded(0):
        x = torch.randn(n, 2, dtype=torch.float64)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T
    return MEAN + STD * x


def truth(x):
    return -(x - MEAN) / STD**2


def fit(objective):
    """Newton's method on the score -P (x - m) = b - P x, in which every objective is quadratic."""
    p = torch.zeros(4, dtype=torch.float64)

    def value(p):
        with seeded(1):
            return objective(lambda x: p[:2] - p[2:] * x).mean()

    p = p - torch.linalg.solve(torch.autograd.functional.hessian(value, p),
                               torch.autograd.functional.jacobian(value, p))  # fmt: skip
    return p[:2] / p[2:], p[2:].rsqrt()


def test_explicit_implicit_and_sliced_recover_the_gaussian():
    x = data()
    for objective in (
        lambda s: explicit_score_matching(s, x, truth),
        lambda s: implicit_score_matching(s, x),
        lambda s: sliced_score_matching(s, x),
    ):
        mean, std = fit(objective)
        torch.testing.assert_close(mean, MEAN, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(std, STD, rtol=1e-9, atol=1e-9)


def test_denoising_recovers_the_smoothed_gaussian():
    mean, std = fit(lambda s: denoising_score_matching(s, data(100000), sigma=NOISE))
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=0.03)
    torch.testing.assert_close(std, (STD**2 + NOISE**2).sqrt(), rtol=0.02, atol=0)


def test_implicit_differs_from_explicit_by_a_constant_of_the_data():
    """1/2 E |grad log p|^2 = 1/2 sum 1/STD^2 for every score, here a non-linear one of wrong sign and scale."""
    x = data(400000)

    def score(x):
        return torch.tanh(x) - 0.3 * x.flip(1)

    gap = explicit_score_matching(score, x, truth) - implicit_score_matching(score, x)
    want = (1 / STD**2).sum() / 2
    assert abs(gap.mean() - want) < 4.5 * gap.std() / len(x) ** 0.5


def test_sliced_is_implicit_in_expectation_and_exact_in_one_dimension():
    x = data(200)

    def score(x):
        return torch.sin(x) + x.flip(1) * x

    with seeded(0):
        many = sliced_score_matching(score, x, projections=2000)
    exact = implicit_score_matching(score, x)
    # v'Jv - tr J = v_1 v_2 (J_12 + J_21), and the off-diagonal sum is x_1 + x_2.
    assert ((many - exact).abs() <= 5 * x.sum(1).abs() / 2000**0.5 + 1e-12).all()
    one = x[:, :1]
    torch.testing.assert_close(sliced_score_matching(torch.sin, one), implicit_score_matching(torch.sin, one))


def test_score_of_an_unnormalised_log_density_can_be_trained():
    x, scale = data(100), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    score = score_of(lambda x: -scale * (x - MEAN).square().sum(1) / 2 + 7)
    torch.testing.assert_close(score(x).detach(), -(x - MEAN))
    loss = implicit_score_matching(score, x).mean()
    assert torch.autograd.grad(loss, scale)[0].item() == pytest.approx(-2 + (STD**2).sum().item(), rel=1e-9)


def test_options_are_checked():
    x = data(4)
    with pytest.raises(OptionError, match="sigma"):
        denoising_score_matching(truth, x, sigma=0.0)
    with pytest.raises(OptionError, match="projection"):
        sliced_score_matching(truth, x, projections=0)
