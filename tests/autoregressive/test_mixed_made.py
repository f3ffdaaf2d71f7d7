"""MADE of mixed variables: the mixture of orders by enumeration, causality in every order, tables and densities."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from creo.autoregressive import MixedMADE
from creo.errors import OptionError
from creo.model import seeded
from creo.spaces import Categories, Continuous, Ordinal, Table, Tokens
from creo.testing import check_causal, check_normalised, check_samples_match_log_prob
from creo.testing.measure import everything
from creo.testing.tiny import settle, shake, tiny_data

TABLE = Table({"a": Continuous(), "kind": Categories(3), "b": Continuous(), "count": Ordinal((), 4)})


def build(space, condition=None, noise=0.3, **options):
    with seeded(0):
        model = MixedMADE.for_space(space, condition, **{"hidden": (32,), **options})
    return shake(model, noise).double().eval()


@pytest.mark.parametrize("space", [Ordinal((2, 2), 3), Tokens(3, 4)], ids=str)
def test_several_orders_are_a_true_mixture(space):
    model, x = build(space, orders=3), everything(space)
    with torch.no_grad():
        parts, total = model.log_prob_by_order(x), model.log_prob(x)
    torch.testing.assert_close(parts.exp().sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(total.exp(), parts.exp().mean(0))
    assert (parts[0] - parts[1]).abs().max() > 1e-2  # the orders differ
    check_samples_match_log_prob(model)


def test_a_conditional_table_in_several_orders_is_normalised_and_sampled():
    small = Table({"kind": Categories(3), "b": Continuous(), "flag": Ordinal((), 2)})
    model = build(small, Categories(2), noise=0.1, orders=3, components=2)
    check_normalised(model, torch.tensor([0, 1]))
    with seeded(2):
        x = build(TABLE, Categories(2), orders=3).sample(64, torch.tensor(1))
    TABLE.check(x)
    assert len(x[:, 1].unique()) == 3


@pytest.mark.parametrize("k", [0, 1])
def test_in_each_order_a_variable_depends_on_all_before_it_and_on_no_other(k):
    model = build(Continuous((6,)), orders=2)
    order = model.orders[k]

    def answers(x):
        return model.networks[k](model._codes(x)[:, order].flatten(1), None)

    check_causal(answers, torch.randn(4, 6), order=order)


def test_units_do_not_matter():
    """Multiplying a column by 1000 takes ln 1000 from the log-density, and moves the samples with it."""
    x, _ = tiny_data(TABLE)
    factor = torch.tensor([1000.0, 1, 1, 1], dtype=torch.float64)
    logs, draws = [], []
    for data in (x, x * factor):
        model = build(TABLE)
        model.initialise(data)
        with seeded(3):
            draws.append(model.sample(5))
        logs.append(model.log_prob(data))
    torch.testing.assert_close(logs[1], logs[0] - math.log(1000))
    torch.testing.assert_close(draws[1], draws[0] * factor)


@pytest.mark.parametrize("shape", ["gaussian", "logistic"])
def test_learns_a_correlated_gaussian(shape):
    with seeded(1):
        z = torch.randn(4000, 2)
        x = torch.stack([3 * z[:, 0] + 10, z[:, 0] + 0.5 * z[:, 1]], 1)
        model = MixedMADE.for_space(Continuous((2,)), hidden=(32,), shape=shape, components=4, dropout=0.0)
    settle(model, x, steps=300, lr=1e-2, noise=0.0)
    entropy = math.log(2 * math.pi * math.e) + math.log(3 * 0.5)
    with torch.no_grad():
        nll = -model.log_prob(x).mean()
    # 4000 samples: their own mean of log p is known to sqrt(1 / 4000) = 0.016; the fit may lose 0.05
    assert entropy - 0.05 < nll < entropy + 0.08


def test_errors_say_what_to_do():
    with pytest.raises(OptionError, match="at least one order; received orders=0"):
        MixedMADE.for_space(Continuous((2,)), orders=0)


def test_completion_is_the_exact_conditional_in_several_orders():
    space = Table([("a", Categories(3)), ("b", Ordinal((), 2)), ("c", Categories(2))])
    with seeded(0):
        model = MixedMADE.for_space(space, hidden=(12,), orders=3)
    model = shake(model, 0.7).double().eval()
    everything = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0), torch.arange(2.0)).double()
    with torch.no_grad():
        p = model.log_prob(everything.to(space.dtype)).exp()
    agree = everything[:, 1] == 1  # b is known, a and c are not
    n = 20_000
    with seeded(1):
        x = torch.tensor([[0.0, 1.0, 0.0]], dtype=space.dtype).expand(n, 3)
        drawn = model.complete(x, torch.tensor([False, True, False]), particles=64)
    assert bool((drawn[:, 1] == 1).all())
    observed = torch.bincount((drawn[:, 0] * 2 + drawn[:, 2]).long(), minlength=6)
    expected = n * p[agree] / p[agree].sum()
    assert stats.chisquare(observed.numpy(), expected.numpy(), sum_check=False).pvalue > 1e-4


def test_completion_of_a_real_column_follows_its_conditional():
    """Two correlated normals, learned by heart in the network's place: known y gives x ~ N(rho y, 1 - rho^2)."""
    with seeded(0):
        z = torch.randn(4000, 2)
        data = torch.stack([z[:, 0], 0.8 * z[:, 0] + 0.6 * z[:, 1]], 1)
        model = MixedMADE.for_space(Continuous((2,)), hidden=(32,), components=1, dropout=0.0)
        model.initialise(data)
        optimiser = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(300):
            optimiser.zero_grad()
            model.loss(data[torch.randint(len(data), (256,))]).loss.backward()
            optimiser.step()
        model.eval()
        given = torch.tensor([[0.0, 1.5]]).expand(4000, 2)
        drawn = model.complete(given, torch.tensor([False, True]), particles=64)[:, 0]
    assert float(drawn.mean()) == pytest.approx(0.8 * 1.5, abs=0.1)
    assert float(drawn.std()) == pytest.approx(0.6, abs=0.07)
