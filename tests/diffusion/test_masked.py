"""Masked diffusion against enumeration of all masks and all orders on a tiny space."""

import itertools
import math

import pytest
import torch

from creo import build
from creo.errors import OptionError, SpaceError
from creo.model import seeded
from creo.nn.masked_symbols import MaskedMLP, MaskedTransformer, MaskedUNet
from creo.spaces import Categories, Continuous, Ordinal, Tokens

L, K = 3, 2
POINTS = torch.tensor(list(itertools.product(range(K), repeat=L)))
ORDERS = list(itertools.permutations(range(L)))


@pytest.fixture(scope="module")
def model():
    """A model with strong, order-dependent guesses."""
    torch.manual_seed(0)
    model = build("masked-diffusion", Tokens(L, K), hidden=(16,)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def chain(model, order, x=POINTS, given=()):
    """log p of the symbols in `order` one after another, those of `given` known from the start, (N,)."""
    hidden, total = torch.full_like(x, K), 0.0
    for i in given:
        hidden[:, i] = x[:, i]
    for i in order:
        total = total + model.network(hidden).log_softmax(-1)[range(len(x)), i, x[:, i]]
        hidden[:, i] = x[:, i]
    return total


@torch.no_grad()
def test_bound_over_masks_is_the_mean_over_orders(model):
    by_orders = torch.stack([chain(model, o) for o in ORDERS]).mean(0)
    by_masks = torch.zeros(len(POINTS), dtype=torch.float64)
    for mask in itertools.product([False, True], repeat=L):
        n = sum(mask)
        if n:
            nll = model.masked_nll(POINTS, torch.tensor(mask).expand_as(POINTS))
            by_masks -= nll * L / n / (L * math.comb(L, n))
    torch.testing.assert_close(by_masks, by_orders, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_log_prob_and_loss_are_unbiased_for_the_enumerated_bound(model):
    truth = torch.stack([chain(model, o) for o in ORDERS]).mean(0)
    with seeded(1):
        draws = torch.stack([model.log_prob(POINTS) for _ in range(100)])
        losses = torch.stack([model.loss(POINTS.repeat(50, 1)).parts["nll"] for _ in range(40)])
    error = draws.std(0) / 100**0.5
    assert ((draws.mean(0) - truth).abs() < 4.5 * error).all()
    assert abs(losses.mean() + truth.mean()) < 4.5 * losses.std() / 40**0.5


def frequencies(x):
    return torch.bincount((x.long() * torch.tensor([4, 2, 1])).sum(1), minlength=8).double() / len(x)


def assert_frequencies(x, p):
    """Every frequency within 4.5 standard errors."""
    assert ((frequencies(x) - p).abs() < 4.5 * (p * (1 - p) / len(x)).sqrt() + 1e-9).all()


@torch.no_grad()
def test_samples_are_of_the_mixture_over_orders_or_of_the_order_given(model):
    mixture = torch.stack([chain(model, o) for o in ORDERS]).exp().mean(0)
    assert abs(mixture.sum() - 1) < 1e-12
    bound = torch.stack([chain(model, o) for o in ORDERS]).mean(0)
    assert (bound < mixture.log()).all()
    one = chain(model, (2, 0, 1)).exp()
    assert (one - mixture).abs().max() > 0.02  # else the next lines could not tell them apart
    with seeded(0):
        assert_frequencies(model.sample(40000), mixture)
        assert_frequencies(model.sample(40000, order=torch.tensor([2, 0, 1])), one)


@torch.no_grad()
def test_one_step_takes_symbols_as_independent(model):
    logits = model.network(torch.full((1, L), K)).log_softmax(-1)[0]
    p = logits[range(L), POINTS].sum(1).exp()
    with seeded(0):
        assert_frequencies(model.sample(40000, steps=1), p)


@torch.no_grad()
def test_completing_keeps_what_is_known_and_draws_the_rest_given_it(model):
    known, x = torch.tensor([False, True, False]), torch.tensor([0, 1, 0]).expand(40000, -1)
    p = torch.stack([chain(model, o, given=[1]) for o in ((0, 2), (2, 0))]).exp().mean(0) * (
        POINTS[:, 1] == 1
    )
    with seeded(0):
        drawn = model.complete(x, known)
    assert (drawn[:, 1] == 1).all()
    assert_frequencies(drawn, p)
    full = model.complete(x[:3], torch.ones(3, dtype=torch.bool))
    assert (full == x[:3]).all()


def test_training_recovers_a_distribution():
    with seeded(0):
        model = build("masked-diffusion", Tokens(2, 2), Categories(2))
        c = torch.arange(4000) % 2
        first = torch.randint(2, (4000,))
        x = torch.stack([first, torch.where(c == 0, first, 1 - first)], 1)  # equal symbols, or different ones
        adam = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(80):
            adam.zero_grad()
            model.loss(x[:512], c[:512]).loss.backward()
            adam.step()
        model.eval()
        drawn = model.sample(1000, c[:1000])
    same = (drawn[:, 0] == drawn[:, 1]).double()
    assert same[c[:1000] == 0].mean() > 0.97
    assert same[c[:1000] == 1].mean() < 0.03
    torch.testing.assert_close(
        model.log_prob(x[:64], c[:64], masks=64).mean(), torch.tensor(-math.log(2.0)), atol=0.05, rtol=0
    )
    assert (model.sample(200, torch.tensor(0), guidance=2.0).diff(dim=1) == 0).double().mean() > 0.97


@pytest.mark.parametrize(
    "network",
    [
        MaskedMLP(16, 3, context=4),
        MaskedTransformer(16, 3, width=64, layers=1, context=4),
        MaskedUNet((1, 4, 4), 3, channels=8, context=4),
    ],
)
def test_networks_start_uniform_and_see_every_symbol(network):
    torch.manual_seed(0)
    x, e = torch.randint(4, (5, 16)), torch.randn(5, 4)
    assert (network(x, e).softmax(-1) - 1 / 3).abs().max() < 1e-6
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    network.eval()
    before = network(x, e)
    for i in (0, 7, 15):
        y = x.clone()
        y[:, i] = (x[:, i] + 1) % 4
        assert (network(y, e) - before).abs().amax((1, 2)).min() > 0
    assert (network(x, e + 1) - before).abs().max() > 0


def test_what_it_refuses(model):
    with pytest.raises(SpaceError):
        build("masked-diffusion", Continuous((2,)))
    with pytest.raises(OptionError, match="permutation"):
        model.sample(2, order=torch.tensor([0, 0, 1]))
    with pytest.raises(OptionError, match="step"):
        model.sample(2, steps=0)
    with pytest.raises(OptionError, match="conditional"):
        model.sample(2, guidance=2.0)
    assert build("masked-diffusion", Ordinal((1, 16, 16), 2)).sample(1, steps=2).shape == (1, 1, 16, 16)
