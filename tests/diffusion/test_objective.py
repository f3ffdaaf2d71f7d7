"""Objectives recover the parameters of a Gaussian; densities, weights, couplings and guidance against closed forms."""

import math

import pytest
import torch

from creo.diffusion.coupling import independent, optimal, straightness
from creo.diffusion.exact import Mixture
from creo.diffusion.guidance import guided
from creo.diffusion.objective import (
    WEIGHTS,
    Levels,
    LogitNormal,
    LogNormal,
    Objective,
    Uniform,
    UniformLogSNR,
    stratified,
)
from creo.diffusion.paths import EDM, VE, VP, Linear, SteppedVP, SubVP, linear_betas
from creo.diffusion.predictions import DATA, NOISE, PREDICTIONS, VELOCITY
from creo.errors import OptionError
from creo.model import seeded

D = torch.float64
MEAN, STD = 0.4, 1.3
PATHS = (VP(), SubVP(), VE(0.05, 5.0), EDM(0.05, 5.0), Linear(), SteppedVP(linear_betas(100)))


def gaussian(path):
    return Mixture(path, *(torch.tensor(v, dtype=D) for v in ([1.0], [[MEAN]], [STD])))


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_every_objective_recovers_the_gaussian(path, kind):
    """The denoiser of N(m, s^2), with m and s free, is at the data's m and s where every objective is least."""
    with seeded(0):
        z, x0 = torch.randn(2, 20000, 1, dtype=D)
        x0 = MEAN + STD * (x0 - x0.mean()) / x0.std(correction=0)
    objective = Objective(PREDICTIONS[kind], Uniform(), "simple")
    parameters = torch.tensor([0.0, 0.0], dtype=D, requires_grad=True)

    def network(x, t):
        alpha, sigma = (k[:, None] for k in path(t))
        m, v = parameters[0], parameters[1].exp() ** 2
        denoised = m + alpha * v / (alpha**2 * v + sigma**2) * (x - alpha * m)
        return PREDICTIONS[kind].target(path, t, denoised, (x - alpha * denoised) / sigma)

    optimiser = torch.optim.LBFGS([parameters], max_iter=30, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        with seeded(1):
            loss = objective(network, path, x0, z).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert parameters[0].item() == pytest.approx(MEAN, abs=0.06)
    assert parameters[1].exp().item() == pytest.approx(STD, abs=0.06)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_weighted_losses_do_not_depend_on_the_prediction(weight):
    """The same denoiser, whatever it is said to predict, has the same loss under every weight on the noise error."""
    path, denoiser = VP(), gaussian(VP())
    with seeded(0):
        x0, z = torch.randn(2, 500, 1, dtype=D)
    values = []
    for prediction in PREDICTIONS.values():

        def network(x, t, prediction=prediction):
            alpha, sigma = (k[:, None] for k in path(t))
            x0 = denoiser(x, t) + 0.1
            return prediction.target(path, t, x0, (x - alpha * x0) / sigma)

        with seeded(1):
            values.append(Objective(prediction, Uniform(), weight)(network, path, x0, z))
    for other in values[1:]:
        torch.testing.assert_close(other, values[0], rtol=1e-8, atol=1e-12)


def test_edm_weight_is_one_on_f_and_matching_weight_on_the_output():
    t = torch.linspace(0.1, 0.9, 5, dtype=D)
    torch.testing.assert_close(
        Objective(PREDICTIONS["F"], Uniform(), "edm").output_weight(EDM(), t), torch.ones(5).double()
    )
    assert (Objective(VELOCITY, Uniform(), "output").output_weight(Linear(), t) == 1).all()
    want = (Linear()(t)[0] / 1) ** 2  # the determinant of the velocity on straight lines is 1
    torch.testing.assert_close(Objective(VELOCITY, Uniform(), "simple").output_weight(Linear(), t), want)


@pytest.mark.parametrize("density", [Uniform(), UniformLogSNR()])
@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_densities_are_those_of_their_times(path, density):
    u = torch.linspace(0.02, 0.98, 7, dtype=D).requires_grad_()
    t = density(path, u)
    slope = torch.autograd.grad(t.sum(), u)[0].abs()
    torch.testing.assert_close(density.density(path, t.detach()), 1 / slope, rtol=1e-6, atol=1e-9)


def test_times_stay_in_range_and_follow_their_laws():
    u = stratified(4000, torch.zeros(1))
    assert torch.equal((u * 4000).floor().sort()[0], torch.arange(4000).double())
    for path in PATHS:
        for density in (Uniform(), UniformLogSNR(), LogNormal(), LogitNormal(), Levels(10)):
            t = density(path, u)
            assert (t >= path.t_min - 1e-12).all()
            assert (t <= path.t_max + 1e-12).all()
    log_ratio = -EDM().log_snr(LogNormal(-1.2, 1.2)(EDM(), u)) / 2
    assert log_ratio.mean().item() == pytest.approx(-1.2, abs=0.01)
    assert log_ratio.std().item() == pytest.approx(1.2, abs=0.01)
    path = SteppedVP(linear_betas(100))
    torch.testing.assert_close(Levels(100)(path, u).unique(), path.times(), rtol=0, atol=1e-12)
    with pytest.raises(OptionError, match="density"):
        LogNormal().density(VP(), u)


def test_likelihood_weight_is_the_same_integral_under_both_densities():
    """1/2 int -lambda' e(t) dt for an error e(t), by uniform times and by uniform log-SNRs."""
    path, u = Linear(), (torch.arange(200000, dtype=D) + 0.5) / 200000
    values = []
    for density in (Uniform(), UniformLogSNR()):
        t = density(path, u)
        values.append((WEIGHTS["likelihood"](path, density, t) * torch.sin(3 * t) ** 2).mean().item())
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_optimal_coupling_is_a_permutation_that_shortens_paths():
    with seeded(0):
        x0, z = torch.randn(2, 64, 2)
        c = torch.randint(0, 3, (64,))
    paired = optimal(x0, z)
    assert torch.equal(paired.sort(0)[0], z.sort(0)[0])
    assert straightness(x0, paired) < 0.5 * straightness(x0, z)
    within = optimal(x0, z, c)
    for k in range(3):  # noise stays independent of the condition
        assert torch.equal(within[c == k].sort(0)[0], z[c == k].sort(0)[0])
    assert straightness(x0, within) < straightness(x0, z)
    assert independent(x0, z) is z
    assert torch.equal(optimal(x0, z, torch.randn(64, 2)), z)


def test_variance_of_flow_matching_between_equal_gaussians():
    """Data N(0, I): Var(z - x_0 | x_t) = 1 / (alpha^2 + sigma^2), the loss of the best network, whatever it is."""
    with seeded(0):
        x0, z = torch.randn(2, 400000, 1, dtype=D)
    t = torch.full((len(x0),), 0.3, dtype=D)
    alpha, sigma = 0.7, 0.3
    best = (sigma - alpha) / (alpha**2 + sigma**2) * Linear().perturb(x0, z, t)
    loss = (best - VELOCITY.target(Linear(), t, x0, z)).square()
    want = 1 / (alpha**2 + sigma**2)
    assert abs(loss.mean() - want) < 4.5 * loss.std() / len(x0) ** 0.5


def test_guidance_of_gaussian_classes_is_the_closed_form():
    """p_0^(1-w) p_1^w of two Gaussians of one variance is a Gaussian with the mean (1-w) m_0 + w m_1."""
    path, t, w = VP(), torch.tensor(0.4, dtype=D), 2.5
    one, other, both = (
        Mixture(path, *(torch.tensor(v, dtype=D) for v in ([1.0], [[m]], [0.7])))
        for m in (1.0, -0.5, 1.0 * w + -0.5 * (1 - w))
    )
    x = torch.linspace(-3, 3, 9, dtype=D)[:, None]
    torch.testing.assert_close(guided(one, other, w)(x, t), both(x, t), rtol=1e-12, atol=1e-12)
    assert guided(one, other, 1.0) is one
    torch.testing.assert_close(guided(one, other, 0.0)(x, t), other(x, t))
    torch.testing.assert_close(guided(one, other, w, interval=(0.5, 1.0))(x, t), one(x, t))
    with pytest.raises(OptionError):
        guided(one, other, w, rescale=2.0)


def test_full_rescaling_keeps_the_spread_of_each_sample():
    a, b = (lambda x, t: torch.sin(x)), (lambda x, t: torch.cos(3 * x))
    x, t = torch.randn(4, 10, dtype=D), torch.tensor(0.5, dtype=D)
    out = guided(a, b, 4.0, rescale=1.0)(x, t)
    torch.testing.assert_close(out.std(1), a(x, t).std(1), rtol=1e-10, atol=0)


def test_targets_of_data_and_noise_are_themselves():
    x0, z = torch.randn(2, 3, 2, dtype=D)
    t = torch.full((3,), 0.3, dtype=D)
    assert torch.equal(DATA.target(VP(), t, x0, z), x0)
    assert torch.equal(NOISE.target(VP(), t, x0, z), z)
    assert math.isfinite(DATA.determinant(VP(), t).sum())
