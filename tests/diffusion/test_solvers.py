"""Solvers against the exact flow of a mixture: observed orders, identities between them, moments of the random ones."""

import math

import numpy as np
import pytest
import torch

from creo.diffusion.exact import Mixture
from creo.diffusion.paths import EDM, VE, VP, Linear, SteppedVP, SubVP, Trigonometric, linear_betas
from creo.diffusion.solvers import (
    DDIM,
    DPM,
    DPMPP,
    LMS,
    ROWS,
    SDE_DPMPP,
    SOLVERS,
    VELOCITY_ADAMS,
    Ancestral,
    AnnealedLangevin,
    Churn,
    EulerMaruyama,
    Heun,
    Multistep,
    langevin,
    multistep_coefficients,
    time_grid,
)
from creo.errors import OptionError
from creo.model import seeded

PATHS = {
    "vp": VP(), "sub-vp": SubVP(), "ve": VE(0.02, 10.0), "edm": EDM(), "linear": Linear(), "trig": Trigonometric(),
}  # fmt: skip


def doubles(*values):
    return [torch.tensor(v, dtype=torch.float64) for v in values]


def mixture(path):
    return Mixture(path, *doubles([0.35, 0.65], [[-1.0], [0.9]], [0.5, 0.6]))


def exact_flow(denoiser, path, x, start, end):
    """The probability flow's solution: quantiles are kept, so F_end(x_end) = F_start(x_start) in one dimension."""

    def cdf(y, t):
        alpha, sigma = path(t)
        std = (alpha**2 * denoiser.stds**2 + sigma**2).sqrt()
        return (denoiser.weights * torch.special.ndtr((y - alpha * denoiser.means[:, 0]) / std)).sum(
            1, keepdim=True
        )

    want = cdf(x, start)
    low, high = torch.full_like(x, -50.0), torch.full_like(x, 50.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = cdf(middle, end) < want
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def graded(path, n):
    """Times between moderate noise levels whose first steps are tiny, so that the start's low order does not show."""
    ends = path.time(torch.tensor([-3.0, 3.0], dtype=torch.float64))
    u = torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 2.5
    return ends[0] + u * (ends[1] - ends[0])


def errors(solver, path, counts):
    denoiser = mixture(path)
    out = []
    for n in counts:
        times = graded(path, n)
        alpha, sigma = path(times[0])
        x = (alpha**2 + sigma**2).sqrt() * torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
        end = solver(denoiser, path, times, x)
        out.append((end - exact_flow(denoiser, path, x, times[0], times[-1])).abs().max().item())
    return np.array(out)


def observed_order(solver, path, counts=(40, 80)):
    e = errors(solver, path, counts)
    return math.log(e[0] / e[1]) / math.log(counts[1] / counts[0]), e[-1]


DETERMINISTIC = (LMS, DPM, DPMPP, VELOCITY_ADAMS)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("row", DETERMINISTIC, ids=lambda r: r.name)
def test_order_one_of_every_row_is_ddim(row, path):
    denoiser, times = mixture(path), time_grid(path, 9)
    x = path(times[0])[1] * torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    want = DDIM()(denoiser, path, times, x)
    torch.testing.assert_close(Multistep(row, 1)(denoiser, path, times, x), want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("row", DETERMINISTIC, ids=lambda r: r.name)
def test_multistep_rows_have_their_order(row, order):
    got, error = observed_order(Multistep(row, order), VP(), (80, 160))
    assert got == pytest.approx(order, abs=0.45), got
    assert error < 0.1 ** (order - 1) * 0.03


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpm++", 2)])
def test_solvers_have_their_order_on_every_path(path, name, order):
    got, _ = observed_order(SOLVERS[name], path, (80, 160))
    assert got == pytest.approx(order, abs=0.35), got


def test_coefficients_are_exact_integrals():
    taus, end = [0.3, 0.1, -0.4], 0.9
    got = multistep_coefficients(taus, end, 0)
    for p in range(3):
        want = (end ** (p + 1) - taus[0] ** (p + 1)) / (p + 1)
        assert sum(c * tau**p for c, tau in zip(got, taus, strict=True)) == pytest.approx(want, abs=1e-13)
    for k in (-1, 1, 2):
        c = multistep_coefficients(taus, end, k)
        assert sum(c) == pytest.approx(math.exp(k * end) - math.exp(k * taus[0]), abs=1e-12)
        first = [(end - 1 / k) * math.exp(k * end), (taus[0] - 1 / k) * math.exp(k * taus[0])]
        assert sum(a * b for a, b in zip(c, taus, strict=True)) == pytest.approx(
            first[0] - first[1], abs=1e-12
        )


def test_order_one_sde_is_the_ancestral_step_and_ddim_of_eta_one():
    path = SteppedVP(linear_betas(50))
    denoiser, times, x = (
        mixture(path),
        time_grid(path, 6),
        torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None],
    )
    out = []
    for solver in (Multistep(SDE_DPMPP, 1), Ancestral(), DDIM(1.0)):
        with seeded(3):
            out.append(solver(denoiser, path, times, x))
    torch.testing.assert_close(out[0], out[1], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(out[1], out[2], rtol=1e-10, atol=1e-11)


def test_ancestral_step_is_ddpms_posterior():
    """Equation 7 of DDPM: mean and variance of q(x_{t-1} | x_t, x_0) in terms of beta and alpha-bar."""
    betas = linear_betas(40)
    path, i = SteppedVP(betas), 12
    bar = (1 - betas).cumprod(0)
    x, x0 = doubles([[0.7]], [[-0.3]])
    mean = (bar[i - 1].sqrt() * betas[i] * x0 + (1 - betas[i]).sqrt() * (1 - bar[i - 1]) * x) / (1 - bar[i])
    small = (1 - bar[i - 1]) / (1 - bar[i]) * betas[i]
    for large, variance in ((False, small), (True, betas[i])):
        with seeded(0):
            got = Ancestral(large)(lambda x, t: x0, path, path.times()[[i, i - 1]], x)
        with seeded(0):
            want = mean + variance.sqrt() * torch.randn_like(x)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


RANDOM = {
    "ancestral": (Ancestral(), VP(), 200),
    "ancestral-large": (Ancestral(large=True), VP(), 400),
    "ddim-half": (DDIM(0.5), VP(), 200),
    "sde-dpm++": (SOLVERS["sde-dpm++"], VP(), 60),
    "euler-maruyama": (EulerMaruyama(), VP(), 400),
    "euler-maruyama-ve": (EulerMaruyama(), VE(0.02, 10.0), 400),
    "predictor-corrector": (EulerMaruyama(corrections=1), VP(), 150),
    "churn": (Churn(10.0, 1.0), EDM(0.02, 20.0), 60),
    "annealed-langevin": (AnnealedLangevin(20, 0.05), VE(0.02, 10.0), 60),
}


@pytest.mark.parametrize(("solver", "path", "steps"), RANDOM.values(), ids=RANDOM)
def test_random_solvers_sample_the_mixture(solver, path, steps):
    """Mean, variance and the mass left of 0 of 4000 samples, within 4.5 standard errors and a bias of the step."""
    n, denoiser = 4000, mixture(path)
    times = time_grid(path, steps, spacing=solver.spacing)
    with seeded(1):
        alpha, sigma = path(times[0])
        x = path.perturb(denoiser.sample(n), torch.randn(n, 1, dtype=torch.float64), times[0].expand(n))
        end = solver(denoiser, path, times, x)
    alpha, sigma = path(times[-1])
    w, m, s = denoiser.weights, alpha * denoiser.means[:, 0], (alpha**2 * denoiser.stds**2 + sigma**2).sqrt()
    mean, left = (w * m).sum(), (w * torch.special.ndtr(-m / s)).sum()
    variance = (w * (m**2 + s**2)).sum() - mean**2
    assert abs(end.mean() - mean) < 4.5 * (variance / n).sqrt() + 0.02
    assert abs(end.var() / variance - 1) < 4.5 * (2 / n) ** 0.5 + 0.04
    assert abs((end < 0).double().mean() - left) < 4.5 * (left * (1 - left) / n).sqrt() + 0.01


def test_ancestral_chain_tends_to_the_reverse_sde():
    """With one stream of noise both schemes approach each other at the rate of the step."""
    path, gaps = VP(), []
    denoiser = mixture(path)
    for steps in (201, 801):
        ends = path.time(torch.tensor([-4.0, 4.0], dtype=torch.float64))
        times = torch.linspace(*ends.tolist(), steps, dtype=torch.float64)
        out = []
        for solver in (Ancestral(), EulerMaruyama()):
            with seeded(0):
                out.append(
                    solver(denoiser, path, times, torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None])
                )
        gaps.append((out[0] - out[1]).abs().mean().item())
    assert gaps[1] < 0.35 * gaps[0]


def test_langevin_stays_in_a_gaussian():
    with seeded(0):
        x = langevin(lambda x: -(x - 2) / 0.25, torch.randn(4000, 1), step=0.01, steps=200)
    variance = 0.25 / (1 - 0.01 / 0.25 / 2)  # of the discretised chain: exact
    assert x.mean().item() == pytest.approx(2, abs=4.5 * (0.25 / 4000) ** 0.5)
    assert x.var().item() == pytest.approx(variance, rel=4.5 * (2 / 4000) ** 0.5)


def test_trajectories_and_grids():
    path, seen = VP(), []
    times = time_grid(path, 5)
    x = torch.ones(2, 1)
    end = DDIM()(lambda x, t: torch.zeros_like(x), path, times, x, record=seen.append)
    assert len(seen) == 5
    assert end.dtype == torch.float32
    assert torch.equal(seen[0], x)
    assert torch.equal(seen[-1], end)
    assert (times[0].item(), times[-1].item()) == (path.t_max, path.t_min)
    lam = path.log_snr(time_grid(path, 7, spacing="log-snr"))
    torch.testing.assert_close(lam.diff(), lam.diff().mean().expand(6), rtol=1e-7, atol=1e-7)
    for bad in (times.flip(0), times[:1]):
        with pytest.raises(OptionError, match="fall"):
            DDIM()(lambda x, t: x, path, bad, x)
    for call in (lambda: time_grid(path, 1), lambda: time_grid(path, 5, spacing="?"), lambda: DDIM(2.0)):
        with pytest.raises(OptionError):
            call()
    with pytest.raises(OptionError, match="order"):
        Multistep(ROWS["dpm"], 0)


def test_heun_spends_two_calls_and_multistep_one():
    counts = []

    def counting(x, t):
        counts.append(1)
        return torch.zeros_like(x)

    for solver, want in ((Heun(), 8), (Multistep(DPMPP, 3), 4), (EulerMaruyama(corrections=1), 8)):
        counts.clear()
        solver(counting, VP(), time_grid(VP(), 5), torch.ones(1, 1))
        assert len(counts) == want
