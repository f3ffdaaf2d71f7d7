"""Gaussian fits to mixtures: moments by draws, reverse KL against quadrature on a grid of Gaussians, and the limit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import MultivariateNormal, kl_divergence

from creo.divergences.fitting import draw_fits, fit_reverse_kl, gaussian_mixture, moment_match
from creo.errors import DataError, SpaceError


def mixture(weights, means, scales):
    """One-dimensional mixture in float64."""
    w, m, s = (torch.tensor(a, dtype=torch.float64) for a in (weights, means, scales))
    return gaussian_mixture(w, m[:, None], s.square()[:, None, None])


TWO = ([0.35, 0.65], [-2.5, 2.0], [0.7, 1.0])


def reverse_kl(mean, scale, weights, means, scales):
    """KL(N(mean, scale^2) || mixture) by the trapezoidal rule on a fine grid."""
    g, x = norm(mean, scale), np.linspace(mean - 9 * scale, mean + 9 * scale, 4001)
    p = sum(w * norm.pdf(x, m, s) for w, m, s in zip(weights, means, scales, strict=True))
    return np.trapezoid(g.pdf(x) * (g.logpdf(x) - np.log(p)), x)


def test_forward_fit_has_the_mixtures_moments():
    torch.manual_seed(0)
    w = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    means = torch.randn(3, 2, dtype=torch.float64) * 2
    roots = torch.randn(3, 2, 2, dtype=torch.float64)
    p = gaussian_mixture(w, means, roots @ roots.mT + 0.1 * torch.eye(2))
    fit, x = moment_match(p), p.sample((200_000,))
    torch.testing.assert_close(fit.mean, x.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(fit.covariance_matrix, x.T.cov(), atol=0.1, rtol=0)


def test_forward_fit_is_a_minimum_of_forward_kl():
    """E_p[log g] by quadrature falls for every small change of mean and scale."""
    weights, means, scales = TWO
    fit = moment_match(mixture(*TWO))
    m, s = float(fit.mean), float(fit.scale_tril)

    def expected_log(m, s):
        p = lambda x: sum(w * norm.pdf(x, a, b) for w, a, b in zip(weights, means, scales, strict=True))
        return quad(lambda x: p(x) * norm.logpdf(x, m, s), -12, 12, limit=200)[0]

    best = expected_log(m, s)
    for dm, ds in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        assert expected_log(m + dm, s + ds) < best


def test_reverse_fit_is_a_minimum_found_by_a_grid_of_gaussians():
    fits = fit_reverse_kl(mixture(*TWO))
    best = fits[0]
    m, s = float(best.gaussian.mean), float(best.gaussian.scale_tril)
    assert best.kl == pytest.approx(reverse_kl(m, s, *TWO), abs=2e-4)
    grid = [reverse_kl(a, b, *TWO) for a in np.linspace(-4, 4, 17) for b in np.linspace(0.4, 3, 9)]
    assert best.kl <= min(grid) + 2e-4
    assert [f.kl for f in fits] == sorted(f.kl for f in fits)


def test_far_modes_give_each_component_and_minus_log_weight():
    weights, means, scales = [0.3, 0.7], [-12.0, 12.0], [0.8, 1.1]
    fits = fit_reverse_kl(mixture(weights, means, scales))
    for fit, w, m, s in zip(fits[:2], (0.7, 0.3), (12.0, -12.0), (1.1, 0.8), strict=True):
        assert fit.kl == pytest.approx(-math.log(w), abs=1e-9)
        assert float(fit.gaussian.mean) == pytest.approx(m, abs=1e-5)
        assert float(fit.gaussian.scale_tril) == pytest.approx(s, abs=1e-5)


def test_one_component_is_recovered_by_both_directions():
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    cov = torch.tensor([[2.0, 0.7], [0.7, 0.5]], dtype=torch.float64)
    p, truth = gaussian_mixture(torch.ones(1).double(), mean[None], cov[None]), MultivariateNormal(mean, cov)
    reverse = fit_reverse_kl(p)[0]
    assert reverse.kl == pytest.approx(0, abs=1e-10)
    for fit in (moment_match(p), reverse.gaussian):
        assert float(kl_divergence(fit, truth)) == pytest.approx(0, abs=1e-8)


def test_forward_covers_and_reverse_seeks():
    p = mixture(*TWO)
    forward, reverse = moment_match(p), fit_reverse_kl(p)[0].gaussian
    left = [
        norm.cdf(-1.0, float(g.mean), float(g.scale_tril)) for g in (forward, reverse)
    ]  # p has 0.35 there
    assert left[0] > 0.25
    assert left[1] < 0.01


@pytest.mark.parametrize("d", [1, 2])
def test_picture_is_written(tmp_path, d):
    means = torch.tensor([[-2.0] * d, [2.0] * d], dtype=torch.float64)
    p = gaussian_mixture(torch.ones(2).double(), means, torch.eye(d).double().expand(2, d, d))
    figure = draw_fits(p, tmp_path / "fits.png")
    assert (tmp_path / "fits.png").read_bytes()[:4] == b"\x89PNG"
    assert len(figure.axes) == 3
    assert "forward" in figure.axes[0].get_title()
    assert "reverse" in figure.axes[1].get_title()


def test_bad_mixtures_are_one_clear_error():
    eye = torch.eye(2)
    with pytest.raises(SpaceError, match="received"):
        gaussian_mixture(torch.ones(2), torch.zeros(3, 2), eye.expand(3, 2, 2))
    with pytest.raises(DataError, match="positive"):
        gaussian_mixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 2), eye.expand(2, 2, 2))
    with pytest.raises(DataError, match="positive definite"):
        gaussian_mixture(torch.ones(1), torch.zeros(1, 2), -eye[None])
    four = gaussian_mixture(torch.ones(1), torch.zeros(1, 4), torch.eye(4)[None])
    with pytest.raises(SpaceError, match="d <= 3"):
        fit_reverse_kl(four)
    with pytest.raises(SpaceError, match="d of 1 or 2"):
        draw_fits(four)
