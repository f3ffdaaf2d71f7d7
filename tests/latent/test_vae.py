"""The VAE against probabilistic PCA, whose density and posterior are closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from creo.distributions.heads import Gaussian
from creo.errors import OptionError, SpaceError
from creo.latent import VAE, weighted
from creo.nn.conv import ConvDecoder, ConvEncoder, scales
from creo.spaces import Categories, Continuous, Ordinal, Tokens

D, LATENT, STD = 5, 2, 0.6


class Affine(nn.Module):
    """An affine map that ignores the condition and answers in `shape`."""

    def __init__(self, weight, bias, shape):
        super().__init__()
        self.weight, self.bias, self.shape = nn.Parameter(weight), nn.Parameter(bias), shape

    def forward(self, x, e=None):
        return (x @ self.weight.T + self.bias).view(-1, *self.shape)


def linear_gaussian(posterior_error: float = 0.0):
    """x = W z + b + STD eps as a VAE, its exact marginal, and an encoder off the exact posterior by an error."""
    torch.manual_seed(0)
    w, b = torch.randn(D, LATENT, dtype=torch.float64), torch.randn(D, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(b, w @ w.T + STD**2 * torch.eye(D, dtype=torch.float64))
    precision = torch.eye(LATENT, dtype=torch.float64) + w.T @ w / STD**2
    # A rotation of z makes the posterior diagonal, as the encoder's family is.
    rotation = torch.linalg.eigh(precision).eigenvectors
    w = w @ rotation
    variance = 1 / (1 + (w * w).sum(0) / STD**2)
    gain = (w * variance / STD**2).T
    weight = torch.cat([gain, torch.zeros_like(gain)])
    bias = torch.cat([-gain @ b + posterior_error, variance.sqrt().log() + posterior_error])
    space, latent = Continuous((D,)), LATENT
    model = VAE(
        space,
        Affine(weight, bias, (2 * latent,)),
        Affine(w, b, (D, 1)),
        Gaussian((D,), STD),
        latent=latent,
    )
    return model.double(), marginal


def test_the_bound_is_tight_at_the_exact_posterior():
    model, marginal = linear_gaussian()
    x = marginal.sample((20,))
    torch.testing.assert_close(model.log_prob(x, samples=1), marginal.log_prob(x))
    torch.testing.assert_close(model.log_prob(x, samples=7), marginal.log_prob(x))


def test_the_bound_is_below_the_exact_value_and_monotone_in_k():
    model, marginal = linear_gaussian(posterior_error=0.3)
    x = marginal.sample((1,))
    exact, values, errors = marginal.log_prob(x).item(), [], []
    for k in (1, 4, 16, 64):
        draws = model.log_prob(x.expand(4000, D), samples=k).detach()
        values.append(draws.mean().item())
        errors.append(draws.std().item() / math.sqrt(4000))
    for (low, high), (a, b) in zip(pairwise(values), pairwise(errors), strict=True):
        assert low < high + 4 * math.hypot(a, b)
    assert values[0] < exact - 0.05
    assert values[0] < values[-1] < exact + 4 * errors[-1]
    assert exact - values[-1] < 0.1 * (exact - values[0])


def test_the_loss_is_minus_the_elbo_and_its_gap_is_the_kl_to_the_posterior():
    """log p(x) - ELBO = KL(q || exact posterior), a closed form between two Gaussians."""
    error = 0.3
    model, marginal = linear_gaussian(posterior_error=error)
    exact_model, _ = linear_gaussian()
    x = marginal.sample((1,))
    q, exact = (
        torch.distributions.Normal(p.mean, p.log_std.exp())
        for p in (model.posterior(x), exact_model.posterior(x))
    )
    gap = torch.distributions.kl_divergence(q, exact).sum()
    batch = x.expand(20_000, D)
    terms = model.loss(batch)
    spread = model.log_weights(x.expand(2000, D), samples=1).std() / math.sqrt(20_000)
    assert abs(terms.loss - (gap - marginal.log_prob(x)).item()) < 5 * spread
    torch.testing.assert_close(terms.parts["rate"] + terms.parts["distortion"], terms.loss)
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(terms.parts["rate"], kl)


def test_training_finds_the_best_elbo():
    """The linear VAE's best ELBO over encoders, at the true decoder, is the exact log-likelihood."""
    model, marginal = linear_gaussian(posterior_error=1.0)
    x = marginal.sample((256,))
    optimiser = torch.optim.Adam(model.encoder.parameters(), lr=0.05)
    for _ in range(250):
        optimiser.zero_grad()
        model.loss(x).loss.backward()
        optimiser.step()
    exact = marginal.log_prob(x).mean()
    assert (model.log_prob(x, samples=1).mean() - exact).abs() < 0.05


def test_standardisation_is_counted():
    """A change of units x -> a x changes log p by -D log a, whatever the model."""
    torch.manual_seed(1)
    x = torch.randn(300, 4, dtype=torch.float64) + 3
    model = VAE.for_space(Continuous((4,)), hidden=16).double().eval()
    values = []
    for a in (1.0, 100.0):
        model.initialise(a * x)
        torch.manual_seed(2)
        values.append(model.log_prob(a * x[:10], samples=4))
    torch.testing.assert_close(values[1], values[0] - 4 * math.log(100.0))


def test_memory_is_bounded_and_chunks_change_only_the_noise(monkeypatch):
    torch.manual_seed(3)
    model = VAE.for_space(Ordinal((6,), 3), hidden=16).double().eval()
    x = torch.randint(0, 3, (9, 6), dtype=torch.uint8)
    rows, decode = [], model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda z, e=None: rows.append(len(z)) or decode(z, e))
    whole = model.log_prob(x, samples=4000)
    monkeypatch.setattr(weighted, "CHUNK_NUMBERS", 6 * model.head.size * 40)
    rows.clear()
    chunked = model.log_prob(x, samples=4000)
    assert max(rows) <= 40
    w = (model.log_weights(x, samples=2000) - whole).exp()  # relative weights: the bound errs by sd / sqrt(K)
    assert ((chunked - whole).abs() < 5 * math.sqrt(2 / 4000) * w.std(0) + 1e-3).all()


@pytest.mark.parametrize(
    "space",
    [Continuous((3,)), Ordinal((1, 8, 8), 17), Ordinal((1, 28, 28), 2), Ordinal((3, 17, 19), 256)],
    ids=str,
)
@pytest.mark.parametrize("condition", [None, Categories(3)], ids=str)
def test_gradient_reaches_every_parameter_and_samples_are_raw_data(space, condition):
    torch.manual_seed(4)
    model = VAE.for_space(space, condition, hidden=32, channels=4, latent=3)
    x = torch.randn(6, 3) if space.kind == "Continuous" else torch.randint(0, space.levels, (6, *space.shape))
    x, c = x.to(space.dtype), None if condition is None else torch.arange(6) % 3
    model.initialise(x, c)
    model.loss(x, c).loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().max() > 0, name
    one = None if c is None else c[0]
    samples = model.sample(5, one)
    assert space.check(samples).dtype == space.dtype
    assert space.check(model.decode(model.encode(x, c), c)).dtype == space.dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert model.log_prob(x, c, samples=2).dtype == torch.float32


def test_conditions_matter():
    torch.manual_seed(5)
    model = VAE.for_space(Continuous((2,)), Categories(2), hidden=16).eval()
    z = torch.zeros(1, 16)
    assert (model.decode(z, torch.tensor([0])) - model.decode(z, torch.tensor([1]))).abs().max() > 1e-3


def test_networks_for_pictures_go_back_through_the_same_sizes():
    assert scales(28, 28) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert scales(8, 8) == [(8, 8), (4, 4)]
    for shape in ((1, 8, 8), (3, 9, 21), (1, 28, 28)):
        code = ConvEncoder(shape, 5, channels=2)(torch.randn(2, *shape))
        assert code.shape == (2, 5)
        assert ConvDecoder(5, shape, 3, channels=2)(code).shape == (2, *shape, 3)


def test_errors_say_what_to_do():
    with pytest.raises(SpaceError, match="Continuous and Ordinal; received Tokens"):
        VAE.for_space(Tokens(3, 4))
    with pytest.raises(OptionError, match=r"images \(C, H, W\); received shape \(4,\)"):
        VAE.for_space(Continuous((4,)), network="conv")
    with pytest.raises(OptionError, match="beta must be at least 0"):
        VAE.for_space(Continuous((4,)), beta=-1.0)
    with pytest.raises(OptionError, match="at least 1 sample"):
        VAE.for_space(Continuous((2,)), hidden=8).log_prob(torch.zeros(1, 2), samples=0)


def test_far_outside_the_data_the_bound_is_low_not_nan():
    torch.manual_seed(0)
    model = VAE.for_space(Continuous((2,)))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    values = model.log_prob(torch.tensor([[-294.0, -684.0], [1e4, 1e4]]), samples=8)
    assert values.isfinite().all()
    assert (values < -100).all()


def test_what_validation_selects_by_is_the_bound_whatever_beta():
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    model = VAE.for_space(Continuous((2,)), beta=4.0)
    terms = model.loss(x)
    torch.testing.assert_close(terms.parts["nll"], terms.parts["distortion"] + terms.parts["rate"])
    torch.testing.assert_close(terms.loss.detach(), terms.parts["distortion"] + 4 * terms.parts["rate"])
