"""Gradient estimators against closed forms (linear-Gaussian model) and enumeration (a tiny discrete-latent model)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from creo.distributions.gaussian import diagonal_log_prob
from creo.errors import OptionError
from creo.latent.bounds import CIWAE, PIWAE, Bound
from creo.latent.estimators import ESTIMATORS, Objective, gumbel_softmax, score_function, straight_through
from creo.latent.posteriors import Diagonal

X = torch.tensor([[0.7, -1.1]], dtype=torch.float64)
REPEATS = 20_000


class Discrete:
    """q(z | x) over 3 categories; its noise is Gumbel's, and z (n, b, 1) is not differentiable."""

    def __init__(self, logits: Tensor) -> None:
        self.log_table = logits.log_softmax(-1)

    def noise(self, n: int) -> Tensor:
        return -torch.empty(n, *self.log_table.shape, dtype=torch.float64).exponential_().log()

    def push(self, noise: Tensor, *, path: bool = True, parameters: bool = True) -> tuple[Tensor, Tensor]:
        z = (self.log_table.detach() + noise).argmax(-1, keepdim=True)
        return z.double(), self.log_table.expand(len(z), -1, -1).gather(-1, z).squeeze(-1)


def discrete_problem() -> tuple[Tensor, Tensor, Tensor]:
    """phi (logits of q), theta (logits of the prior), log p(x | z) of the three z."""
    phi = torch.tensor([0.3, -0.6, 0.1], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([-0.2, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    return phi, theta, torch.tensor([-1.0, -2.5, -0.4], dtype=torch.float64)


def enumerated(bound: Bound, phi: Tensor, theta: Tensor, likelihood: Tensor) -> Tensor:
    """E[L] over all 3^(MK) sample sets."""
    log_q, log_prior = phi.log_softmax(0), theta.log_softmax(0)
    total = torch.zeros((), dtype=torch.float64)
    for zs in itertools.product(range(3), repeat=bound.samples):
        z = torch.tensor(zs)
        log_w = (likelihood + log_prior - log_q)[z].view(bound.m, bound.k, 1)
        total = total + log_q[z].sum().exp() * bound.value(log_w).squeeze()
    return total


def mean_within_error(draws: Tensor, want: Tensor, sigmas: float = 4.5) -> None:
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - want).abs() < sigmas * error + 1e-9).all(), (draws.mean(0), want, error)


@pytest.mark.parametrize("bound", [Bound(), Bound(2, 1), Bound(1, 2), Bound(2, 2), CIWAE(1, 3, 0.3)], ids=str)
def test_score_function_is_unbiased_by_enumeration(bound):
    torch.manual_seed(0)
    phi, theta, likelihood = discrete_problem()
    exact = enumerated(bound, phi, theta, likelihood)
    want = torch.cat(torch.autograd.grad(exact, (phi, theta)))
    many_phi = phi.detach().expand(REPEATS, 3).clone().requires_grad_()
    many_theta = theta.detach().expand(REPEATS, 3).clone().requires_grad_()

    def log_p(z: Tensor) -> tuple[Tensor, Tensor]:
        index = z.long()
        prior = many_theta.log_softmax(-1).expand(len(z), -1, -1).gather(-1, index).squeeze(-1)
        return likelihood[index.squeeze(-1)], prior

    found = Objective(bound, ESTIMATORS["score"])(Discrete(many_phi), log_p)
    mean_within_error(found.value.detach()[:, None], exact.detach()[None])
    slopes = torch.autograd.grad(found.value.sum(), (many_phi, many_theta))
    mean_within_error(torch.cat(slopes, 1), want)


def test_control_variates_reduce_the_variance():
    torch.manual_seed(1)
    log_q = torch.randn(4, 2000, dtype=torch.float64, requires_grad=True)
    reward = 5.0 + torch.randn(4, 2000, dtype=torch.float64)
    plain = torch.autograd.grad((log_q * reward).mean(0).sum(), log_q)[0]
    better = torch.autograd.grad(score_function(log_q, reward).sum(), log_q)[0]
    assert better.square().mean() < 0.1 * plain.square().mean()


# --- a linear-Gaussian model: x = W z + noise, whose posterior and evidence are closed forms ------------------------


def gaussian_problem(n: int) -> tuple[Tensor, ...]:
    """mu, log sigma of q (n, 2) and W (n, 2, 2), every row the same, so that slopes come out one per repetition."""
    mean = torch.tensor([0.2, -0.3], dtype=torch.float64).repeat(n, 1).requires_grad_()
    log_std = torch.tensor([-0.2, 0.1], dtype=torch.float64).repeat(n, 1).requires_grad_()
    w = torch.tensor([[1.0, 0.4], [-0.3, 0.8]], dtype=torch.float64).repeat(n, 1, 1).requires_grad_()
    return mean, log_std, w


def gaussian_joint(w: Tensor):
    def log_p(z: Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.zeros((), dtype=torch.float64)
        likelihood = diagonal_log_prob(X, torch.einsum("nij,snj->sni", w, z), zero)
        return likelihood, diagonal_log_prob(z, zero, zero)

    return log_p


def slopes_of(objective: Objective, n: int) -> tuple[Tensor, Tensor]:
    mean, log_std, w = gaussian_problem(n)
    value = objective(Diagonal(mean, log_std), gaussian_joint(w)).value
    grads = torch.autograd.grad(value.sum(), (mean, log_std, w))
    return torch.cat([g.flatten(1) for g in grads], 1), value.detach()


def closed_elbo(mean: Tensor, log_std: Tensor, w: Tensor) -> Tensor:
    """-1/2 |x - W mu|^2 - 1/2 sum_j sigma_j^2 |w_j|^2 - log 2 pi - KL."""
    variance = (2 * log_std).exp()
    fit = -0.5 * ((X[0] - w @ mean).square().sum() + (w.square().sum(0) * variance).sum())
    return fit - math.log(2 * math.pi) - (0.5 * (mean.square() + variance - 1) - log_std).sum()


@pytest.mark.parametrize("name", ["pathwise", "stl", "dreg", "score"])
def test_the_elbos_gradient_against_its_closed_form(name):
    torch.manual_seed(2)
    one = [t[0].detach().requires_grad_() for t in gaussian_problem(1)]
    want = torch.cat([g.flatten() for g in torch.autograd.grad(closed_elbo(*one), one)])
    found, value = slopes_of(Objective(Bound(), ESTIMATORS[name]), REPEATS)
    mean_within_error(found, want)
    mean_within_error(value[:, None], closed_elbo(*one).detach()[None])


@pytest.mark.parametrize(
    ("bound", "name", "keep"),
    [
        (Bound(1, 4), "dreg", 0),
        (Bound(1, 4), "score", 0),
        (Bound(1, 4), "pathwise", 1),
        (Bound(1, 4), "dreg", 2),
        (Bound(2, 3), "dreg", 0),
        (Bound(2, 3), "pathwise", 3),
        (CIWAE(1, 4, 0.4), "dreg", 0),
    ],
    ids=str,
)
def test_estimators_of_one_bound_agree_in_expectation(bound, name, keep):
    """Against the pathwise gradient of all samples, which is autograd's of the bound's own value."""
    torch.manual_seed(3)
    want, _ = slopes_of(Objective(bound, ESTIMATORS["pathwise"]), REPEATS)
    found, _ = slopes_of(Objective(bound, ESTIMATORS[name], keep), REPEATS)
    error = ((want.var(0) + found.var(0)) / REPEATS).sqrt()
    assert ((want.mean(0) - found.mean(0)).abs() < 4.5 * error).all()


@pytest.mark.parametrize("bound", [Bound(), Bound(1, 5), Bound(2, 3), CIWAE(2, 3, 0.4)], ids=str)
def test_pathwise_is_the_gradient_of_the_value(bound):
    mean, log_std, w = gaussian_problem(4)
    q = Diagonal(mean, log_std)
    torch.manual_seed(4)
    found = Objective(bound, ESTIMATORS["pathwise"])(q, gaussian_joint(w)).value
    torch.manual_seed(4)
    z = mean + log_std.exp() * q.noise(bound.samples)
    log_w = sum(gaussian_joint(w)(z)) - diagonal_log_prob(z, mean, log_std)
    direct = bound.value(log_w.view(bound.m, bound.k, -1))
    torch.testing.assert_close(found, direct)
    for a, b in zip(
        torch.autograd.grad(found.sum(), (mean, log_std, w), retain_graph=True),
        torch.autograd.grad(direct.sum(), (mean, log_std, w)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_piwae_is_iwae_for_the_decoder_and_miwae_for_the_encoder():
    slopes = {}
    for bound in (PIWAE(2, 3), Bound(1, 6), Bound(2, 3)):
        mean, log_std, w = gaussian_problem(5)
        torch.manual_seed(5)
        value = Objective(bound, ESTIMATORS["pathwise"])(Diagonal(mean, log_std), gaussian_joint(w)).value
        slopes[str(bound)] = (value, torch.autograd.grad(value.sum(), (mean, log_std, w)))
    (value, (mean, log_std, w)), (iwae, (_, _, iwae_w)), (_, (miwae_mean, miwae_std, _)) = slopes.values()
    torch.testing.assert_close(value, iwae)
    torch.testing.assert_close(w, iwae_w)
    torch.testing.assert_close(mean, miwae_mean)
    torch.testing.assert_close(log_std, miwae_std)


def test_piwae_survives_groups_of_no_weight():
    """A group 400 nats below the others has no share in the decoder's weights, and all of its own in the encoder's."""
    log_w = torch.tensor([[[-400.0], [-401.0]], [[0.0], [-1.0]]])
    objective = Objective(PIWAE(2, 2), ESTIMATORS["pathwise"])
    mean, log_std = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)

    def log_p(z: Tensor) -> tuple[Tensor, Tensor]:
        return log_w.view(4, 1) + z.squeeze(-1), torch.zeros(4, 1)

    value = objective(Diagonal(mean, log_std), log_p).value
    (slope,) = torch.autograd.grad(value.sum(), mean)
    torch.testing.assert_close(slope, torch.ones(1, 1))  # each group's weights sum to 1, and dlog w/dmu = 1


def test_sticking_the_landing_has_no_variance_at_the_posterior_and_dreg_keeps_its_signal():
    torch.manual_seed(6)
    n = 4000
    w = torch.tensor([[1.0, 0.0], [0.0, 0.8]], dtype=torch.float64).repeat(n, 1, 1)
    precision = 1 + w[0].square().sum(0)
    exact_mean, exact_log_std = (w[0].T @ X[0]) / precision, -0.5 * precision.log()
    for name, vanishes in (("stl", True), ("dreg", True), ("pathwise", False)):
        mean = exact_mean.repeat(n, 1).requires_grad_()
        q = Diagonal(mean, exact_log_std.expand(n, -1))
        value = Objective(Bound(1, 3), ESTIMATORS[name])(q, gaussian_joint(w)).value
        (slope,) = torch.autograd.grad(value.sum(), mean)
        assert (slope.abs().max() < 1e-12) == vanishes

    def ratio(name: str, k: int) -> Tensor:
        slope, _ = slopes_of(Objective(Bound(1, k), ESTIMATORS[name]), n)
        return (slope[:, :2].mean(0).abs() / slope[:, :2].std(0)).mean()

    assert ratio("pathwise", 64) < ratio("pathwise", 1)  # Rainforth et al., theorem 1
    assert ratio("dreg", 64) > 2 * ratio("pathwise", 64)


# --- discrete draws ----------------------------------------------------------------------------------------------


def test_straight_through_is_one_value_and_anothers_gradient():
    proxy = torch.tensor([0.2, 0.9], requires_grad=True)
    out = straight_through(torch.tensor([0.0, 1.0]), 3 * proxy)
    torch.testing.assert_close(out.detach(), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(torch.autograd.grad(out.sum(), proxy)[0], torch.full((2,), 3.0))


def test_gumbel_softmax_tends_to_exact_draws():
    torch.manual_seed(7)
    logits = torch.tensor([0.5, -0.3, 1.0], dtype=torch.float64)
    p, n = logits.softmax(0), 40_000
    hard = gumbel_softmax(logits.expand(n, 3), hard=True)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    mean_within_error(hard, p)  # exact draws at any temperature
    cold = gumbel_softmax(logits.expand(n, 3), 1e-3)
    torch.testing.assert_close(cold.sum(1), torch.ones(n, dtype=torch.float64))
    assert (cold.max(1).values > 0.99).double().mean() > 0.98
    mean_within_error(cold, p)
    warm = gumbel_softmax(logits.expand(n, 3), 1e3)
    assert (warm - 1 / 3).abs().max() < 0.02


def test_the_relaxed_gradient_tends_to_the_true_one_as_the_temperature_falls():
    """d/dlogits E[f(z)] of a linear f is known; the relaxation's bias falls with its temperature."""
    f, n = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 200_000
    logits = torch.tensor([0.5, -0.3, 1.0], dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad((logits.softmax(0) * f).sum(), logits)
    errors = []
    for t in (5.0, 1.0, 0.2):
        torch.manual_seed(8)
        many = logits.detach().expand(n, 3).clone().requires_grad_()
        (slope,) = torch.autograd.grad((gumbel_softmax(many, t) * f).sum(), many)
        errors.append(float((slope.mean(0) - want).norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05 * float(want.norm())


def test_errors_say_what_to_do():
    with pytest.raises(OptionError, match="temperature of Gumbel-softmax must be positive; received 0"):
        gumbel_softmax(torch.zeros(2), 0)
    with pytest.raises(OptionError, match="keep at least one sample"):
        Objective(Bound(), ESTIMATORS["pathwise"], -1)
