"""Bounds on KL against the closed form between Gaussians, at the optimal critic and away from it."""

from __future__ import annotations

import math

import pytest
import torch

from creo.divergences.f_divergence import KL
from creo.divergences.variational import donsker_varadhan, nwj
from creo.errors import DataError

N = 200_000


@pytest.fixture(scope="module")
def draws():
    """x ~ N(0.5, 1), y ~ N(0, 1): log p/q = x/2 - 1/8, KL = 1/8 nats."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, generator=generator, dtype=torch.float64) + 0.5
    return x, torch.randn(N, generator=generator, dtype=torch.float64)


def log_ratio(x):
    return x / 2 - 1 / 8


def test_both_are_tight_at_their_optimal_critic(draws):
    x, y = draws
    # E_p[T] has variance 1/4; e^T under q has mean 1 and variance e^(1/4) - 1.
    error = math.sqrt((0.25 + math.expm1(0.25)) / N)
    assert float(nwj(1 + log_ratio(x), 1 + log_ratio(y))) == pytest.approx(0.125, abs=4 * error)
    for shift in (0.0, 7.0):
        value = float(donsker_varadhan(shift + log_ratio(x), shift + log_ratio(y)))
        assert value == pytest.approx(0.125, abs=4 * error)


def test_other_critics_stay_below_by_the_closed_form(draws):
    """T = a x + c: E_p[T] = a/2 + c, E_q[e^T] = e^(a^2/2 + c)."""
    x, y = draws
    for a, c in ((0.2, 0.5), (0.9, 0.8)):
        error = math.sqrt((a**2 + math.exp(2 * (c - 1)) * (math.exp(2 * a * a) - math.exp(a * a))) / N)
        want_nwj = a / 2 + c - math.exp(a * a / 2 + c - 1)
        assert float(nwj(a * x + c, a * y + c)) == pytest.approx(want_nwj, abs=4 * error)
        want_dv = a / 2 - a * a / 2
        relative = math.sqrt((a**2 + math.expm1(a * a)) / N)
        assert float(donsker_varadhan(a * x + c, a * y + c)) == pytest.approx(want_dv, abs=4 * relative)
        assert want_nwj <= want_dv < 0.125


def test_donsker_varadhan_is_never_below_nwj_and_nwj_is_the_f_gan_objective():
    torch.manual_seed(1)
    for _ in range(20):
        t_p, t_q = torch.randn(2, 30, dtype=torch.float64) * 2
        assert float(donsker_varadhan(t_p, t_q)) >= float(nwj(t_p, t_q)) - 1e-12
        torch.testing.assert_close(nwj(t_p, t_q), KL().variational_bound(t_p, t_q))


def test_donsker_varadhan_bias_on_few_draws_is_as_documented():
    """At T = log p/q on n draws of q: bias Var_q(e^T) / (2 n) = (e^(1/4) - 1) / (2 n)."""
    torch.manual_seed(2)
    n, runs = 40, 20_000
    y = torch.randn(runs, n, dtype=torch.float64)
    log_means = log_ratio(y).logsumexp(1) - math.log(n)
    bias, error = float(-log_means.mean()), float(log_means.std()) / math.sqrt(runs)
    assert bias == pytest.approx(math.expm1(0.25) / (2 * n), abs=4 * error + 1 / n**2)
    assert bias > 4 * error


def test_large_critics_do_not_overflow_donsker_varadhan():
    assert float(donsker_varadhan(torch.tensor([900.0]), torch.tensor([900.0, 900.0]))) == pytest.approx(
        0, abs=1e-3
    )


def test_no_draws_is_an_error():
    with pytest.raises(DataError, match="critic_q is empty"):
        nwj(torch.zeros(3), torch.zeros(0))
