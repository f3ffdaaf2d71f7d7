"""Variational diffusion: the continuous-time bound, its schedule and its gradients against closed forms."""

import math

import pytest
import torch
from torch import nn

from creo.diffusion import Diffusion, Mixture, time_grid
from creo.diffusion.bound import gaussian_reconstruction, variational_bound
from creo.diffusion.networks import Widened
from creo.diffusion.schedule import LearnedSchedule
from creo.diffusion.vdm import VDM
from creo.errors import OptionError
from creo.model import seeded
from creo.nn.time import TimeMLP
from creo.spaces import Continuous, Ordinal
from creo.testing import settle, tiny_data

D = torch.float64
X = torch.tensor([[-1.7], [0.2], [2.4]], dtype=D)


class Best(nn.Module):
    """The network of the exact denoiser of a mixture on variance-preserving paths."""

    def __init__(self, weights, means, stds):
        super().__init__()
        self.path = LearnedSchedule(-20.0, 20.0).double()
        self.mixture = Mixture(self.path, *(torch.tensor(v, dtype=D) for v in (weights, means, stds)))

    def forward(self, x, u, e=None):
        t = self.path.time(-2 * u)
        alpha, sigma = (k[:, None] for k in self.path(t))
        return (x - alpha * self.mixture(x, t)) / sigma - sigma * x


def skewed(low=-14.0, high=14.0):
    """A schedule whose interior is far from even."""
    schedule = LearnedSchedule(low, high, intervals=5).double()
    schedule.logits.data = torch.tensor([0.0, 2.0, -1.0, 0.5, 1.0], dtype=D)
    return schedule


def model_of(network, schedule, space=Continuous((1,)), **options):
    return VDM(space, network, schedule=schedule.double(), **options).double().eval()


def expected_bound(model, x, count=1500):
    """E of the bound: midpoints in every interval of time, and noise +-1, with which quadratics are exact."""
    p = model.schedule.shares().detach()
    p = p / p.sum()
    knots = torch.cat([p.new_zeros(1), p.cumsum(0)[:-1]])
    u = (knots[:, None] + p[:, None] * (torch.arange(count, dtype=D) + 0.5) / count).reshape(-1)
    weight = (p[:, None] / count).expand(-1, count).reshape(-1)
    total = torch.zeros(len(x), dtype=D)
    for sign in (1.0, -1.0):
        rows, times = x.repeat_interleave(len(u), 0), u.repeat(len(x))
        value = model.parts(rows, None, times, sign * torch.ones_like(rows))[0].total
        total = total - (value.view(len(x), -1) * weight).sum(1) / 2
    return total


def normal(x, std):
    return -(x[:, 0] ** 2 / std**2 + math.log(2 * math.pi * std**2)) / 2


@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_bound_of_a_gaussian_is_its_density_whatever_the_interior(std):
    values = [
        expected_bound(model_of(Best([1.0], [[0.0]], [std]), schedule), std * X)
        for schedule in (skewed(), LearnedSchedule(-14.0, 14.0, intervals=5))
    ]
    for value in values:
        torch.testing.assert_close(value, normal(std * X, std), rtol=0, atol=1e-4)
    torch.testing.assert_close(*values, rtol=0, atol=1e-5)


def test_units_are_counted():
    model = model_of(Best([1.0], [[0.0]], [1.0]), LearnedSchedule(-14.0, 14.0, intervals=2))
    model.units.mean.fill_(3.0)
    model.units.log_std.fill_(math.log(0.5))
    torch.testing.assert_close(
        expected_bound(model, 3 + 0.5 * X), normal(X, 1.0) + math.log(2), atol=3e-5, rtol=0
    )


def test_bound_of_a_mixture_is_its_density():
    parts = [0.3, 0.7], [[-1.2], [0.6]], [0.4, 0.3]
    model = model_of(Best(*parts), skewed())
    want = model.network.mixture.log_prob(X / 2, torch.tensor(0.0, dtype=D))
    with seeded(0):
        draws = model.log_prob((X / 2).repeat(8000, 1), steps=32).view(8000, 3)
    error = draws.std(0) / 8000**0.5
    assert (error < 0.015).all()
    assert ((draws.mean(0) - want).abs() < 4.5 * error + 1e-3).all()


def test_t_step_bound_approaches_the_continuous_one():
    """For the same Gaussian and noise +-1: the gap falls like 1/T, from above."""
    network, schedule = Best([1.0], [[0.0]], [0.5]), LearnedSchedule(-12.0, 9.0, intervals=4).double()
    continuous = expected_bound(model_of(network, schedule), X)
    x, sign = X.repeat_interleave(2, 0), torch.tensor([1.0, -1.0], dtype=D).repeat(3)[:, None]
    gaps = []
    for steps in (50, 100, 800):
        times = time_grid(schedule, steps)
        denoise = Mixture(schedule, *(torch.tensor(v, dtype=D) for v in ([1.0], [[0.0]], [0.5])))
        out = variational_bound(
            denoise, schedule, times, x, gaussian_reconstruction(x), noise=lambda like: sign
        )
        gaps.append(continuous - out.log_prob.view(-1, 2).mean(1))
    assert (gaps[0] > 0).all()
    torch.testing.assert_close(gaps[0] / gaps[1], torch.full((3,), 2.0, dtype=D), rtol=0.1, atol=0)
    assert (gaps[2].abs() < gaps[0] / 12).all()


@pytest.mark.parametrize("space", [Continuous((2,)), Ordinal((1, 2, 2), 3)])
def test_loss_is_an_unbiased_estimate_of_the_bound(space):
    x, _ = tiny_data(space)
    model = settle(VDM.for_space(space, hidden=(16,)), x).eval()
    with torch.no_grad(), seeded(0):
        losses = torch.stack([model.loss(x).loss for _ in range(300)]) * space.dims
        bounds = torch.stack([-model.log_prob(x).mean() for _ in range(20)])
        parts = model.loss(x).parts
    error = (losses.var() / 300 + bounds.var() / 20) ** 0.5
    assert abs(losses.mean() - bounds.mean()) < 4.5 * error
    assert error < 0.05
    torch.testing.assert_close(
        parts["bound"], parts["prior"] + parts["reconstruction"] + parts["diffusion"], rtol=1e-4, atol=1e-4
    )


def test_gradients_of_the_ends_are_those_of_the_expected_bound():
    network = Best([1.0], [[0.1]], [0.4])  # not quite the denoiser of what follows, so that the ends matter

    def value(low, span, schedule=None):
        if schedule is None:
            schedule = LearnedSchedule(intervals=4).double()
            schedule.low.data, schedule.log_span.data = torch.tensor([low, math.log(span)], dtype=D)
        return -expected_bound(model_of(network, schedule), X, 1000).mean()

    schedule = LearnedSchedule(-4.0, 3.0, intervals=4).double()
    got = torch.autograd.grad(value(0.0, 0.0, schedule), [schedule.low, schedule.log_span])
    h = 1e-3
    with torch.no_grad():
        by_low = (value(-4 + h, 7.0) - value(-4 - h, 7.0)) / (2 * h)
        by_span = (value(-4.0, 7 * math.exp(h)) - value(-4.0, 7 * math.exp(-h))) / (2 * h)
    torch.testing.assert_close(torch.stack(got), torch.stack([by_low, by_span]), rtol=2e-3, atol=1e-5)


def test_gradient_of_the_interior_is_that_of_the_second_moment():
    """Terms l = e/q of a known e at times drawn from q: the surrogate's gradient against autograd of int e^2/q."""

    def e(share):
        return 0.2 + (7 * share).sin() ** 2

    schedule, count = skewed(), 200_000
    share, density = schedule.inside((torch.arange(count, dtype=D) + 0.5) / count)
    got = torch.autograd.grad(schedule.spread_loss(share, e(share) / density), schedule.logits)[0]
    even = (torch.arange(count, dtype=D) + 0.5) / count
    q = schedule.shares()[(even * 5).long()] * 5
    want = torch.autograd.grad((e(even) ** 2 / q).mean().log(), schedule.logits)[0]
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)
    assert schedule.spread_loss(share, e(share)).item() == 0


def test_learned_interior_lowers_the_variance():
    schedule = LearnedSchedule(-10.0, 10.0, intervals=16)
    optimiser = torch.optim.Adam([schedule.logits], lr=0.05)

    def terms(u):
        share, density = schedule.inside(u)
        return share, (-((share - 0.3) / 0.05).square() / 2).exp() / density

    before = terms(torch.linspace(0, 0.9999, 5000))[1].std()
    with seeded(0):
        for _ in range(200):
            optimiser.zero_grad()
            schedule.spread_loss(*terms(torch.rand(256))).backward()
            optimiser.step()
    assert terms(torch.linspace(0, 0.9999, 5000))[1].std() < 0.4 * before


def test_schedule_is_a_path():
    schedule, t = skewed(), torch.linspace(0.01, 0.99, 37, dtype=D)
    alpha, sigma = schedule(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    torch.testing.assert_close(schedule.time(schedule.log_snr(t)), t, rtol=1e-10, atol=1e-12)
    h = 1e-6
    for k in (0, 1):
        slope = (schedule(t + h)[k] - schedule(t - h)[k]) / (2 * h)
        torch.testing.assert_close(schedule.derivatives(t)[k], slope, rtol=1e-5, atol=1e-7)
    ends = schedule.log_snr(torch.tensor([0.0, 1.0], dtype=D))
    torch.testing.assert_close(ends, torch.tensor([14.0, -14.0], dtype=D), rtol=1e-6, atol=0)
    with pytest.raises(OptionError, match="low < high"):
        LearnedSchedule(2.0, 1.0)


def test_probability_flow_and_t_step_bound_agree_with_log_prob():
    """The same network asked three ways: a bound in continuous time, the flow's density, and for levels T steps."""
    model = model_of(Best([0.5, 0.5], [[-1.0], [1.0]], [0.5, 0.5]), LearnedSchedule(-12.0, 8.0))
    with seeded(0):
        bound = model.log_prob(X.repeat(400, 1), steps=32).view(400, 3)
        flow = Diffusion.log_prob(model, X, steps=96)
    assert ((bound.mean(0) - flow).abs() < 4.5 * bound.std(0) / 400**0.5 + 2e-3).all()
    space = Ordinal((2,), 5)
    x, _ = tiny_data(space)
    levels = settle(VDM.for_space(space, hidden=(32,)), x).double()
    with seeded(0):
        ours = torch.stack([levels.log_prob(x[:64], steps=64).mean() for _ in range(20)])
        steps = torch.stack([levels.bound(x[:64], steps=200).log_prob.mean() for _ in range(10)])
    assert abs(ours.mean() - steps.mean()) < 0.25


def test_fourier_features_are_seen():
    network = Widened(TimeMLP((6,), hidden=(8,)), 3, heads=2)
    assert network(torch.randn(4, 2), torch.zeros(4)).shape == (4, 4)
    x = torch.randn(3, 1, 2, 2)
    waves = Widened(TimeMLP((5, 2, 2)), 5, heads=1, lowest=1).seen(x)
    torch.testing.assert_close(waves[:, 2:3], (4 * math.pi * x).sin())
    torch.testing.assert_close(waves[:, 3:4], (2 * math.pi * x).cos())
    with pytest.raises(OptionError, match="heads"):
        Widened(TimeMLP((6,)), 3, heads=4)
