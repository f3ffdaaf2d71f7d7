"""Heads against their definitions: sums to 1, values by differences of distribution functions, sampling."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

from creo.distributions.heads import Adjacent, Bernoulli, Categorical, DiscretisedLogistic, Gaussian, head_for
from creo.errors import OptionError
from creo.spaces import Continuous, Ordinal, Tokens

DISCRETE = {
    "bernoulli": Bernoulli,
    "categorical": lambda: Categorical(5),
    "adjacent": lambda: Adjacent(5),
    "adjacent256": lambda: Adjacent(256),
    "logistic2": lambda: DiscretisedLogistic(2, components=2),
    "logistic": lambda: DiscretisedLogistic(17, components=3),
    "logistic256": lambda: DiscretisedLogistic(256, components=5),
}


@pytest.fixture(params=DISCRETE.values(), ids=DISCRETE.keys())
def head(request):
    return request.param()


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_levels_sum_to_one(head, spread):
    torch.manual_seed(0)
    params = spread * torch.randn(200, head.size, dtype=torch.float64)
    total = head.log_probs(params).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    total = head.log_probs(params.float()).exp().sum(-1)
    assert (total - 1).abs().max() < 1e-6 * max(
        1, head.levels / 16
    )  # float32 rounding adds up over the levels


def test_log_prob_is_the_table_entry_mean_and_mode_are_its_moments(head):
    torch.manual_seed(1)
    params = torch.randn(7, 3, head.size, dtype=torch.float64)
    table = head.log_probs(params).exp()
    x = torch.randint(0, head.levels, (7, 3), dtype=torch.uint8)
    entry = table.gather(-1, x.long()[..., None]).squeeze(-1).log()
    torch.testing.assert_close(head.log_prob(params, x), entry, rtol=1e-10, atol=1e-10)
    mean = sum(v * table[..., v] for v in range(head.levels))
    torch.testing.assert_close(head.mean(params), mean)
    assert (table.gather(-1, head.mode(params)[..., None]).squeeze(-1) == table.max(-1).values).all()


def test_samples_follow_the_table(head):
    torch.manual_seed(2)
    params = torch.randn(head.size, dtype=torch.float64)
    n = 20_000
    x = head.sample(params.expand(n, -1))
    assert x.shape == (n,)
    assert 0 <= int(x.min()) <= int(x.max()) < head.levels
    expected = head.log_probs(params).exp().numpy() * n
    observed = torch.bincount(x, minlength=head.levels).numpy()
    large = expected >= 5
    if not large.all():  # pool the rare levels, as the chi-square approximation asks
        observed = [*observed[large], observed[~large].sum()]
        expected = [*expected[large], expected[~large].sum()]
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_gradient_is_right(head):
    torch.manual_seed(3)
    params = torch.randn(4, head.size, dtype=torch.float64, requires_grad=True)
    x = torch.randint(0, head.levels, (4,))
    assert torch.autograd.gradcheck(lambda p: head.log_prob(p, x), params)


def test_discretised_logistic_is_a_difference_of_distribution_functions():
    head = DiscretisedLogistic(17, components=1)
    params = torch.tensor([0.3, 0.2, -0.4], dtype=torch.float64)
    mean, scale = 0.2, math.exp(-0.4 - 1.0)
    law = stats.logistic((mean + 1) * 8, scale * 8)  # in units of levels
    edges = [-math.inf, *(v + 0.5 for v in range(16)), math.inf]
    expected = [law.cdf(b) - law.cdf(a) for a, b in pairwise(edges)]
    torch.testing.assert_close(head.log_probs(params).exp(), torch.tensor(expected, dtype=torch.float64))


def test_logistic_tails_stay_finite_in_float32():
    head = DiscretisedLogistic(256)
    params = torch.tensor([[0.0, 1.0, -20.0], [0.0, -1.0, -20.0], [0.0, 0.0, 20.0]], requires_grad=True)
    nll = -head.log_prob(params, torch.tensor([0, 255, 128]))
    nll.sum().backward()
    assert nll.isfinite().all()
    assert params.grad.isfinite().all()


def test_adjacent_parameters_are_log_odds_of_neighbours():
    params = torch.randn(4, dtype=torch.float64)
    table = Adjacent(5).log_probs(params)
    torch.testing.assert_close(table.diff(), params)


@pytest.mark.parametrize("std", [None, 0.7])
def test_gaussian_is_the_normal_density_in_raw_units(std):
    torch.manual_seed(4)
    head = Gaussian((3,), std).double()
    data = torch.randn(500, 3, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.1]) + 5
    head.initialise(data)
    params = torch.randn(6, 3, head.size, dtype=torch.float64)
    mean = data.mean(0) + data.std(0, correction=0) * params[..., 0]
    sd = torch.full_like(mean, std) if std else data.std(0, correction=0) * params[..., 1].exp()
    x = data[:6]
    expected = torch.distributions.Normal(mean, sd).log_prob(x)
    torch.testing.assert_close(head.log_prob(params, x), expected)
    torch.testing.assert_close(head.mean(params), mean)
    torch.testing.assert_close(head.mode(params), mean)
    draws = head.sample(params.expand(4000, 6, 3, head.size))
    z = (draws.mean(0) - mean) / sd * math.sqrt(4000)
    assert z.abs().max() < 4.5
    torch.testing.assert_close(draws.std(0) / sd, torch.ones_like(sd), rtol=0, atol=5 / math.sqrt(8000))


def test_gaussian_of_a_constant_column_is_finite():
    head = Gaussian((2,))
    head.initialise(torch.tensor([[1.0, 3.0], [2.0, 3.0]]))
    assert head.log_prob(torch.zeros(1, 2, 2), torch.tensor([[1.5, 3.0]])).isfinite().all()


def test_head_for_picks_by_space_and_refuses_the_rest():
    picked = [
        (Ordinal((4,), 2), Bernoulli),
        (Ordinal((4,), 5), Adjacent),
        (Ordinal((4,), 17), DiscretisedLogistic),
        (Tokens(4, 100), Categorical),
        (Continuous((4,)), Gaussian),
    ]
    for space, kind in picked:
        assert type(head_for(space)) is kind
    with pytest.raises(OptionError, match="heads that are: gaussian"):
        head_for(Continuous((4,)), "bernoulli")
    with pytest.raises(OptionError, match="bernoulli"):
        head_for(Ordinal((4,), 17), "bernoulli")
    with pytest.raises(OptionError, match="must be positive; received -1"):
        head_for(Continuous((4,)), std=-1.0)
