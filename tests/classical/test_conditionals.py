"""Completions of the classical models against conditionals by formula and by enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

import creo
from creo.classical.conditioning import gaussian_fill, marginal_log_prob
from creo.model import seeded
from creo.spaces import Continuous, Ordinal
from creo.testing.measure import everything
from creo.testing.tiny import settle, tiny_data

N = 20_000


def test_matherons_rule_draws_the_conditional_gaussian():
    with seeded(0):
        factor = torch.randn(4, 4, dtype=torch.float64).tril() + 2 * torch.eye(4, dtype=torch.float64)
        mean, x = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
        known = torch.tensor([True, False, False, True])
        drawn = gaussian_fill(x.expand(N, 4), known, mean, factor)
    s = factor @ factor.T
    u, k = ~known, known
    gain = s[u][:, k] @ s[k][:, k].inverse()
    want = mean[u] + gain @ (x - mean)[k]
    spread = s[u][:, u] - gain @ s[k][:, u]
    assert (drawn[:, k] == x[k]).all()
    error = spread.diagonal().sqrt() / math.sqrt(N)
    assert ((drawn[:, u].mean(0) - want).abs() < 5 * error).all()
    covariance = torch.cov(drawn[:, u].T)
    scale = spread.diagonal().sqrt()
    assert ((covariance - spread).abs() < 5 * math.sqrt(2 / N) * scale[:, None] * scale).all()


def test_the_marginal_is_the_integral_over_the_rest():
    with seeded(1):
        factor, mean = torch.randn(2, 2, dtype=torch.float64).tril(), torch.randn(2, dtype=torch.float64)
    factor.diagonal().abs_().add_(0.5)
    x = torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    got = marginal_log_prob(x, torch.tensor([True, False]), mean, factor)
    want = stats.norm(mean[0].item(), factor[0, 0].item()).logpdf(0.3)
    assert got.item() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("name", ["independent", "mixture"])
def test_completions_on_levels_follow_the_exact_conditional(name):
    space = Ordinal((1, 2, 2), 3)
    with seeded(0):
        model = creo.build(name, space, **({"components": 3, "smoothing": 1.0} if name == "mixture" else {}))
        model.initialise(tiny_data(space)[0])
    model.double()
    x = torch.tensor([[[[0, 2], [1, 0]]]], dtype=torch.uint8)
    known = torch.tensor([[[False, True], [True, False]]])
    points = everything(space)
    with torch.no_grad():
        p = model.log_prob(points).exp()
    agree = (points == x)[:, known].all(1)
    with seeded(1):
        drawn = model.complete(x.expand(N, 1, 2, 2), known)
    index = (drawn.flatten(1)[:, [0, 3]].long() * torch.tensor([3, 1])).sum(1)
    order = (points[agree].flatten(1)[:, [0, 3]].long() * torch.tensor([3, 1])).sum(1).argsort()
    expected = (p[agree] / p[agree].sum())[order] * N
    observed = torch.bincount(index, minlength=9)
    assert stats.chisquare(observed.numpy(), expected.numpy(), sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_mixture_completes_by_the_component_that_what_is_known_tells(covariance):
    """Two far blobs: x1 tells the blob, whatever the weights."""
    space = Continuous((2,))
    with seeded(0):
        label = torch.rand(2000) < 0.3
        data = torch.where(
            label[:, None], torch.tensor([5.0, -5.0]), torch.tensor([-5.0, 5.0])
        ) + torch.randn(2000, 2)
        model = creo.build("mixture", space, components=2, covariance=covariance)
        model.initialise(data)
        x = torch.tensor([[5.0, 0.0], [-5.0, 0.0]]).repeat(500, 1)
        drawn = model.complete(x, torch.tensor([True, False]))
    assert (drawn[0::2, 1] < 0).all()
    assert (drawn[1::2, 1] > 0).all()
    assert float(drawn[0::2, 1].std()) == pytest.approx(1.0, abs=0.15)


def test_masks_may_differ_from_row_to_row():
    space = Continuous((3,))
    x, _ = tiny_data(space)
    with seeded(0):
        model = creo.build("gaussian", space)
        model.initialise(x)
        known = torch.rand(x.shape) < 0.5
        drawn = model.complete(x, known)
    assert torch.equal(drawn[known], x[known])
    assert not torch.isclose(drawn[~known], x[~known]).any()


def test_nothing_is_drawn_where_all_is_known():
    model = creo.build("gaussian", Ordinal((4,), 5))
    x, _ = tiny_data(model.space)
    settle(model, x)
    assert torch.equal(model.complete(x, torch.ones(4, dtype=torch.bool)), x)
