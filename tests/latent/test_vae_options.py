"""Priors, posteriors, bounds and costs of the VAE, each against a closed form, Monte Carlo, or the rules of all."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from creo.distributions.heads import Adjacent, Bernoulli, Gaussian
from creo.errors import OptionError
from creo.latent import IWAE, VAE
from creo.latent.beta import Beta
from creo.latent.bounds import bound_for, iwae_with_error
from creo.latent.likelihood import log_likelihood
from creo.latent.posteriors import posterior_for
from creo.latent.priors import Mixture, prior_for
from creo.latent.rate import RateCost
from creo.spaces import Categories, Continuous, Ordinal
from creo.testing import check_instance
from creo.testing.tiny import settle, tiny_data

SPACE = Ordinal((4,), 3)


def settled(space, condition=None, **options):
    torch.manual_seed(0)
    x, c = tiny_data(space, condition)
    model = VAE.for_space(space, condition, hidden=16, latent=2, samples=16, **options)
    return settle(model, x, c), x, c


RULES = (
    "train_and_eval",
    "dtypes",
    "gradients_reach_parameters",
    "samples_match_log_prob",
    "samples_in_space",
)


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "mixture", "prior_components": 3},
        {"prior": "vamp", "prior_components": 4},
        {"prior": "realnvp"},
        {"prior": "made-mixed"},
        {"prior": "gaussian"},
        {"posterior": "full"},
        {"posterior": "full", "prior": "maf", "bound": "iwae", "k": 3, "estimator": "stl"},
        {"posterior": "iaf"},
        {"posterior": "planar", "bound": "iwae", "k": 3, "estimator": "score"},
        {"bound": "piwae", "m": 2, "k": 3},
        {"bound": "ciwae", "k": 4, "estimator": "dreg", "keep": 2},
        {"free_bits": 0.05, "beta_warmup": 20},
        {"capacity": 1.0, "capacity_steps": 20, "beta": 10.0},
    ],
    ids=str,
)
def test_every_choice_is_a_model_by_the_rules(options):
    model, x, c = settled(SPACE, **options)
    check_instance(
        model,
        x,
        c,
        rebuild=lambda: VAE.for_space(SPACE, hidden=16, latent=2, samples=16, **options),
        only=(*RULES, "save_load"),
    )


def test_conditional_models_take_priors_and_posteriors_too():
    model, x, c = settled(SPACE, Categories(3), prior="nsf", posterior="iaf")
    check_instance(model, x, c, rebuild=lambda: model, only=("conditional", "train_and_eval"))
    with pytest.raises(OptionError, match="prior='vamp' needs posteriors of x alone"):
        VAE.for_space(SPACE, Categories(3), prior="vamp")


# --- posteriors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["diagonal", "full", "iaf", "planar", "realnvp"])
def test_a_posteriors_density_is_that_of_its_draws(name):
    """push's log q = log_prob of the draw, and the density integrates to 1 (by importance sampling)."""
    torch.manual_seed(1)
    family = posterior_for(name, 2).double()
    with torch.no_grad():
        for p in family.parameters():
            p.add_(0.1 * torch.randn_like(p))
    q = family(0.5 * torch.randn(3, family.size, dtype=torch.float64))
    z, log_q = q.push(q.noise(4))
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-5, atol=1e-5)  # an inverse of nearly flat layers
    if name == "full":
        normal = torch.distributions.MultivariateNormal(q.mean, scale_tril=q.tril)
        torch.testing.assert_close(log_q, normal.log_prob(z))
    wide = torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), 4.0)
    points = wide.sample((3000, 3))
    ratio = (q.log_prob(points) - wide.log_prob(points).sum(-1)).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.5 * ratio.std(0) / math.sqrt(len(points))).all()


@pytest.mark.parametrize("name", ["diagonal", "full"])
def test_closed_rates_against_monte_carlo(name):
    torch.manual_seed(2)
    family = posterior_for(name, 3)
    q = family(0.7 * torch.randn(4, family.size, dtype=torch.float64))
    z, log_q = q.push(q.noise(40_000))
    ratio = log_q - torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    kl = q.kl_to_standard().sum(1)
    assert ((kl - ratio.mean(0)).abs() < 4.5 * ratio.std(0) / 200).all()


# --- priors ---------------------------------------------------------------------------------------------------------


def test_a_mixture_prior_against_its_definition_and_its_own_draws():
    torch.manual_seed(3)
    prior = Mixture(2, 3).double()
    torch.nn.init.normal_(prior.logits)
    z = torch.randn(5, 4, 2, dtype=torch.float64)
    truth = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=prior.logits),
        torch.distributions.Independent(torch.distributions.Normal(prior.mean, prior.log_std.exp()), 1),
    )
    torch.testing.assert_close(prior.log_prob(z), truth.log_prob(z))
    draws, n = prior.sample(40_000), 200
    assert ((draws.mean(0) - truth.mean).abs() < 4.5 * truth.variance.sqrt() / n).all()


def test_vamp_is_the_mean_of_the_encoders_posteriors():
    torch.manual_seed(4)
    model = VAE.for_space(SPACE, hidden=8, latent=2, prior="vamp", prior_components=5).double()
    x = torch.randint(0, 3, (50, 4), dtype=torch.uint8)
    model.initialise(x)
    z = torch.randn(3, 7, 2, dtype=torch.float64)
    q = model.encoding(model.prior.inputs)
    each = torch.stack([q.log_prob(z.unsqueeze(-2)[..., [0] * 5, :])]).squeeze(0)
    torch.testing.assert_close(model.prior.log_prob(z), each.exp().mean(-1).log())
    scaled = model.head.scaled(x, torch.float64)
    assert all((scaled == u).all(1).any() for u in model.prior.inputs)  # pseudo-inputs start as data
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.encoder.inner.out.weight.add_(1.0)  # a copy's prior goes by the copy's encoder
    assert not torch.allclose(copied.prior.log_prob(z), model.prior.log_prob(z))


def test_a_flexible_prior_lowers_the_rate_of_a_bimodal_code():
    """A bit coded as -2 or 2 with deviation 0.1: the rate is its information, ln 2, under the best mixture only."""
    torch.manual_seed(5)
    prior, means = Mixture(1, 2), torch.tensor([[-2.0], [2.0]])
    with torch.no_grad():
        prior.mean.copy_(torch.tensor([[-1.0], [1.0]]))
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(400):
        loss = -prior.log_prob(means.repeat(64, 1) + 0.1 * torch.randn(128, 1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.01)
    rate = -prior.log_prob(means.repeat(5000, 1) + 0.1 * torch.randn(10_000, 1)).mean().item() - entropy
    assert abs(rate - math.log(2)) < 0.05
    assert 0.5 * (4 + 0.01 - 1) - math.log(0.1) > 5 * rate  # the standard normal's


# --- bounds and heads -----------------------------------------------------------------------------------------------


def test_miwae_of_one_group_is_iwae_and_iwae_of_one_sample_the_elbo():
    log_w = torch.randn(1, 6, 3, dtype=torch.float64)
    torch.testing.assert_close(bound_for("miwae", m=1, k=6).value(log_w), bound_for("iwae", k=6).value(log_w))
    torch.testing.assert_close(bound_for("piwae", m=1, k=6).value(log_w), bound_for("iwae", k=6).value(log_w))
    torch.testing.assert_close(bound_for("iwae", k=1).value(log_w[:, :1]), log_w[0, 0])
    elbo = bound_for("elbo", m=6).value(log_w.transpose(0, 1))
    torch.testing.assert_close(elbo, log_w[0].mean(0))
    torch.testing.assert_close(bound_for("ciwae", k=6, share=1.0).value(log_w), elbo)
    torch.testing.assert_close(
        bound_for("ciwae", k=6, share=0.0).value(log_w), bound_for("iwae", k=6).value(log_w)
    )
    assert bound_for("iwae").k == 50
    for name in ("elbo", "iwae", "miwae", "piwae", "ciwae"):
        bound = bound_for(name)
        log_w = torch.randn(bound.m, bound.k, 2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(bound.value(log_w).sum(), log_w)
        torch.testing.assert_close(bound.weights(log_w.detach()), slope)


def test_the_standard_error_of_the_estimate_is_that_of_repetitions():
    torch.manual_seed(6)

    def log_w(k):
        return 0.5 * torch.randn(k, 1, dtype=torch.float64)

    values, errors = zip(*(iwae_with_error(log_w, 400, 60) for _ in range(400)), strict=True)
    spread = torch.stack(values).std()
    assert abs(torch.stack(errors).mean() / spread - 1) < 0.15  # sd of a sd from 400 draws is 3.5 %
    assert iwae_with_error(log_w, 1, 1)[1].isinf().all()


def test_log_likelihood_is_the_heads_own_sum_with_its_gradient():
    torch.manual_seed(7)
    x = torch.randint(0, 2, (5, 1, 3, 3), dtype=torch.uint8)
    for head in (Bernoulli(), Adjacent(2), Gaussian((1, 3, 3))):
        params = (3 * torch.randn(4, 5, 1, 3, 3, head.size, dtype=torch.float64)).requires_grad_()
        data = x if head.size == 1 and not isinstance(head, Gaussian) else x.double()
        fast = log_likelihood(head, params, data)
        plain = torch.stack([head.log_prob(p, data) for p in params]).flatten(2).sum(2)
        torch.testing.assert_close(fast, plain)
        weight = torch.randn_like(plain)
        a, b = (torch.autograd.grad((weight * v).sum(), params)[0] for v in (fast, plain))
        torch.testing.assert_close(a, b)


def test_the_beta_head_is_the_beta_density_of_the_range():
    torch.manual_seed(10)
    x = 4 + 3 * torch.rand(50, 2, dtype=torch.float64)
    head = Beta((2,)).double()
    head.initialise(x)
    low, high = head.low, head.low + head.width
    assert (low < x.amin(0)).all()
    assert (high > x.amax(0)).all()
    params = torch.randn(2, 2, dtype=torch.float64)
    grid = low + (high - low) * (torch.arange(20_000, dtype=torch.float64)[:, None] + 0.5) / 20_000
    density = head.log_prob(params.expand(20_000, 2, 2), grid).exp()
    mass = density.mean(0) * (high - low)
    torch.testing.assert_close(mass, torch.ones(2, dtype=torch.float64), rtol=1e-3, atol=0)
    torch.testing.assert_close((density * grid).mean(0) * (high - low), head.mean(params), rtol=1e-3, atol=0)
    draws = head.sample(params.expand(20_000, 2, 2))
    assert ((draws.mean(0) - head.mean(params)).abs() < 4.5 * draws.std(0) / math.sqrt(20_000)).all()
    peak = torch.full((1, 2, 2), 3.0, dtype=torch.float64) + torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    at = head.mode(peak)
    assert (head.log_prob(peak, at) > head.log_prob(peak, at + 0.01)).all()
    assert (head.log_prob(peak, at) > head.log_prob(peak, at - 0.01)).all()
    assert head.log_prob(params, low - 0.1).isneginf().all()
    with pytest.raises(OptionError, match="head 'beta' is a density of real variables"):
        VAE.for_space(SPACE, head="beta")
    model = VAE.for_space(Continuous((2,)), head="beta", hidden=8, latent=2).double()
    model.initialise(x)
    model.loss(x).loss.backward()
    assert model.eval().log_prob(x).isfinite().all()
    assert Continuous((2,)).check(model.sample(9)).shape == (9, 2)


def test_the_best_fixed_deviation_of_a_decoder_is_the_root_of_its_mean_square_error():
    """The course problem: given means, the Gaussian decoder's likelihood is highest at sigma^2 = MSE."""
    torch.manual_seed(8)
    x, mean = torch.randn(400, 3, dtype=torch.float64), 0.4 * torch.randn(400, 3, dtype=torch.float64)
    rms = (x - mean).square().mean().sqrt()

    def value(std):
        return Gaussian((3,), float(std)).double().log_prob(mean[..., None], x).mean()

    assert value(rms) > max(value(0.99 * rms), value(1.01 * rms))
    closed = -0.5 * (1 + math.log(2 * math.pi)) - rms.log()
    torch.testing.assert_close(value(rms), closed)


# --- the cost of the rate -------------------------------------------------------------------------------------------


def test_costs_against_hand_computations():
    rates = torch.tensor([0.1, 2.0, 0.0])
    assert RateCost()(rates, 0) == rates.sum()
    assert RateCost(4.0, warmup=10)(rates, 5).item() == pytest.approx(2.0 * 2.1)
    assert RateCost(free_bits=0.5)(rates, 0).item() == pytest.approx(0.5 + 2.0 + 0.5)
    assert RateCost(10.0, capacity=5.0, capacity_steps=10)(rates, 2).item() == pytest.approx(10 * (2.1 - 1.0))
    assert RateCost(10.0, capacity=5.0, capacity_steps=10)(rates, 99).item() == pytest.approx(
        10 * (5.0 - 2.1)
    )
    with pytest.raises(OptionError, match="free_bits and capacity both"):
        RateCost(free_bits=1.0, capacity=1.0)
    with pytest.raises(OptionError, match="warmup must be at least 0"):
        RateCost(warmup=-1)


def test_steps_are_counted_in_training_and_saved():
    model, x, _ = settled(SPACE, beta_warmup=100)
    assert int(model.steps) == 10
    before = model.loss(x).loss
    assert int(model.steps) == 10  # evaluating counts nothing
    model.steps.fill_(100)
    assert model.loss(x).loss > before  # the rate costs more now
    fresh = VAE.for_space(SPACE, hidden=16, latent=2)
    fresh.load_state_dict(model.state_dict())
    assert int(fresh.steps) == 100


def test_beta_weighs_the_rate_in_every_bound():
    """At beta = 0 IWAE's weights are likelihoods alone: the bound is log mean p(x | z_k)."""
    torch.manual_seed(9)
    model = VAE.for_space(SPACE, hidden=8, latent=2, bound="iwae", k=5, beta=0.0).double().eval()
    x = torch.randint(0, 3, (6, 4), dtype=torch.uint8)
    torch.manual_seed(1)
    terms = model.loss(x)
    torch.manual_seed(1)
    q = model.posterior(x)
    z, log_q = q.push(q.noise(5))
    likelihood = model.log_likelihood(x, z)
    torch.testing.assert_close(terms.loss, -(likelihood.exp().mean(0).log()).mean())
    log_w = likelihood + model.prior.log_prob(z) - log_q
    torch.testing.assert_close(terms.parts["nll"], -(log_w.exp().mean(0).log()).mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": "elbo", "k": 5}, "makes it bound='iwae'"),
        ({"bound": "iwae", "m": 2}, "makes it bound='miwae'"),
        ({"free_bits": 1.0, "bound": "iwae"}, "free_bits and capacity needs bound='elbo'"),
        ({"estimator": "analytic", "prior": "mixture"}, "estimator='analytic' needs"),
        ({"prior": "gan"}, "no prior 'gan'; there are standard, mixture, vamp"),
        ({"posterior": "made"}, "no posterior 'made'; there are diagonal, full"),
        ({"residual": False, "network": "conv"}, "residual=False is of perceptrons"),
    ],
    ids=str,
)
def test_what_cannot_be_says_so(options, message):
    with pytest.raises(OptionError, match=message):
        VAE.for_space(SPACE, **options)


def test_a_prior_of_no_components_is_refused():
    with pytest.raises(OptionError, match="at least 1 component"):
        prior_for("mixture", 2, components=0, shape=(2,), encode=None)


def test_iwae_is_the_papers_network():
    model = IWAE.for_space(Ordinal((1, 28, 28), 2))
    assert model.bound.k == 50
    sizes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert sizes == [(200, 784), (200, 200), (100, 200), (200, 50), (200, 200), (784, 200)]
    assert not any(model.encoder.inner.skip + model.decoder.inner.skip)
    assert Continuous((2,)) == IWAE.for_space(Continuous((2,))).space
