"""ELBO surgery, active units, rate-distortion and probes where the answer is known; paths between codes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from creo.distributions.heads import Gaussian
from creo.errors import OptionError
from creo.latent import PPCA, VAE
from creo.latent.diagnostics import active_units, linear_probe, rate_distortion, surgery
from creo.latent.interpolation import linear, spherical
from creo.latent.plots import latent_pictures
from creo.spaces import Categories, Continuous, Ordinal


class Given(nn.Module):
    """An encoder that says: the posterior's mean is x (times a gain), its deviation STD."""

    def __init__(self, std, gain=1.0):
        super().__init__()
        self.std, self.gain = std, gain

    def forward(self, x, e=None):
        return torch.cat([self.gain * x, torch.full_like(x, math.log(self.std))], 1)


class Itself(nn.Module):
    """A decoder whose mean is z."""

    def forward(self, z, e=None):
        return z.unsqueeze(-1)


def model_with(std, gain=1.0, dims=2):
    return (
        VAE(Continuous((dims,)), Given(std, gain), Itself(), Gaussian((dims,), 1.0), latent=dims)
        .double()
        .eval()
    )


def test_a_code_that_tells_n_examples_apart_has_log_n_nats():
    x = torch.tensor([[-50.0, 0.0], [0.0, 50.0], [50.0, 0.0]], dtype=torch.float64)
    torch.manual_seed(0)
    found = surgery(model_with(0.1), x, draws=50)
    assert found.information == pytest.approx(math.log(3), abs=1e-9)
    assert found.rate == pytest.approx(found.information + found.aggregate, rel=1e-2)
    assert found.active == 2


def test_a_collapsed_code_has_none_and_says_so():
    torch.manual_seed(1)
    found = surgery(model_with(1.0, gain=0.0), torch.randn(50, 2, dtype=torch.float64))
    assert found.information == pytest.approx(0.0, abs=1e-9)
    assert found.rate == pytest.approx(0.0, abs=1e-9)
    assert found.collapsed
    assert "posterior collapse" in found.lines()[-1]
    distinct = surgery(model_with(0.5), torch.randn(50, 2, dtype=torch.float64))
    assert not any("collapse" in line for line in distinct.lines())


def test_an_aggregate_that_is_the_prior_costs_nothing_but_information():
    """Means N(0, 1 - s^2), deviation s: q(z) = N(0, I), so KL(q(z) || p) = 0 and I = -log s an entry."""
    torch.manual_seed(2)
    s, n = 0.5, 1000
    x = math.sqrt(1 - s * s) * torch.randn(n, 2, dtype=torch.float64)
    found = surgery(model_with(s), x)
    assert found.information == pytest.approx(-2 * math.log(s), abs=0.08)
    assert found.aggregate == pytest.approx(0.0, abs=0.03)
    assert found.marginal == pytest.approx(0.0, abs=0.02)
    assert found.correlation == pytest.approx(0.0, abs=0.03)
    assert found.distortion == pytest.approx(0.5 * 2 * (s * s) + math.log(2 * math.pi), abs=0.03)


def test_correlated_codes_have_the_total_correlation_of_a_normal():
    torch.manual_seed(3)
    rho, n = 0.8, 1000
    first = torch.randn(n, dtype=torch.float64)
    x = torch.stack([first, rho * first + math.sqrt(1 - rho**2) * torch.randn(n, dtype=torch.float64)], 1)
    found = surgery(model_with(0.1), x)
    want = -0.5 * math.log(1 - (rho / 1.01) ** 2)  # the code adds the variance 0.01
    assert found.correlation == pytest.approx(want, abs=0.08)
    assert found.marginal == pytest.approx(0.0, abs=0.03)


def test_the_gap_is_nought_at_the_exact_posterior_and_marginals_need_closed_forms():
    """Of z + noise the posterior is N(x / 2, 1/2): then weights are constant."""
    torch.manual_seed(4)
    x = torch.randn(40, 2, dtype=torch.float64) * math.sqrt(2)
    exact, off = surgery(model_with(math.sqrt(0.5), 0.5), x), surgery(model_with(0.2, 0.5), x)
    assert exact.gap == pytest.approx(0.0, abs=0.05)  # the ELBO's own draws have spread
    assert off.gap > 0.3
    mixed = VAE.for_space(Continuous((2,)), prior="mixture", latent=2, hidden=8).eval()
    assert surgery(mixed, x.float()).marginal is None
    with pytest.raises(OptionError, match="at least 2 examples"):
        surgery(mixed, x[:1].float())


def test_active_units_are_variances_of_means():
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        active_units(model_with(0.3), x), torch.tensor([1.0, 0.0], dtype=torch.float64)
    )


def test_rounding_codes_costs_what_theory_says():
    """Of a code that keeps everything small steps of delta cost delta^2 / 12 an entry, and take h - log2 delta bits."""
    torch.manual_seed(5)
    x = torch.randn(20_000, 2, dtype=torch.float64)
    curve = rate_distortion(model_with(1.0), x, steps=(0.5, 0.25, 0.125))
    for point in curve:
        assert point.error == pytest.approx(2 * point.step**2 / 12, rel=0.05)
        assert point.bits == pytest.approx(
            2 * (0.5 * math.log2(2 * math.pi * math.e) - math.log2(point.step)), abs=0.05
        )


def test_a_linear_probe_reads_what_is_linear():
    torch.manual_seed(6)
    x = torch.randn(400, 2, dtype=torch.float64)
    line, ring = (x[:, 0] > 0).long(), (x.norm(dim=1) > 1.2).long()
    model = model_with(0.1)
    assert linear_probe(model, (x[:300], line[:300]), (x[300:], line[300:])) > 0.95
    assert linear_probe(model, (x[:300], ring[:300]), (x[300:], ring[300:])) < 0.75


# --- paths ------------------------------------------------------------------------------------------------------


def test_paths_have_their_ends_and_middles():
    a, b = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 3.0], [2.0, 2.0]])
    for path in (linear, spherical):
        way = path(a, b, 5)
        torch.testing.assert_close(way[:, 0], a)
        torch.testing.assert_close(way[:, -1], b)
    half = math.sqrt(0.5)
    torch.testing.assert_close(linear(a, b, 3)[0, 1], torch.tensor([1.5, 1.5]))
    torch.testing.assert_close(spherical(a, b, 3)[0, 1], torch.tensor([3 * half, 3 * half]))
    torch.testing.assert_close(spherical(a, b, 7)[0].norm(dim=-1), torch.full((7,), 3.0))  # on the circle
    torch.testing.assert_close(spherical(a, b, 3)[1, 1], torch.tensor([1.5, 1.5]))  # parallel: straight
    with pytest.raises(OptionError, match="at least 2 steps"):
        linear(a, b, 1)


@pytest.mark.parametrize("condition", [None, Categories(3)], ids=str)
def test_pictures_of_images_and_planes(condition):
    torch.manual_seed(7)
    x, c = (
        torch.randint(0, 4, (9, 1, 6, 6), dtype=torch.uint8),
        None if condition is None else torch.arange(9) % 3,
    )
    model = VAE.for_space(Ordinal((1, 6, 6), 4), condition, latent=2, hidden=8).eval()
    made = latent_pictures(model, x, c)
    assert set(made) == {"reconstructions", "traversals", "interpolation", "latent-map"}
    for name in ("reconstructions", "traversals", "interpolation"):
        assert made[name]().size[0] > 50
    assert len(made["latent-map"]().axes) >= 2
    assert latent_pictures(PPCA.for_space(Continuous((5,)), latent=3), torch.randn(4, 5)) == {}
