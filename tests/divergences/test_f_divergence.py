"""Every f-divergence against numerical suprema, quadrature, enumeration and its own limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from creo.divergences.f_divergence import F_DIVERGENCES, KL, Alpha, Pearson, ReverseKL, f_divergence
from creo.errors import DataError, OptionError, SpaceError, UnknownName

ALPHAS = [Alpha(a) for a in (-3.0, -1.0, -0.4, 0.0, 0.5, 1.0, 3.0, 4.5)]
ALL = [*F_DIVERGENCES.values(), *ALPHAS]
each = pytest.mark.parametrize("d", ALL, ids=repr)

# The generators as written in the literature, in plain numpy: independent of the package's log-domain forms.
LITERATURE = {
    "kl": lambda u: u * np.log(u),
    "reverse-kl": lambda u: -np.log(u),
    "jeffreys": lambda u: (u - 1) * np.log(u),
    "jensen-shannon": lambda u: 0.5 * (u * np.log(u) - (u + 1) * np.log((u + 1) / 2)),
    "total-variation": lambda u: 0.5 * np.abs(u - 1),
    "squared-hellinger": lambda u: 0.5 * (np.sqrt(u) - 1) ** 2,
    "hellinger": lambda u: 0.5 * (np.sqrt(u) - 1) ** 2,
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (u - 1) ** 2 / u,
}


def literature(d):
    if d.name != "alpha":
        return LITERATURE[d.name]
    if d.alpha == 1:
        return lambda u: u * np.log(u) - u + 1
    if d.alpha == -1:
        return lambda u: -np.log(u) + u - 1
    b = (1 + d.alpha) / 2
    return lambda u: (u**b - 1 - b * (u - 1)) / (b * (b - 1))


def finish(d, value):
    return math.sqrt(value) if d.name == "hellinger" else value


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


U = torch.logspace(-3, 3, 41, dtype=torch.float64)


@each
def test_generator_is_the_literatures_and_vanishes_at_one(d):
    torch.testing.assert_close(
        d.generator(U), torch.from_numpy(literature(d)(U.numpy())), rtol=1e-11, atol=1e-12
    )
    assert abs(float(d.generator(double(1.0)))) < 1e-15


@each
def test_conjugate_is_the_numerical_supremum(d):
    """f*(t) = sup over u >= 0 of u t - f(u), maximised over log u (concave in u, hence unimodal in log u)."""
    f = literature(d)
    points = d.optimal_critic(torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)).unique()
    below = double(-3.0, -8.0)  # where the supremum may sit at u = 0
    for t in torch.cat([points, below]).tolist():
        best = minimize_scalar(
            lambda s, t=t: f(np.exp(s)) - np.exp(s) * t,
            bounds=(-30, 8),
            method="bounded",
            options={"xatol": 1e-9},
        )
        edge = -float(f(np.exp(-30.0)))  # the supremum as u -> 0
        want = max(-best.fun, edge + np.exp(-30.0) * t)
        assert float(d.conjugate(double(t))) == pytest.approx(want, rel=1e-6, abs=1e-6), t


@each
def test_conjugate_is_infinite_right_of_its_domain_only(d):
    high = d.domain[1]
    if math.isfinite(high):
        assert float(d.conjugate(double(high + 0.01))) == math.inf
        assert math.isfinite(float(d.conjugate(double(high - 0.01))))
    else:
        assert bool(d.conjugate(double(-5.0, 0.0, 5.0)).isfinite().all())


@each
def test_optimal_critic_is_the_derivative_of_f_and_fenchel_is_tight(d):
    log_u = torch.linspace(-2, 2, 9, dtype=torch.float64)[[0, 1, 2, 3, 5, 6, 7, 8]]  # TV has a kink at u = 1
    u = log_u.exp().requires_grad_()
    (slope,) = torch.autograd.grad(d.generator(u).sum(), u)
    t = d.optimal_critic(log_u)
    torch.testing.assert_close(t, slope, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(d.conjugate(t), (u * t - d.generator(u)).detach(), rtol=1e-9, atol=1e-9)


@each
def test_activation_maps_into_the_domain_and_increases(d):
    v = torch.linspace(-6, 6, 61, dtype=torch.float64)
    t = d.activation(v)
    assert bool((t.diff() > 0).all())
    assert float(t.max()) <= d.domain[1]
    torch.testing.assert_close(d.conjugate_of_activation(v), d.conjugate(t), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["jensen-shannon", "reverse-kl", "neyman", "jeffreys"])
def test_confident_single_precision_critics_stay_finite(name):
    v = torch.tensor([-40.0, 0.0, 40.0], requires_grad=True)
    loss = F_DIVERGENCES[name].conjugate_of_activation(v).sum()
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(v.grad.isfinite().all())


def test_jeffreys_conjugate_has_first_and_second_derivatives():
    t = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(F_DIVERGENCES["jeffreys"].conjugate, (t,))
    assert torch.autograd.gradgradcheck(F_DIVERGENCES["jeffreys"].conjugate, (t,))


@each
def test_reverse_exchanges_the_arguments(d):
    p, q = double(0.2, 0.5, 0.3), double(0.6, 0.3, 0.1)
    torch.testing.assert_close(d.discrete(p, q), d.reverse.discrete(q, p), rtol=1e-12, atol=1e-14)
    assert d.reverse.reverse == d


@each
def test_discrete_is_the_sum_over_outcomes(d):
    torch.manual_seed(0)
    p, q = torch.rand(2, 4, 6, dtype=torch.float64).softmax(-1)
    want = [
        finish(d, float((b * literature(d)(a / b)).sum())) for a, b in zip(p.numpy(), q.numpy(), strict=True)
    ]
    torch.testing.assert_close(d.discrete(p, q), double(*want), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        d.discrete(p.log(), q.log(), log=True), d.discrete(p, q), rtol=1e-12, atol=1e-14
    )
    torch.testing.assert_close(d.discrete(p, p), torch.zeros(4, dtype=torch.float64), atol=1e-7, rtol=0)


def test_discrete_with_zero_probabilities():
    """Disjoint and partly disjoint supports, where f(0) and f'(inf) decide."""
    p, q = double(0.5, 0.5, 0.0, 0.0), double(0.5, 0.0, 0.5, 0.0)
    value = {name: float(d.discrete(p, q)) for name, d in F_DIVERGENCES.items()}
    assert value["kl"] == value["reverse-kl"] == value["jeffreys"] == math.inf
    assert value["pearson"] == value["neyman"] == math.inf
    assert value["total-variation"] == pytest.approx(0.5)
    assert value["squared-hellinger"] == pytest.approx(0.5)
    assert value["hellinger"] == pytest.approx(math.sqrt(0.5))
    assert value["jensen-shannon"] == pytest.approx(0.5 * math.log(2))
    assert float(Alpha(0.0).discrete(p, q)) == pytest.approx(2.0)
    inside = double(1.0, 0.0, 0.0, 0.0)
    assert float(KL().discrete(inside, p)) == pytest.approx(math.log(2))
    assert float(Pearson().discrete(inside, p)) == pytest.approx(1.0)
    assert float(
        F_DIVERGENCES["jensen-shannon"].discrete(inside, double(0.0, 1.0, 0.0, 0.0))
    ) == pytest.approx(math.log(2))


def test_discrete_gradient_reaches_logits():
    torch.manual_seed(1)
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    q = torch.rand(5, dtype=torch.float64).softmax(-1).log()
    for d in ALL:
        assert torch.autograd.gradcheck(
            lambda a, d=d: d.discrete(a.log_softmax(-1), q, log=True), (logits,)
        ), d


GAUSSIANS = [(0.3, 1.0, -0.5, 1.3), (1.0, 0.7, 0.0, 0.9)]  # mean and scale of p, of q
CLOSED = [d for d in ALL if d.name not in ("jensen-shannon", "total-variation")]


def between(d, mp, sp, mq, sq):
    return d.gaussian(double(mp), double(sp**2)[:, None], double(mq), double(sq**2)[:, None])


@pytest.mark.parametrize("d", CLOSED, ids=repr)
@pytest.mark.parametrize("pair", GAUSSIANS)
def test_gaussian_closed_form_is_the_integral(d, pair):
    mp, sp, mq, sq = pair
    p, q, f = norm(mp, sp), norm(mq, sq), literature(d)
    value = float(between(d, *pair))
    b = d.b if d.name == "alpha" else {"pearson": 2.0, "neyman": -1.0}.get(d.name, 0.5)
    if b / sp**2 + (1 - b) / sq**2 <= 0:
        assert value == math.inf
        return
    total, error = quad(
        lambda x: q.pdf(x) * f(np.exp(p.logpdf(x) - q.logpdf(x))),
        -30,
        30,
        limit=400,
        points=(-8, -3, 0, 3, 8),
    )
    assert value == pytest.approx(finish(d, total), rel=1e-6, abs=1e-9)


def test_gaussian_in_several_dimensions_is_monte_carlos_and_a_product():
    """Diagonal covariances: 1 - H^2 multiplies and KL adds over coordinates; a rotation changes nothing."""
    torch.manual_seed(2)
    mp, mq = torch.randn(2, 3, dtype=torch.float64)
    sp, sq = torch.rand(2, 3, dtype=torch.float64) + 0.5
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    turned = [rotation @ mp, rotation @ sp.square().diag() @ rotation.T, rotation @ mq]
    turned.append(rotation @ sq.square().diag() @ rotation.T)
    columns = [(float(mp[i]), float(sp[i]), float(mq[i]), float(sq[i])) for i in range(3)]
    kl = sum(float(between(KL(), *c)) for c in columns)
    h2 = 1 - math.prod(1 - float(between(F_DIVERGENCES["squared-hellinger"], *c)) for c in columns)
    assert float(KL().gaussian(*turned)) == pytest.approx(kl, rel=1e-10)
    assert float(F_DIVERGENCES["squared-hellinger"].gaussian(*turned)) == pytest.approx(h2, rel=1e-10)


def test_gaussian_batches():
    mean_p, mean_q = torch.randn(2, 5, 3, dtype=torch.float64)
    cov = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    want = 0.5 * (mean_p - mean_q).square().sum(-1)
    torch.testing.assert_close(KL().gaussian(mean_p, cov, mean_q, cov), want)
    torch.testing.assert_close(Pearson().gaussian(mean_p, cov, mean_q, cov), torch.expm1(2 * want))


@pytest.mark.parametrize(("limit", "target"), [(1.0, KL()), (-1.0, ReverseKL())])
def test_alpha_tends_to_kl_and_reverse_kl(limit, target):
    p, q = double(0.1, 0.7, 0.2), double(0.5, 0.2, 0.3)
    exact = float(target.discrete(p, q))
    assert float(Alpha(limit).discrete(p, q)) == pytest.approx(exact, rel=1e-13)
    for sign in (-1, 1):
        errors = [
            abs(float(Alpha(limit + sign * h).discrete(p, q)) - exact) for h in (1e-2, 1e-4, 1e-6, 1e-9)
        ]
        assert errors[1] == pytest.approx(
            errors[0] / 100, rel=0.1
        )  # first order in the distance to the limit
        assert errors[2] == pytest.approx(errors[1] / 100, rel=0.05)
        assert errors[3] < 1e-8  # and no loss of digits on the way
    t = double(-1.5, 0.1, 0.7)
    torch.testing.assert_close(
        Alpha(limit + 1e-9).conjugate(t), Alpha(limit).conjugate(t), rtol=1e-7, atol=1e-8
    )


def test_alpha_members_are_the_named_divergences():
    p, q = double(0.2, 0.5, 0.3), double(0.6, 0.3, 0.1)
    h2, pearson, neyman = (
        F_DIVERGENCES[n].discrete(p, q) for n in ("squared-hellinger", "pearson", "neyman")
    )
    torch.testing.assert_close(Alpha(0.0).discrete(p, q), 4 * h2)
    torch.testing.assert_close(Alpha(3.0).discrete(p, q), pearson / 2)
    torch.testing.assert_close(Alpha(-3.0).discrete(p, q), neyman / 2)


MILD = (0.3, 0.9, -0.1, 1.0)  # close enough that every f(u) has a finite variance under p and q


@pytest.mark.parametrize("drawn_from", ["p", "q"])
@each
def test_monte_carlo_is_within_its_standard_error(d, drawn_from):
    mp, sp, mq, sq = MILD
    torch.manual_seed(3)
    p, q = torch.distributions.Normal(mp, sp), torch.distributions.Normal(mq, sq)
    x = (p if drawn_from == "p" else q).sample((200_000,)).double()
    got = d.monte_carlo(p.log_prob(x) - q.log_prob(x), drawn_from=drawn_from)
    f = literature(d)
    total, _ = quad(
        lambda x: norm.pdf(x, mq, sq) * f(norm.pdf(x, mp, sp) / norm.pdf(x, mq, sq)), -8, 8, points=(0, 0.2)
    )
    assert got.n == 200_000
    assert abs(float(got.value) - finish(d, total)) < 4 * float(got.standard_error)
    assert float(got.standard_error) < 0.05


def test_monte_carlo_standard_error_is_calibrated():
    """The spread of 400 estimates is the standard error they report (relative error of a deviation: 1/sqrt(800))."""
    torch.manual_seed(4)
    p, q = torch.distributions.Normal(0.3, 0.9), torch.distributions.Normal(-0.1, 1.0)
    for name in ("kl", "hellinger"):
        runs = []
        for _ in range(400):
            x = p.sample((2000,)).double()
            runs.append(F_DIVERGENCES[name].monte_carlo(p.log_prob(x) - q.log_prob(x)))
        spread = torch.stack([r.value for r in runs]).std()
        reported = torch.stack([r.standard_error for r in runs]).mean()
        assert float(spread / reported) == pytest.approx(1, abs=4 / math.sqrt(800)), name


def test_monte_carlo_survives_large_log_ratios():
    log_ratio = double(900.0, 1100.0)
    assert float(KL().monte_carlo(log_ratio).value) == pytest.approx(1000)
    assert float(F_DIVERGENCES["jensen-shannon"].monte_carlo(log_ratio).value) == pytest.approx(
        math.log(2) / 2
    )
    assert float(F_DIVERGENCES["total-variation"].monte_carlo(log_ratio).value) == pytest.approx(0.5)


def weighted_bound(d, t, p, q):
    """The bound's expectation under known p and q, by handing each outcome in in proportion to its probability."""
    counts_p, counts_q = ((w * 1000).round().long() for w in (p, q))
    return float(
        d.variational_bound(t.repeat_interleave(counts_p), t.repeat_interleave(counts_q), activated=True)
    )


@each
def test_variational_bound_is_tight_at_the_optimal_critic_and_below_elsewhere(d):
    p, q = double(0.2, 0.5, 0.3), double(0.6, 0.3, 0.1)
    exact = float(d.discrete(p, q))
    best = d.optimal_critic((p / q).log())
    assert weighted_bound(d, best, p, q) == pytest.approx(exact, rel=1e-10)
    torch.manual_seed(5)
    for scale in (0.02, 0.2, 1.0):
        other = best + scale * torch.randn(3, dtype=torch.float64)
        assert weighted_bound(d, other, p, q) < exact + 1e-12


@pytest.mark.parametrize(
    "name", ["kl", "reverse-kl", "jensen-shannon", "squared-hellinger", "pearson", "jeffreys"]
)
def test_training_a_tabular_critic_reaches_the_divergence(name):
    """The f-GAN objective in v (before the activation), maximised by gradient, arrives at the exact value."""
    d, p, q = F_DIVERGENCES[name], double(0.2, 0.5, 0.3), double(0.6, 0.3, 0.1)
    index_p, index_q = (torch.arange(3).repeat_interleave((w * 10).round().long()) for w in (p, q))
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([v], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure():
        search.zero_grad()
        loss = -d.variational_bound(v[index_p], v[index_q])
        loss.backward()
        return loss

    search.step(closure)
    assert -float(closure().detach()) == pytest.approx(float(d.discrete(p, q)), rel=1e-6)


def test_jensen_shannon_game_is_the_original_gan():
    torch.manual_seed(6)
    real, fake = torch.randn(2, 50, dtype=torch.float64)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    gan = cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))
    value = F_DIVERGENCES["jensen-shannon"].variational_bound(real, fake)
    torch.testing.assert_close(value, math.log(2) - gan / 2)


def test_errors_say_what_is_wrong():
    p = double(0.5, 0.5)
    with pytest.raises(DataError, match="sum to 1"):
        KL().discrete(p, double(0.5, 0.6))
    with pytest.raises(DataError, match="log=True"):
        KL().discrete(p.log(), p)
    with pytest.raises(DataError, match="sum to 1"):
        KL().discrete(p, double(0.5, math.nan))
    with pytest.raises(SpaceError, match="received 2 and 3"):
        KL().discrete(p, double(0.5, 0.2, 0.3))
    with pytest.raises(DataError, match="n >= 2"):
        KL().monte_carlo(double(1.0))
    with pytest.raises(OptionError, match="'p' or 'q'"):
        KL().monte_carlo(double(1.0, 2.0), drawn_from="m")
    with pytest.raises(OptionError, match="no closed form"):
        between(F_DIVERGENCES["jensen-shannon"], *MILD)
    with pytest.raises(SpaceError, match="received"):
        KL().gaussian(p, torch.eye(3), p, torch.eye(2))
    with pytest.raises(DataError, match="covariance of q"):
        KL().gaussian(p, torch.eye(2).double(), p, -torch.eye(2).double())
    with pytest.raises(UnknownName, match="jeffreys"):
        f_divergence("jefreys")
    with pytest.raises(OptionError, match="finite"):
        Alpha(math.inf)


def test_objects_compare_hash_and_print():
    assert Alpha(0.5) == Alpha(0.5) != Alpha(0.6)
    assert len({KL(), KL(), Alpha(1.0)}) == 2
    assert repr(Alpha(0.5)) == "Alpha(0.5)"
    assert f_divergence("kl") == KL()
