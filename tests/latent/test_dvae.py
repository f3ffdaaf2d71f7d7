"""Discrete VAE: the relaxation's limits, rate and bound against enumeration of all codes."""

import math

import pytest
import torch

import creo
from creo.errors import OptionError
from creo.latent.dvae import relaxed
from creo.spaces import Ordinal
from creo.testing.measure import everything
from creo.testing.tiny import settle, tiny_data

SPACE, K = Ordinal((3,), 3), 5


@pytest.fixture(scope="module")
def model():
    with creo.seeded(0):
        built = creo.build("dvae", SPACE, codes=K, places=2, hidden=16)
    return settle(built, *tiny_data(SPACE), steps=30, lr=1e-2).double()


def test_gumbel_softmax_tends_to_draws():
    """At a low temperature the points are corners, with the frequencies of q; at a high one they are the centre."""
    torch.manual_seed(0)
    q = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    y = relaxed(q.log().expand(20_000, 3), 1e-3)
    assert ((y > 0.999) | (y < 0.001)).double().mean() > 0.99
    share = torch.bincount(y.argmax(1), minlength=3) / 20_000
    assert ((share - q).abs() < 4.5 * (q * (1 - q) / 20_000).sqrt()).all()
    assert (relaxed(q.log().expand(100, 3), 1e4) - 1 / 3).abs().max() < 1e-2


def test_the_temperature_falls_along_half_a_cosine():
    model = creo.build("dvae", SPACE, temperature=0.2, anneal=100)
    seen = []
    for step in (0, 50, 100, 1000):
        model.steps.fill_(step)
        seen.append(model.tau)
    assert seen == pytest.approx([1.0, 0.6, 0.2, 0.2])
    model.steps.fill_(0)
    model.train().loss(tiny_data(SPACE)[0])
    assert int(model.steps) == 1
    model.eval().loss(tiny_data(SPACE)[0])
    assert int(model.steps) == 1


def all_terms(model, x):
    """log p(k) p(x | k) and log q(k | x) of all codes: (K^2, B) each."""
    codes = torch.cartesian_prod(torch.arange(K), torch.arange(K))
    log_q = model.log_posterior(x)
    joint = torch.stack(
        [model.log_code_prior(k[None]) + model.log_likelihood(x, k.expand(len(x), 2)) for k in codes]
    )
    return joint, torch.stack([log_q[:, 0, k[0]] + log_q[:, 1, k[1]] for k in codes])


@torch.no_grad()
def test_rate_and_bound_against_enumeration(model):
    x = everything(SPACE)[:8]
    joint, log_q = all_terms(model, x)
    q, exact = log_q.exp(), joint.logsumexp(0)
    rate = (q * (log_q + 2 * math.log(K))).sum(0).mean()
    torch.testing.assert_close(model.loss(x).parts["rate"], rate)
    elbo = (q * (joint - log_q)).sum(0)
    with creo.seeded(1):
        log_w = model.log_weights(x, samples=20_000)
    for draws, truth in ((log_w, elbo), (log_w.exp(), exact.exp())):
        error = draws.std(0) / len(draws) ** 0.5
        assert ((draws.mean(0) - truth).abs() < 4.5 * error + 1e-9).all()
    many = torch.stack([model.log_prob(x, samples=k) for k in (1, 8, 64) for _ in range(200)]).view(
        3, 200, -1
    )
    means = many.mean((1, 2))
    assert means[0] < means[1] < means[2] < exact.mean() + 1e-3


@torch.no_grad()
def test_everything_sums_to_one(model):
    joint, _ = all_terms(model, everything(SPACE))
    assert joint.logsumexp(0).exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"anneal": -1}, {"samples": 0}])
def test_nonsense_is_refused(options):
    with pytest.raises(OptionError):
        creo.build("dvae", SPACE, **options)
