"""The importance-weighted bound and the KL against hand computations and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch

from creo.errors import OptionError
from creo.latent import importance_weighted_bound, iwae_in_chunks, kl_to_standard_normal


def test_elbo_iwae_and_miwae_are_choices_of_m_and_k():
    torch.manual_seed(0)
    w = torch.rand(3, 5, 2, dtype=torch.float64) + 0.1
    elbo = importance_weighted_bound(w.log()[:, :1])
    torch.testing.assert_close(elbo, w[:, 0].log().mean(0))  # (M, 1)
    iwae = importance_weighted_bound(w.log()[:1])
    torch.testing.assert_close(iwae, w[0].mean(0).log())  # (1, K)
    miwae = importance_weighted_bound(w.log())
    torch.testing.assert_close(miwae, w.mean(1).log().mean(0))  # mean outside, logarithm in between
    assert not torch.allclose(miwae, importance_weighted_bound(w.log().transpose(0, 1)))  # M and K differ
    assert (elbo <= importance_weighted_bound(w.log().view(1, 15, 2)) + 5).all()


def test_constant_weights_give_their_logarithm_at_any_scale():
    log_w = torch.full((2, 7, 3), -2000.0)
    torch.testing.assert_close(importance_weighted_bound(log_w), torch.full((3,), -2000.0))


@pytest.mark.parametrize("chunk", [1, 3, 10, 100])
def test_chunks_change_nothing(chunk):
    torch.manual_seed(1)
    log_w = 5 * torch.randn(10, 4, dtype=torch.float64)
    queue = list(log_w)
    drawn = iwae_in_chunks(lambda k: torch.stack([queue.pop(0) for _ in range(k)]), 10, chunk)
    torch.testing.assert_close(drawn, importance_weighted_bound(log_w[None]))
    assert not queue


def test_kl_against_monte_carlo():
    torch.manual_seed(2)
    mean, log_std = torch.randn(2, 3, dtype=torch.float64), 0.5 * torch.randn(2, 3, dtype=torch.float64)
    q, p = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0.0, 1.0)
    z = q.sample((40_000,))
    ratio = (q.log_prob(z) - p.log_prob(z)).sum(-1)
    error = ratio.std(0) / math.sqrt(len(ratio))
    assert ((kl_to_standard_normal(mean, log_std) - ratio.mean(0)).abs() < 4 * error).all()
    assert kl_to_standard_normal(torch.zeros(1, 5), torch.zeros(1, 5)).item() == 0


def test_wrong_shape_is_named():
    with pytest.raises(OptionError, match=r"shape \(m, k, b\); received \(4, 2\)"):
        importance_weighted_bound(torch.zeros(4, 2))
