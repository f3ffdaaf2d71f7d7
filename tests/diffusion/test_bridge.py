"""Stochastic interpolants and Schroedinger bridges between Gaussians, where everything is in closed form."""

import math

import pytest
import torch
from torch import nn

from creo.diffusion.bridge import Bridge, SBFlowMatching, StochasticInterpolant
from creo.diffusion.coupling import EntropicPairs, independent, optimal, straightness
from creo.diffusion.interpolants import Quarter, Straight
from creo.divergences.transport import sliced_wasserstein
from creo.errors import NoLikelihood, OptionError
from creo.model import seeded
from creo.spaces import Continuous

D = torch.float64
S0, M1, S1 = 0.6, 0.5, 1.4  # data N(0, S0^2), the other end N(M1, S1^2)
LINE = Continuous((1,))


def schroedinger(noise):
    """Covariance of the ends under the entropic plan with regularisation 2 noise^2."""
    return ((4 * S0**2 * S1**2 + noise**4) ** 0.5 - noise**2) / 2


class Exact(nn.Module):
    """The network whose heads are the conditional expectations of jointly normal ends with this covariance."""

    def __init__(self, interpolant, covariance):
        super().__init__()
        self.interpolant, self.covariance = interpolant, covariance
        self.anchor = nn.Parameter(torch.zeros(1, dtype=D))

    def laws(self, t):
        """Coefficients, and mean and variance of x_t."""
        (a, b, g), (da, db, _) = self.interpolant(t), self.interpolant.derivatives(t)
        variance = a**2 * S0**2 + b**2 * S1**2 + 2 * a * b * self.covariance + g**2
        return (a, b, g), (da, db), b * M1, variance

    def forward(self, x, u, e=None):
        t = u.exp().atan() / (math.pi / 2)  # log(beta/alpha) of a quarter circle; `Straight` has twice that
        t = (u.exp().sqrt().atan() if isinstance(self.interpolant, Straight) else u.exp().atan()) / (
            math.pi / 2
        )
        (a, b, g), (da, db), mean, variance = (
            [k[:, None] for k in p] if isinstance(p, tuple) else p[:, None] for p in self.laws(t)
        )
        total = a**2 + b**2 + g**2
        y = x * total.sqrt()
        k = self.covariance
        cross = da * (a * S0**2 + b * k) + db * (b * S1**2 + a * k)
        v = db * M1 + cross / variance * (y - mean)
        eta = g / variance * (y - mean)
        return torch.cat([v - (da * a + db * b) / total * y, eta - g / total * y], 1)


def exact_model(interpolant, covariance=0.0, coupling=independent):
    model = Bridge(LINE, Exact(interpolant, covariance), interpolant, coupling=coupling).double().eval()
    with seeded(0):
        model = model.starting_from((M1 + S1 * torch.randn(4000, 1)).double())
    return model


KINDS = [Straight(0.7), Quarter(0.7), Straight(0.0)]


@pytest.mark.parametrize("interpolant", KINDS, ids=str)
@pytest.mark.parametrize("covariance", [0.0, 0.5])
def test_flow_between_gaussians_keeps_their_order(interpolant, covariance):
    """On a line any flow with the right marginals is the monotone map, whatever the coupling."""
    model = exact_model(interpolant, covariance)
    x = torch.linspace(-2, 2, 9, dtype=D)[:, None] * S0
    there = model.encode(x)
    torch.testing.assert_close(there, M1 + x / S0 * S1, rtol=0, atol=2e-4)
    torch.testing.assert_close(model.carry(there, steps=80), x, rtol=0, atol=2e-4)
    torch.testing.assert_close(model.carry(x, back=True, steps=80), there, rtol=0, atol=1e-9)


@pytest.mark.parametrize("interpolant", KINDS, ids=str)
def test_divergence_gives_the_density(interpolant):
    model = exact_model(interpolant)
    x = torch.linspace(-1.5, 1.5, 7, dtype=D)[:, None]
    z, gained = model._moved(x, None, 0.0, 60, 0.0, tracked=True)
    got = torch.distributions.Normal(M1, S1).log_prob(z[:, 0]) + gained
    want = torch.distributions.Normal(0.0, S0).log_prob(x[:, 0])
    torch.testing.assert_close(got, want.double(), rtol=0, atol=5e-4)


def test_loss_of_exact_heads_is_the_conditional_variance():
    interpolant = Quarter(0.8)
    model = exact_model(interpolant)
    with seeded(1), torch.no_grad():
        x0 = S0 * torch.randn(4000, 1, dtype=D)
        losses = torch.stack([model.loss(x0).loss for _ in range(60)])
    t = (torch.arange(4000, dtype=D) + 0.5) / 4000
    (a, b, g), (da, db), _, variance = model.network.laws(t)
    cross = da * a * S0**2 + db * b * S1**2
    want = (da**2 * S0**2 + db**2 * S1**2 - cross**2 / variance + 1 - g**2 / variance).mean()
    assert (
        abs(losses.mean() - want) < 4.5 * losses.std() / 60**0.5 + 0.03
    )  # 4000 fixed examples of the source
    assert losses.std() / 60**0.5 < 0.02


def test_denoiser_and_score_are_the_gaussian_ones():
    model = exact_model(Quarter(0.7), 0.4)
    t, x = torch.tensor(0.3, dtype=D), torch.linspace(-2, 2, 5, dtype=D)[:, None]
    (a, b, _), _, mean, variance = model.network.laws(t)
    torch.testing.assert_close(model.score(x, t), -(x - mean) / variance)
    torch.testing.assert_close(model.denoise(x, t), (a * S0**2 + b * 0.4) / variance * (x - mean))


@pytest.mark.parametrize("kappa", [0.0, 0.7, 2.0])
def test_diffusions_have_the_flows_marginals_and_the_bridges_its_joint_law(kappa):
    """Whatever the noise, x_0 has the data's law; with the bridge's own noise the ends have the entropic covariance."""
    noise = 0.7
    model = exact_model(Straight(noise), schroedinger(noise))
    with seeded(2):
        x1 = M1 + S1 * torch.randn(8000, 1, dtype=D)
        x0 = model.carry(x1, steps=200, noise=kappa)
    n = len(x1) ** 0.5
    assert abs(x0.mean()) < 4.5 * S0 / n + 0.01
    assert abs(x0.std() - S0) < 4.5 * S0 / (2**0.5 * n) + 0.01
    covariance = float(torch.cov(torch.cat([x0, x1], 1).T)[0, 1])
    error = 4.5 * S0 * S1 * 2**0.5 / n + 0.01
    if kappa == noise:
        assert abs(covariance - schroedinger(noise)) < error
    else:
        assert abs(covariance - schroedinger(noise)) > error
    if kappa == 0:
        assert abs(covariance - S0 * S1) < error


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_entropic_pairs_have_the_covariance_of_gaussians(noise):
    pairs, n = EntropicPairs(noise), 300
    with seeded(0):
        ends = [(S0 * torch.randn(n, 1), M1 + S1 * torch.randn(n, 1)) for _ in range(8)]
        drawn = [(x0, pairs(x0, x1)) for x0, x1 in ends]
    values = torch.stack([((a - a.mean()) * (b - b.mean())).mean() for a, b in drawn])
    want, error = schroedinger(noise), float(values.std()) / 8**0.5
    assert abs(values.mean() - want) < 4.5 * error + 0.02
    means = torch.stack([b.mean() for _, b in drawn])  # the noise keeps its distribution
    assert abs(means.mean() - M1) < 4.5 * S1 * (2 / (8 * n)) ** 0.5


def test_entropic_pairs_lie_between_optimal_and_independent_and_stay_within_conditions():
    with seeded(0):
        x0, z, c = torch.randn(128, 2), torch.randn(128, 2), torch.randint(0, 3, (128,))
        spreads = [straightness(x0, EntropicPairs(s)(x0, z)) for s in (0.05, 0.7, 20.0)]
        within = EntropicPairs(0.5)(x0, z, c)
        alone = EntropicPairs(0.5)(x0, z, torch.randn(128, 1))
    assert straightness(x0, optimal(x0, z)) <= spreads[0] < spreads[1] < spreads[2]
    assert spreads[0] < 1.2 * straightness(x0, optimal(x0, z))
    for k in range(3):
        mine = {tuple(v) for v in z[c == k].tolist()}
        assert all(tuple(v) in mine for v in within[c == k].tolist())
    assert torch.equal(alone, z)
    with pytest.raises(OptionError, match="positive"):
        EntropicPairs(0.0)


def test_coefficients_and_their_slopes():
    t, h = torch.linspace(0.01, 0.99, 9, dtype=D), 1e-6
    for interpolant in KINDS:
        slopes = interpolant.derivatives(t)
        for k, slope in enumerate(slopes):
            numeric = (interpolant(t + h)[k] - interpolant(t - h)[k]) / (2 * h)
            torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-8)
        ends = torch.stack(interpolant(torch.tensor([0.0, 1.0], dtype=D)))
        torch.testing.assert_close(ends, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=D))
    (a, b, g), share = Straight(0.7)(t), (t * math.pi / 2).sin() ** 2
    torch.testing.assert_close(
        g**2, 0.49 * share * (1 - share)
    )  # a Brownian bridge over the share of the way
    torch.testing.assert_close(torch.stack([a, b]), torch.stack([1 - share, share]))
    with pytest.raises(OptionError, match="noise"):
        Straight(-1.0)


@pytest.mark.parametrize("kind", [StochasticInterpolant, SBFlowMatching])
def test_two_data_sets_are_bridged(kind):
    """A ring carried to two far points and back, after a short training; without it the distance is large."""
    with seeded(0):
        angle = torch.rand(1000, 1) * 2 * math.pi
        source = torch.cat([angle.cos(), angle.sin()], 1) * 5 + 20
        target = torch.tensor([3.0, -3.0])[torch.randint(2, (1000, 1))] + 0.3 * torch.randn(1000, 2)
        model = kind.for_space(Continuous((2,)), hidden=(48, 48)).starting_from(source)
        model.initialise(target)
        before = sliced_wasserstein(model.carry(source), target).value
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(200):
            optimiser.zero_grad()
            model.loss(target[torch.randint(1000, (64,))]).loss.backward()
            optimiser.step()
        model.eval()
        flow, diffusion = (model.carry(source, noise=k) for k in (0.0, 0.5))
        back = model.carry(target, back=True)
    assert sliced_wasserstein(flow, target).value < 0.7 * before
    assert sliced_wasserstein(diffusion, target).value < 0.7 * before
    assert sliced_wasserstein(back, source).value < 2.2
    with pytest.raises(NoLikelihood, match="examples"):
        model.log_prob(target)
    with pytest.raises(OptionError, match="encode"):
        kind.for_space(Continuous((2,))).carry(target)
