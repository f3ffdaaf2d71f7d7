"""log p by the probability flow against the exact density of a mixture."""

import pytest
import torch

from creo.diffusion import likelihood
from creo.diffusion.exact import Mixture
from creo.diffusion.likelihood import flow_log_prob
from creo.diffusion.paths import EDM, VE, VP, Cosine, Linear, SubVP, Trigonometric
from creo.errors import OptionError
from creo.model import seeded

D = torch.float64
PATHS = (VP(), SubVP(), VE(0.01, 50.0), EDM(), Linear(), Cosine(), Trigonometric())
each = pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)


def mixture(path):
    """Two components; mean 0 and variance 1 in every dimension, as data in a diffusion's units have."""
    mean = torch.tensor([[0.8, 0.6], [-0.8, -0.6]], dtype=D)
    one = Mixture(path, torch.tensor([0.5, 0.5], dtype=D), mean, torch.tensor([0.6, 0.6], dtype=D))
    with seeded(0):
        return one, one.sample(64)


def truth(one, path, x):
    t = torch.tensor(path.t_min, dtype=D)
    return one.log_prob(path(t)[0] * x, t) + 2 * path(t)[0].log()


@each
def test_flow_gives_the_mixtures_density(path):
    one, x = mixture(path)
    got, _ = flow_log_prob(one, path, x, steps=96)
    assert (got - truth(one, path, x)).abs().max() < 1e-3


@each
def test_noise_of_the_model_is_noise_of_the_data(path):
    """At t_min the density is that of the data but for the little noise there is."""
    one, x = mixture(path)
    data = one.log_prob(x, path.time(torch.tensor(40.0, dtype=D)))
    assert (truth(one, path, x) - data).abs().max() < 5e-3


def test_error_falls_with_the_order_of_the_method():
    path = Linear()
    one, x = mixture(path)
    errors = [
        (flow_log_prob(one, path, x, steps=n)[0] - truth(one, path, x)).abs().mean().item() for n in (32, 64)
    ]
    assert errors[0] / errors[1] > 6


def test_hutchinsons_trace_is_right_on_average(monkeypatch):
    path = Linear()
    one, x = mixture(path)
    exact, _ = flow_log_prob(one, path, x[:1], steps=48)
    monkeypatch.setattr(likelihood, "EXACT_TRACE", 0)
    with seeded(0):
        many, _ = flow_log_prob(one, path, x[:1].expand(4000, 2), steps=48)
    assert many.std() > 0.01
    assert abs(many.mean() - exact[0]) < 4.5 * many.std() / 4000**0.5


def test_density_follows_from_any_denoiser():
    """A denoiser of no distribution still defines one, by the flow: it integrates to 1."""
    path = Linear()

    def odd(x, t):
        return (1 - t) * x + t * torch.tanh(2 * x.flip(1))

    grid = torch.linspace(-6, 6, 121, dtype=D)
    x = torch.cartesian_prod(grid, grid)
    total = flow_log_prob(odd, path, x, steps=200)[0].exp().sum() * (grid[1] - grid[0]) ** 2
    assert total.item() == pytest.approx(1, abs=5e-3)


def test_needs_a_step():
    one, x = mixture(VP())
    with pytest.raises(OptionError, match="step"):
        flow_log_prob(one, VP(), x, steps=0)
