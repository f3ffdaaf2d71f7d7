"""Adaptive steps, orders of the random solvers without randomness, streams of noise, temperature, trajectories."""

import math

import pytest
import torch

from creo.diffusion import DDPM, SOLVERS, Adaptive, FlowMatching, Mixture
from creo.diffusion.paths import EDM, VE, VP, Linear, SteppedVP, SubVP, linear_betas
from creo.diffusion.solvers import (
    BOGACKI_SHAMPINE,
    DORMAND_PRINCE,
    SDE_DPMPP,
    Ancestral,
    Churn,
    EulerMaruyama,
    Heun,
    Multistep,
    Streams,
    find_solver,
    noise_source,
    time_grid,
)
from creo.diffusion.solvers.adaptive import flow_slope, integrate
from creo.errors import NonFinite, OptionError
from creo.model import seeded
from creo.spaces import Categories, Continuous
from creo.testing import settle, tiny_data

D = torch.float64
PATHS = {"vp": VP(), "sub-vp": SubVP(), "ve": VE(0.02, 10.0), "edm": EDM(), "linear": Linear()}
PAIRS = {"bogacki-shampine": BOGACKI_SHAMPINE, "dormand-prince": DORMAND_PRINCE}


def mixture(path):
    parts = [torch.tensor(v, dtype=D) for v in ([0.35, 0.65], [[-1.0], [0.9]], [0.5, 0.6])]
    return Mixture(path, *parts)


def quantile(denoiser, x, start, end):
    """Where the flow carries x: in one dimension quantiles are kept."""

    def cdf(y, t):
        alpha, sigma = denoiser.path(t)
        std = (alpha**2 * denoiser.stds**2 + sigma**2).sqrt()
        return (denoiser.weights * torch.special.ndtr((y - alpha * denoiser.means[:, 0]) / std)).sum(1, True)

    want, low, high = cdf(x, start), torch.full_like(x, -50.0), torch.full_like(x, 50.0)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            torch.where(cdf(middle, end) < want, middle, low),
            torch.where(cdf(middle, end) < want, high, middle),
        )
    return (low + high) / 2


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_pairs_satisfy_the_order_conditions(pair):
    """Butcher's conditions up to order 4 for both weightings, and the better one's last row of a is itself."""
    b = torch.tensor([*pair.a[-1], 0.0], dtype=D)
    worse = b - torch.tensor(pair.e, dtype=D)
    a = torch.zeros(len(b), len(b), dtype=D)
    for i, row in enumerate(pair.a):
        a[i, : len(row)] = torch.tensor(row, dtype=D)
    c = a.sum(1)
    assert torch.allclose(c, torch.tensor(pair.c, dtype=D))
    conditions = {1: [(torch.ones_like(c), 1)], 2: [(c, 1 / 2)], 3: [(c**2, 1 / 3), (a @ c, 1 / 6)]}
    conditions[4] = [(c**3, 1 / 4), (c * (a @ c), 1 / 8), (a @ c**2, 1 / 12), (a @ a @ c, 1 / 24)]
    conditions[5] = [(c**4, 1 / 5)]
    for weights, order in ((b, pair.order), (worse, pair.order - 1)):
        for p in range(1, order + 1):
            for column, want in conditions[p]:
                assert float(weights @ column) == pytest.approx(want, abs=1e-12)
    assert abs(float(worse @ conditions[pair.order][0][0]) - conditions[pair.order][0][1]) > 1e-4


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_adaptive_steps_meet_their_tolerance(path, pair):
    """Errors at the end stay within a few tolerances of the exact flow and fall with it."""
    denoiser = mixture(path)
    times = path.time(torch.tensor([-3.0, 3.0], dtype=D))
    alpha, sigma = path(times[0])
    x = (alpha**2 + sigma**2).sqrt() * torch.linspace(-1.5, 1.5, 7, dtype=D)[:, None]
    exact, found = quantile(denoiser, x, times[0], times[-1]), []
    for tolerance in (1e-3, 1e-6):
        calls = []
        counted = lambda y, t, calls=calls: (calls.append(1), denoiser(y, t))[1]
        end = Adaptive(tolerance, pair)(counted, path, times, x)
        assert (end - exact).abs().max() < 20 * tolerance
        found.append(len(calls))
    # The number of steps grows as tolerance^(-1/order): 10 for the third order, 4 for the fifth.
    assert 1.5 < found[1] / found[0] < 15
    assert found[0] <= 40


def test_adaptive_lands_on_the_times_of_the_grid_and_goes_both_ways():
    path = VP()
    denoiser, seen = mixture(path), []
    times = time_grid(path, 4, spacing="log-snr")
    x = torch.linspace(-1, 1, 3, dtype=D)[:, None]
    end = Adaptive(1e-8, DORMAND_PRINCE)(denoiser, path, times, x, record=seen.append)
    assert len(seen) == 4
    torch.testing.assert_close(seen[2], quantile(denoiser, x, times[0], times[2]), rtol=0, atol=1e-6)
    ends = (path.log_snr(times[[-1, 0]]) / 2).tolist()
    w = end / float(sum(k**2 for k in path(times[-1]))) ** 0.5
    back, _ = integrate(flow_slope(denoiser, path), *ends, w, tolerance=1e-8, pair=DORMAND_PRINCE)
    torch.testing.assert_close(back * float(sum(k**2 for k in path(times[0]))) ** 0.5, x, rtol=0, atol=1e-6)


def test_adaptive_stops_where_there_is_no_answer():
    path = VP()
    ends = time_grid(path, 2)
    with pytest.raises(NonFinite, match="not a number"):
        Adaptive()(lambda x, t: x * torch.nan, path, ends, torch.ones(1, 1))
    with pytest.raises(OptionError, match="not met"):
        Adaptive(1e-9)(lambda x, t: torch.rand_like(x), path, ends, torch.ones(1, 1, dtype=D))
    with pytest.raises(OptionError, match="tolerance"):
        Adaptive(0.0)
    assert find_solver("adaptive", tolerance=0.01) == Adaptive(0.01)
    with pytest.raises(OptionError, match="adaptive"):
        find_solver("heun", tolerance=0.01)


# -- random solvers on a Gaussian: affine maps of their noise, whose moments need no sampling ----------------------


class Impulses:
    """Noise that is 0 but for 1 in the k-th sample at the k-th call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, like):
        z = torch.zeros_like(like)
        if self.calls < len(z):
            z[self.calls] = 1.0
        self.calls += 1
        return z


def moments(solver, path, mean, std, times):
    """Mean and variance of the end of a solver that starts from the exact law of x at times[0]."""
    denoiser = Mixture(path, *(torch.tensor(v, dtype=D) for v in ([1.0], [[mean]], [std])))
    alpha, sigma = path(times[0])
    first, spread = torch.full((1, 1), float(alpha) * mean, dtype=D), (alpha**2 * std**2 + sigma**2).sqrt()
    counted = Impulses()
    solver(denoiser, path, times, first, noise=counted)
    starts = first.repeat(counted.calls + 2, 1)
    starts[-1] += spread[None]
    ends = solver(denoiser, path, times, starts, noise=Impulses())[:, 0]  # the last but one has no noise
    centre = ends[-2]
    return float(centre), float((ends - centre).square().sum())


def weak_error(solver, path, steps, spacing="log-snr"):
    lam = torch.linspace(-4.0, 4.0, steps + 1, dtype=D)
    times = path.time(lam)
    alpha, sigma = path(times[-1])
    mean, variance = moments(solver, path, 0.7, 0.5, times)
    return abs(mean - float(alpha) * 0.7), abs(variance - float(alpha**2 * 0.25 + sigma**2))


RANDOM = {
    "ancestral": (Ancestral(), 1),
    "euler-maruyama": (EulerMaruyama(), 1),
    "sde-dpm++ 1": (Multistep(SDE_DPMPP, 1), 1),
    "sde-dpm++ 2": (Multistep(SDE_DPMPP, 2), 2),
    "ddim-half": (SOLVERS["ddim"].__class__(0.5), 1),
}


@pytest.mark.parametrize(("solver", "order"), RANDOM.values(), ids=RANDOM)
def test_random_solvers_have_their_weak_order(solver, order):
    """Variance of a Gaussian's samples, computed and not sampled: its error falls as steps^-order."""
    coarse, fine = (weak_error(solver, VP(), n)[1] for n in (24, 48))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35)


def test_ancestral_chains_of_the_published_steps_tend_to_the_data():
    """The reverse chain of T steps on a Gaussian: its variance errs by O(1/T)."""
    errors = []
    for count in (50, 100, 200):
        path = SteppedVP(linear_betas(count))
        times = path.times().flip(0)
        alpha, sigma = path(times[-1])
        errors.append(abs(moments(Ancestral(), path, 0.0, 0.5, times)[1] - float(alpha**2 * 0.25 + sigma**2)))
    assert 1.5 < errors[0] / errors[1] < 3
    assert 1.5 < errors[1] / errors[2] < 3


def test_churn_without_churn_is_heun():
    path = EDM()
    denoiser, times = mixture(path), time_grid(path, 9)
    x = 80 * torch.linspace(-1, 1, 5, dtype=D)[:, None]
    torch.testing.assert_close(
        Churn(0.0)(denoiser, path, times, x), Heun()(denoiser, path, times, x), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "adaptive"])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_temperature_scales_a_gaussians_covariance(name, temperature):
    """Every response to the noise is sqrt(tau) as large: variance tau, mean as it was."""
    path = VE(0.02, 10.0) if name == "annealed-langevin" else VP()
    denoiser = Mixture(path, *(torch.tensor(v, dtype=D) for v in ([1.0], [[0.4]], [0.5])))
    times = time_grid(path, 8, spacing=SOLVERS[name].spacing)
    ends = []
    for tau in (0.0, 1.0, temperature):
        with seeded(3):
            noise = noise_source(None, tau)
            ends.append(SOLVERS[name](denoiser, path, times, noise(torch.empty(50, 1, dtype=D)), noise=noise))
    centre, one, tempered = ends
    torch.testing.assert_close(tempered - centre, temperature**0.5 * (one - centre), rtol=1e-9, atol=1e-12)
    assert (one - centre).std() > 0.1


# -- samples of a model --------------------------------------------------------------------------------------------


def labelled(recipe=FlowMatching, **options):
    space, condition = Continuous((2,)), Categories(3)
    x, c = tiny_data(space, condition)
    return settle(recipe.for_space(space, condition, hidden=(16,), **options), x, c)


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "adaptive"])
def test_a_seed_gives_the_same_sample_whatever_the_batch(name):
    model = labelled().double()
    c = torch.tensor([0, 1, 2, 1])
    whole = model.sample(4, c, solver=name, steps=5, seeds=[7, 8, 9, 10])
    part = model.sample(2, c[[3, 1]], solver=name, steps=5, seeds=torch.tensor([10, 8]))
    torch.testing.assert_close(part, whole[[3, 1]], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(model.sample(1, c[:1], solver=name, steps=5, seeds=[1]), whole[:1])


def test_streams_are_normal_and_as_many_as_samples():
    x = Streams(range(2000))(torch.empty(2000, 3, dtype=D))
    assert x.mean().abs() < 4.5 / 6000**0.5
    assert (x.var() - 1).abs() < 4.5 * (2 / 6000) ** 0.5
    assert (x.T.corrcoef() - torch.eye(3)).abs().max() < 4.5 / 2000**0.5
    with pytest.raises(OptionError, match="2 seeds"):
        Streams([1])(torch.empty(2, 3))
    with pytest.raises(OptionError, match="temperature"):
        noise_source(None, -1.0)


def test_trajectories_are_in_the_datas_units_and_count_evaluations():
    model = labelled(DDPM)
    with seeded(0):
        way = model.trajectory(3, torch.tensor(1), steps=6, guidance=2.0)
    with seeded(0):
        assert torch.equal(model.sample(3, torch.tensor(1), steps=6, guidance=2.0), way.samples)
    assert (way.points.shape, way.evaluations, len(way.times)) == ((6, 3, 2), 6, 6)
    last = model.denoise(way.points[-1], way.times[-1], torch.ones(3, dtype=torch.int64))
    unguided = model.trajectory(3, torch.tensor(1), steps=2, seeds=[1, 2, 3])
    again = model.denoise(unguided.points[-1], unguided.times[-1], torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(again, unguided.samples, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(last, way.samples)
    few, many = (
        model.trajectory(3, torch.tensor(1), solver="adaptive", tolerance=t, seeds=[1, 2, 3])
        for t in (1e-1, 1e-5)
    )
    assert few.points.shape[0] == 2
    assert few.evaluations < many.evaluations
    assert model.trajectory(3, torch.tensor(1), solver="adaptive", steps=5).points.shape[0] == 5
