"""The T-step bound against exact log p in a linear-Gaussian chain, where nothing is approximate."""

import math
from itertools import pairwise

import pytest
import torch

from creo.diffusion.bound import cell_reconstruction, gaussian_reconstruction, variational_bound
from creo.diffusion.exact import Mixture
from creo.diffusion.paths import VE, VP, SteppedVP, linear_betas
from creo.diffusion.recipes import FlowMatching
from creo.diffusion.solvers import nodes, time_grid
from creo.diffusion.solvers.one_step import posterior_std
from creo.errors import OptionError, SpaceError
from creo.model import seeded
from creo.spaces import Continuous, Ordinal
from creo.testing import settle, tiny_data

D = torch.float64
S = 1.0  # standard deviation of the data: with it, the prior is x_T's own marginal
PATHS = {"ddpm": SteppedVP(linear_betas(60)), "vp": VP(), "ve": VE(0.05, 8.0)}
X = torch.tensor([[-1.7], [0.2], [2.4]], dtype=D)


def gaussian(path, std=S):
    return Mixture(path, *(torch.tensor(v, dtype=D) for v in ([1.0], [[0.0]], [std])))


def bound(path, denoise, steps=20, **options):
    """With noise +-1 expectations of quadratics, which all terms are here, are exact."""
    times = time_grid(path, steps)
    sign = torch.tensor([1.0, -1.0], dtype=D).repeat(len(X))[:, None]
    x = X.repeat_interleave(2, 0)
    out = variational_bound(
        denoise,
        path,
        times,
        x,
        gaussian_reconstruction(x),
        noise=lambda like: sign * torch.ones_like(like),
        **options,
    )
    return out.log_prob.view(-1, 2).mean(1), out, times


def chain_log_prob(path, times, variances, last, std):
    """log p(x_0) of the reverse chain whose denoiser is the best linear one for data N(0, std^2)."""
    grid = nodes(path, times)
    variance = grid[0].alpha ** 2 + grid[0].sigma ** 2

    def gain(n):
        return n.alpha * std**2 / (n.alpha**2 * std**2 + n.sigma**2)

    for here, there, v in zip(grid, grid[1:], variances, strict=False):
        keep = (there.sigma**2 - posterior_std(here, there) ** 2) ** 0.5 / here.sigma
        slope = there.alpha * gain(here) + keep * (1 - here.alpha * gain(here))
        variance = slope**2 * variance + v
    variance = gain(grid[-1]) ** 2 * variance + last**2
    return -(X[:, 0] ** 2 / variance + math.log(2 * math.pi * variance)) / 2


def true_reverse_variances(path, times):
    """Of q(x_{i-1} | x_i) for data N(0, 1): the posterior's plus what is not known of x_0."""
    out, grid = [], nodes(path, times)
    for here, there in pairwise(grid):
        b = posterior_std(here, there) ** 2
        doubt = S**2 * here.sigma**2 / (here.alpha**2 * S**2 + here.sigma**2)
        out.append(b + (there.alpha * b / there.sigma**2) ** 2 * doubt)
    first = grid[-1]
    return torch.tensor(out, dtype=D), (
        S**2 * first.sigma**2 / (first.alpha**2 * S**2 + first.sigma**2)
    ) ** 0.5


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_bound_is_tight_for_the_true_reverse_chain(path):
    """The reverse chain of the process itself: bound = log p of the chain = log p of the data, at every x."""
    times = time_grid(path, 20)
    variances, last = true_reverse_variances(path, times)
    got, _, _ = bound(path, gaussian(path), variance=variances, last=last)
    torch.testing.assert_close(got, chain_log_prob(path, times, variances, last, S), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got, -(X[:, 0] ** 2 + math.log(2 * math.pi)) / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("std", [1.0, 0.4])
def test_bound_is_below_the_chains_log_prob(variance, std):
    path = PATHS["ddpm"]
    got, _, times = bound(path, gaussian(path, std), variance=variance)
    grid = nodes(path, times)
    pairs = list(pairwise(grid))
    used = [
        posterior_std(a, b) ** 2 * ((a.sigma / b.sigma) ** 2 if variance == "large" else 1) for a, b in pairs
    ]
    exact = chain_log_prob(path, times, used, grid[-1].sigma / grid[-1].alpha, std)
    assert (got < exact + 1e-9).all()
    if std != 1:  # of unit data, the larger variances are the true ones
        assert (got < exact - 1e-3).all()


def test_a_step_is_ddpms_divergence():
    """KL between the two Gaussians of one step, by torch.distributions."""
    path, betas = SteppedVP(linear_betas(60)), linear_betas(60)
    times, x0, z = path.times()[[30, 29]], torch.tensor([[0.7]], dtype=D), torch.tensor([[0.3]], dtype=D)
    out = variational_bound(
        lambda x, t: 0.1 * x,
        path,
        times,
        x0,
        gaussian_reconstruction(x0),
        variance="large",
        noise=lambda x: z,
    )
    bar = (1 - betas).cumprod(0)
    x = bar[30].sqrt() * x0 + (1 - bar[30]).sqrt() * z

    def mean(clean):
        return (
            bar[29].sqrt() * betas[30] * clean + (1 - betas[30]).sqrt() * (1 - bar[29]) * x
        ) / (1 - bar[30])  # fmt: skip

    small = (1 - bar[29]) / (1 - bar[30]) * betas[30]
    normal = torch.distributions.Normal
    want = torch.distributions.kl_divergence(
        normal(mean(x0), small.sqrt()), normal(mean(0.1 * x), betas[30].sqrt())
    )
    torch.testing.assert_close(out.steps[0], want[:, 0], rtol=1e-8, atol=1e-10)


def test_cells_partition_the_line():
    edges = torch.tensor([-torch.inf, -6.0, -1.0, 0.5, 7.0, torch.inf], dtype=D)
    low, high = edges[:-1, None], edges[1:, None]
    for mean in (-9.0, 0.1, 12.0):
        p = cell_reconstruction(low, high)(torch.full_like(low, mean), 0.8)
        assert p.exp().sum().item() == pytest.approx(1, abs=1e-9)
        assert p.isfinite().all()


def test_bound_of_levels_nears_their_probabilities_from_below():
    """Three levels and the exact denoiser: with many steps the bound is the logarithm of their probabilities."""
    path, p, centres = (
        VP(),
        torch.tensor([0.2, 0.5, 0.3], dtype=D),
        torch.tensor([[-1.1], [0.0], [1.1]], dtype=D),
    )
    denoise = Mixture(path, p, centres, torch.full((3,), 1e-6, dtype=D))
    low = torch.tensor([[-torch.inf], [-0.55], [0.55]], dtype=D).repeat(2000, 1)
    high = torch.tensor([[-0.55], [0.55], [torch.inf]], dtype=D).repeat(2000, 1)
    gaps = []
    for steps in (10, 400):
        times = time_grid(path, steps, spacing="log-snr")
        with seeded(0):
            out = variational_bound(
                denoise, path, times, centres.repeat(2000, 1), cell_reconstruction(low, high)
            )
        draws = out.log_prob.view(2000, 3)
        gap, error = p.log() - draws.mean(0), draws.std(0) / 2000**0.5
        assert (gap > -4.5 * error).all()
        gaps.append(gap.max().item())
    assert gaps[1] < 0.06 < gaps[0]


def test_bound_of_a_model_sums_to_at_most_one_over_levels():
    space = Ordinal((2,), 3)
    x, _ = tiny_data(space)
    model = settle(FlowMatching.for_space(space, hidden=(32,)), x).double()
    points = torch.cartesian_prod(torch.arange(3), torch.arange(3)).to(torch.uint8)
    with seeded(0):
        values = torch.stack([model.bound(points, steps=30).log_prob for _ in range(40)])
    assert values.isfinite().all()
    assert values.mean(0).exp().sum() < 1
    with pytest.raises(SpaceError, match="levels"):
        FlowMatching.for_space(Continuous((2,))).bound(torch.zeros(3, 2))


def test_variances_are_counted():
    with pytest.raises(OptionError, match="19 variances"):
        bound(VP(), gaussian(VP()), variance=torch.ones(3))
