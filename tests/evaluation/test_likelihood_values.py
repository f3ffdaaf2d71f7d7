"""Likelihoods against closed forms."""

import math

import pytest
import torch

from creo.classical.independent import Independent
from creo.errors import SpaceError
from creo.evaluation.likelihood import likelihood_values, log_probs
from creo.model import seeded
from creo.spaces import Ordinal


def by_name(values):
    return {v.name: v for v in values}


def test_nll_of_the_truth_is_its_entropy(toys):
    with seeded(0):
        x = 2.0 * torch.randn(4000, 2)
    nll = by_name(likelihood_values(toys.Normal(0.0, 2.0), x, split="test"))["NLL"]
    entropy = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(2.0))
    assert nll.stderr == pytest.approx(1 / math.sqrt(4000), rel=0.1)  # Var[-log p] = D/2 = 1
    assert abs(nll.value - entropy) < 4 * nll.stderr
    assert (nll.kind, nll.unit, nll.n, nll.split) == ("=", "nats", 4000, "test")


def test_kl_between_gaussians(toys):
    """KL(N(0,1) || N(m,s^2)) = log s + (1 + m^2)/(2 s^2) - 1/2 per dimension."""
    with seeded(1):
        x = torch.randn(4000, 2)
    truth = toys.Normal().log_prob
    kl = by_name(likelihood_values(toys.Normal(0.5, 1.5), x, truth=truth))["KL"]
    exact = 2 * (math.log(1.5) + (1 + 0.25) / (2 * 2.25) - 0.5)
    assert abs(kl.value - exact) < 4 * kl.stderr
    assert kl.stderr < 0.02
    same = by_name(likelihood_values(toys.Normal(), x, truth=truth))["KL"]
    assert same.value == pytest.approx(0.0, abs=1e-6)


def test_bits_per_dim_by_hand():
    """Histograms that have seen nothing are uniform: 4 levels need 2 bits per pixel."""
    model = Independent(Ordinal((1, 2, 3), 4))
    x = torch.randint(0, 4, (20, 1, 2, 3), dtype=torch.uint8)
    values = by_name(likelihood_values(model, x))
    assert values["bits/dim"].value == pytest.approx(2.0, rel=1e-6)
    assert values["NLL"].value == pytest.approx(6 * math.log(4), rel=1e-6)


def test_a_bound_says_so_and_its_noise_is_seeded(toys):
    x = torch.zeros(50, 2)
    before = torch.get_rng_state()
    first, again = (likelihood_values(toys.Noisy(), x, seed=3)[0] for _ in range(2))
    other = likelihood_values(toys.Noisy(), x, seed=4)[0]
    assert first.value == again.value != other.value
    assert (first.kind, first.note) == ("<=", "one sample")
    assert first.value > math.log(2 * math.pi)
    assert torch.equal(before, torch.get_rng_state())


def test_no_likelihood_is_a_row_that_says_why(toys):
    values = likelihood_values(toys.Silent(), torch.zeros(5, 2))
    assert all(v.missing and v.note == "it only samples" for v in values)


def test_chunks_change_nothing(toys):
    with seeded(0):
        x = torch.randn(101, 2)
    whole, parts = (log_probs(toys.Normal(1.0), x, batch_size=b) for b in (1000, 7))
    torch.testing.assert_close(whole, parts)


def test_zero_probability_is_counted(toys):
    class Half(toys.Normal):
        def log_prob(self, x, c=None):
            return torch.where(x[:, 0] > 0, super().log_prob(x), -math.inf)

    nll = likelihood_values(Half(), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-2.0, 0.0]]))[0]
    assert nll.value == math.inf
    assert "2 of 3" in nll.note


def test_wrong_data_is_refused_and_the_mode_restored(toys):
    model = toys.Normal().train()
    with pytest.raises(SpaceError, match="x must have shape"):
        log_probs(model, torch.zeros(3, 5))
    with pytest.raises(SpaceError, match="NaN"):
        log_probs(model, torch.full((3, 2), math.nan))
    log_probs(model, torch.zeros(3, 2))
    assert model.training
