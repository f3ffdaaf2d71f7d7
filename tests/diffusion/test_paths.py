"""Schedules against autograd and published values; conversions between predictions against closed forms."""

import math

import pytest
import torch

from creo.diffusion.exact import Mixture
from creo.diffusion.paths import (
    EDM,
    VE,
    VP,
    Cosine,
    Linear,
    SteppedVP,
    SubVP,
    Trigonometric,
    cosine_betas,
    linear_betas,
)
from creo.diffusion.predictions import PREDICTIONS
from creo.errors import OptionError

PATHS = {
    "vp": VP(),
    "sub-vp": SubVP(),
    "stepped": SteppedVP(linear_betas(100)),
    "cosine": Cosine(),
    "ve": VE(),
    "edm": EDM(),
    "linear": Linear(),
    "trigonometric": Trigonometric(),
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def inner(path, n=41):
    """Times inside the path's range, off the grid of the stepped path."""
    span = path.t_max - path.t_min
    return torch.linspace(path.t_min + 1e-3 * span, path.t_max - 1e-3 * span, n, dtype=torch.float64)


@every_path
def test_derivatives_are_autograds(path):
    t = inner(path).requires_grad_()
    for value, slope in zip(path(t), path.derivatives(t), strict=True):
        got = (
            torch.autograd.grad(value.sum(), t, allow_unused=True, retain_graph=True)[0]
            if value.requires_grad
            else None
        )
        want = torch.zeros_like(t) if got is None else got
        torch.testing.assert_close(slope.detach(), want, rtol=1e-9, atol=1e-12)


@every_path
def test_time_inverts_log_snr_which_falls(path):
    t = inner(path)
    log_snr = path.log_snr(t)
    assert (log_snr.diff() < 0).all()
    torch.testing.assert_close(path.time(log_snr), t, rtol=1e-9, atol=1e-11)
    slope = torch.autograd.functional.jacobian(lambda s: path.log_snr(s), t).diagonal()
    torch.testing.assert_close(path.log_snr_slope(t), slope, rtol=1e-8, atol=1e-9)


@every_path
def test_forward_sde_has_the_paths_moments(path):
    """d log alpha = f dt and d sigma^2 = (2 f sigma^2 + g^2) dt."""
    t = inner(path).requires_grad_()
    sigma2 = path(t)[1].square()
    slope = torch.autograd.grad(sigma2.sum(), t)[0]
    with torch.no_grad():
        torch.testing.assert_close(
            2 * path.drift(t) * sigma2 + path.diffusion2(t), slope, rtol=1e-9, atol=1e-12
        )


def test_variance_preserving_paths_preserve_variance():
    for path in (VP(), Cosine(), Trigonometric(), SteppedVP(cosine_betas(50))):
        alpha, sigma = path(inner(path))
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-14)


def test_sub_vp_diffusion_is_the_published_one():
    t, path = inner(SubVP()), SubVP()
    want = path.rate(t) * -torch.expm1(-2 * path.integral(t))
    torch.testing.assert_close(path.diffusion2(t), want, rtol=1e-11, atol=0)


def test_edm_grid_is_the_published_one():
    n = 18
    want = [(80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n)]
    got = EDM()(torch.linspace(1, 0, n, dtype=torch.float64))[1]
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=0)


def test_ddpm_schedule_is_the_published_one():
    betas = linear_betas(1000)
    assert (betas[0].item(), betas[-1].item()) == (1e-4, 0.02)
    path = SteppedVP(betas)
    alpha, sigma = path(path.times())
    torch.testing.assert_close(alpha**2, (1 - betas).cumprod(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma**2, 1 - (1 - betas).cumprod(0), rtol=1e-10, atol=1e-15)
    assert path.t_min == 1e-3


def test_stepped_path_agrees_in_float32_at_the_steps():
    path = SteppedVP(linear_betas(1000))
    torch.testing.assert_close(
        path(path.times().float())[0].double(), path(path.times())[0], rtol=1e-6, atol=0
    )


def test_stepped_path_tends_to_the_continuous_one():
    t = inner(VP())
    errors = [(SteppedVP(linear_betas(n))(t)[0] - VP()(t)[0]).abs().max().item() for n in (1000, 2000, 4000)]
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.2)


def test_published_homework_values():
    """MIPT / YSDA deep generative models 2024, homework 5: zero-based step 5 of 100, cosine, x_0 = 1, noise 1."""
    path = SteppedVP(cosine_betas(100, s=0.008))
    t = path.times()[5]
    alpha, sigma = path(t)
    assert alpha.item() == pytest.approx(0.9944681, abs=5e-8)
    assert sigma.square().item() == pytest.approx(0.01103322, abs=5e-9)
    assert path.perturb(torch.ones(1), torch.ones(1), t).item() == pytest.approx(1.0995072, abs=2e-7)
    assert Cosine()(t)[0].item() == pytest.approx(alpha.item(), abs=1e-12)


def test_bad_schedules_are_refused():
    for bad in ([], [0.0, 0.1], [1.0], [[0.1]]):
        with pytest.raises(OptionError, match="betas"):
            SteppedVP(bad)
    for cls in (VE, EDM):
        with pytest.raises(OptionError, match="low"):
            cls(1.0, 0.5)


@every_path
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_every_prediction_gives_every_other_of_a_mixture(path, kind):
    """From the closed-form expectation of any output, x_0, noise, score and velocity to 1e-12."""
    torch.manual_seed(0)
    denoiser = Mixture(
        path,
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-1.0, 0.5], [0.8, -0.2]], dtype=torch.float64),
        torch.tensor([0.4, 0.6], dtype=torch.float64),
    )
    # Times of a log-SNR that neither side's rounding (1/sigma, 1/alpha) amplifies beyond the tolerance.
    t = path.time(torch.linspace(6, -6, 9, dtype=torch.float64)).clamp(path.t_min, path.t_max)
    x = path.perturb(denoiser.sample(9), torch.randn(9, 2, dtype=torch.float64), t).requires_grad_()
    score = torch.autograd.grad(denoiser.log_prob(x, t).sum(), x)[0]
    x = x.detach()
    alpha, sigma = (k[:, None] for k in path(t))
    d_alpha, d_sigma = (k[:, None] for k in path.derivatives(t))
    x0, noise = (x + sigma**2 * score) / alpha, -sigma * score
    f, g2 = path.drift(t)[:, None], path.diffusion2(t)[:, None]
    torch.testing.assert_close(d_alpha * x0 + d_sigma * noise, f * x - g2 * score / 2, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(denoiser(x, t), x0, rtol=1e-12, atol=1e-12)

    output = PREDICTIONS[kind].target(path, t, x0, noise)
    got = PREDICTIONS[kind].solve(path, t, x, output)
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(got.x0, x0, **close)
    torch.testing.assert_close(sigma * got.noise, sigma * noise, **close)
    torch.testing.assert_close(sigma**2 * got.score, sigma**2 * score, **close)
    scale = (d_sigma / sigma).abs()
    torch.testing.assert_close(got.velocity / scale, (d_alpha * x0 + d_sigma * noise) / scale, **close)
    for other in PREDICTIONS.values():
        a, b = (r[:, None] for r in other.row(path, t))
        weight = a.abs() + b.abs() / sigma
        want = other.target(path, t, x0, noise)
        torch.testing.assert_close(got.output(other) / weight, want / weight, **close)


def test_edms_f_is_its_preconditioning():
    t = inner(EDM())
    sigma = EDM()(t)[1]
    x0, z = torch.randn(2, len(t), 1, dtype=torch.float64)
    x = EDM().perturb(x0, z, t)
    skip, out = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1).sqrt()
    want = (x0 - skip[:, None] * x) / out[:, None]
    torch.testing.assert_close(PREDICTIONS["F"].target(EDM(), t, x0, z), want, rtol=1e-6, atol=1e-9)
    v, f = (PREDICTIONS[k].target(VP(), t, x0, z) for k in ("v", "F"))
    torch.testing.assert_close(f[1:], -v[1:], rtol=1e-12, atol=1e-12)


def test_mixture_integrates_to_one():
    grid = torch.linspace(-30, 30, 20001, dtype=torch.float64)
    one = Mixture(
        VP(), *(torch.tensor(v, dtype=torch.float64) for v in ([0.2, 0.8], [[-2.0], [1.0]], [0.3, 0.5]))
    )
    for t in (0.01, 0.3, 1.0):
        p = one.log_prob(grid[:, None], torch.tensor(t, dtype=torch.float64)).exp()
        assert torch.trapezoid(p, grid).item() == pytest.approx(1, abs=1e-10)
    assert math.isfinite(one.sample(3).sum())
