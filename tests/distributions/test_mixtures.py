"""Mixtures of real variables against torch.distributions; coupled logistics by enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import distributions as td

from creo.distributions.coupled_logistic import CoupledLogistics
from creo.distributions.heads import DiscretisedLogistic
from creo.distributions.real_mixture import RealMixture


def reference(mixture: RealMixture, params: torch.Tensor) -> td.Distribution:
    weight, mean, scale = params.unflatten(-1, (3, mixture.components)).unbind(-2)
    mean, scale = mean + mixture.spread.double(), scale.exp()
    if mixture.shape == "gaussian":
        inner: td.Distribution = td.Normal(mean, scale)
    else:
        uniform = td.Uniform(torch.zeros_like(mean), torch.ones_like(mean))
        logistic = [td.SigmoidTransform().inv, td.AffineTransform(mean, scale)]
        inner = td.TransformedDistribution(uniform, logistic, validate_args=False)
    return td.MixtureSameFamily(td.Categorical(logits=weight), inner, validate_args=False)


@pytest.mark.parametrize("shape", ["gaussian", "logistic"])
def test_density_and_samples_of_a_real_mixture(shape):
    torch.manual_seed(0)
    mixture = RealMixture(3, shape)
    params, z = torch.randn(50, 9, dtype=torch.float64), 3 * torch.randn(50, dtype=torch.float64)
    torch.testing.assert_close(mixture.log_prob(params, z), reference(mixture, params).log_prob(z))
    n = 40_000
    drawn = mixture.sample(params[:1].expand(n, -1)).sort().values
    grid = torch.linspace(-60, 60, 240_001, dtype=torch.float64)
    cdf = mixture.log_prob(params[:1].expand(len(grid), -1), grid).exp().cumsum(0) * (grid[1] - grid[0])
    at = cdf[torch.bucketize(drawn, grid).clamp(max=len(grid) - 1)]
    distance = (at - (torch.arange(n) + 0.5) / n).abs().max()
    assert distance < 1.95 / n**0.5  # Kolmogorov: exceeded with probability 0.001


@pytest.mark.parametrize("channels", [1, 3])
def test_coupled_logistics_sum_to_one_and_their_tables_multiply_to_the_joint(channels):
    torch.manual_seed(1)
    levels = 5
    head = CoupledLogistics(levels, channels, 4)
    params = torch.randn(6, head.size, dtype=torch.float64)
    x = torch.tensor(list(itertools.product(range(levels), repeat=channels)))
    p = params[:, None].expand(-1, len(x), -1)
    x = x.expand(6, -1, -1)
    joint = head.log_prob(p, x)
    torch.testing.assert_close(joint.exp().sum(1), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)
    tables = [head.table(p, x[..., :c]).gather(-1, x[..., c : c + 1]).squeeze(-1) for c in range(channels)]
    torch.testing.assert_close(torch.stack(tables).sum(0), joint, rtol=0, atol=1e-10)


def test_one_channel_is_the_discretised_logistic_mixture():
    torch.manual_seed(2)
    coupled, plain = CoupledLogistics(256, 1, 3), DiscretisedLogistic(256, 3)
    params, x = torch.randn(100, 9, dtype=torch.float64), torch.randint(256, (100,))
    torch.testing.assert_close(coupled.log_prob(params, x[:, None]), plain.log_prob(params, x))
