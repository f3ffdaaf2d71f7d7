"""Entropic transport against POT, finite differences, limits, and the optimality conditions themselves."""

import math

import pytest
import torch

from creo.divergences.transport import (
    Entropic,
    cost_matrix,
    cost_scale,
    exact_transport,
    sinkhorn,
    sinkhorn_divergence,
)
from creo.errors import DataError, OptionError

F64 = torch.float64
METHODS = pytest.mark.parametrize("method", ["products", "log"])


def _points(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def _cost(batch=3, n=10, m=14):
    return cost_matrix(_points(batch, n, 2), _points(batch, m, 2, seed=1) + 0.5)


def _weights(*shape, seed=0, mass=1.0):
    a = torch.rand(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed)) + 0.05
    return mass * a / a.sum(-1, keepdim=True)


def _kl(p, q):
    return (torch.special.xlogy(p, p / q) - p + q).flatten(1).sum(-1)


def _primal(cost, a, b, got, reach=None):
    independent = a.unsqueeze(-1) * b.unsqueeze(-2)
    value = (got.plan * cost).sum((-1, -2)) + got.epsilon * _kl(got.plan, independent)
    if reach is not None:
        value = value + reach * (_kl(got.plan.sum(-1), a) + _kl(got.plan.sum(-2), b))
    return value


@METHODS
def test_plan_agrees_with_pot(method):
    ot = pytest.importorskip("ot")
    cost, a, b = _cost(), _weights(3, 10), _weights(3, 14, seed=1)
    got = sinkhorn(cost, a=a, b=b, epsilon=0.1, tolerance=1e-11, method=method)
    assert got.converged.all()
    for i in range(3):
        peer = ot.sinkhorn(
            a[i].numpy(),
            b[i].numpy(),
            cost[i].numpy(),
            got.epsilon[i].item(),
            stopThr=1e-14,
            numItermax=20000,
        )
        torch.testing.assert_close(got.plan[i], torch.from_numpy(peer), rtol=0, atol=1e-11)


@METHODS
@pytest.mark.parametrize("epsilon", [1.0, 0.05, 0.003])
def test_marginals_value_and_conditions(method, epsilon):
    cost, a, b = _cost(), _weights(3, 10), _weights(3, 14, seed=1)
    got = sinkhorn(cost, a=a, b=b, epsilon=epsilon, tolerance=1e-9, max_iterations=100_000, method=method)
    rows, columns = (got.plan.sum(-1) - a).abs().sum(-1), (got.plan.sum(-2) - b).abs().sum(-1)
    torch.testing.assert_close(rows + columns, got.error, rtol=1e-3, atol=1e-13)
    assert got.converged.all()
    assert got.error.max() <= 1e-9
    torch.testing.assert_close(got.value, _primal(cost, a, b, got), rtol=1e-8, atol=0)
    torch.testing.assert_close(got.cost, (got.plan * cost).sum((-1, -2)))
    torch.testing.assert_close(got.epsilon, epsilon * cost_scale(cost, a, b))


@METHODS
def test_every_problem_stops_on_its_own(method):
    easy, hard = _cost(1), 30 * _cost(1)
    options = Entropic(epsilon=0.2, relative=False, tolerance=1e-8, method=method)
    both = sinkhorn(torch.cat((easy, hard)), options)
    assert both.converged.all()
    assert both.iterations[0] < both.iterations[1]
    for i, alone in enumerate((sinkhorn(easy, options), sinkhorn(hard, options))):
        if method == "log":  # products change precision for a block at once, so their steps depend on company
            assert both.iterations[i] == alone.iterations[0]
        torch.testing.assert_close(both.plan[i], alone.plan[0], rtol=0, atol=1e-7)


def test_gives_up_honestly():
    got = sinkhorn(_cost(), epsilon=0.001, max_iterations=7)
    assert not got.converged.any()
    assert (got.iterations == 7).all()
    assert got.error.min() > 1e-6


@METHODS
def test_tiny_epsilon_approaches_exact_transport(method):
    """0 <= V - W <= eps log(min(n, m)) for uniform weights; exp(-C / eps) alone would underflow to zero here."""
    cost = _cost(2, 12, 12)
    exact = exact_transport(cost).value
    got = sinkhorn(cost, epsilon=1e-4, max_iterations=3000, tolerance=1e-6, method=method)
    assert got.plan.isfinite().all()
    slack = got.error.max() * cost.amax()  # what the marginals' error is worth
    assert (got.value <= exact + got.epsilon * math.log(12) + slack).all()
    assert (got.cost >= exact - slack).all()


def test_float32_products_survive_a_range_they_cannot_hold():
    cost = torch.cat((_cost(), 1000 * _cost())).float()
    got = sinkhorn(cost, epsilon=0.2, relative=False, max_iterations=400)
    by_log = sinkhorn(cost, epsilon=0.2, relative=False, max_iterations=400, method="log")
    assert got.plan.isfinite().all()
    assert got.converged[:3].all()
    torch.testing.assert_close(got.value[:3], by_log.value[:3], rtol=1e-4, atol=0)
    assert (got.error[3:] < 2 * by_log.error[3:] + 1e-3).all()


def test_relaxation_pays(monkeypatch):
    """The same problems with omega held at 1 need at least twice the steps, and end at the same plan."""
    from creo.divergences.transport import scaling

    cost = _cost(8, 40, 40)
    fast = sinkhorn(cost, epsilon=0.05, tolerance=1e-9, max_iterations=50_000)
    monkeypatch.setattr(scaling, "_BOLDEST", 1.0)
    plain = sinkhorn(cost, epsilon=0.05, tolerance=1e-9, max_iterations=50_000)
    assert plain.iterations.double().mean() > 2 * fast.iterations.double().mean()
    torch.testing.assert_close(fast.plan, plain.plan, rtol=0, atol=1e-8)


@METHODS
def test_atoms_without_mass_are_as_if_absent(method):
    cost, a, b = _cost(), _weights(3, 10), _weights(3, 14, seed=1)
    a, b = a.clone(), b.clone()
    a[:, 2:5], b[:, 0] = 0, 0
    a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    for reach in (None, 0.7):
        options = Entropic(epsilon=0.3, relative=False, tolerance=1e-11, reach=reach, method=method)
        got = sinkhorn(cost, options, a=a, b=b)
        i = [k for k in range(10) if not 2 <= k < 5]
        less = sinkhorn(cost[:, i, 1:], options, a=a[:, i], b=b[:, 1:])
        torch.testing.assert_close(got.plan[:, i, 1:], less.plan, rtol=0, atol=1e-10)
        torch.testing.assert_close(got.value, less.value)
        assert (got.plan[:, 2:5] == 0).all()
        f, g = got.potentials  # everywhere the soft transform of the other potential
        soft = -got.epsilon[:, None] * torch.logsumexp(
            (g.unsqueeze(1) - cost) / got.epsilon[:, None, None] + b.log().unsqueeze(1), -1
        )
        damping = 1 if reach is None else reach / (reach + 0.3)
        torch.testing.assert_close(f, damping * soft, rtol=0, atol=1e-8)


@METHODS
def test_unbalanced_plan_agrees_with_pot_and_value_with_the_primal(method):
    ot = pytest.importorskip("ot")
    cost, a, b = _cost(), _weights(3, 10, mass=1.5), _weights(3, 14, seed=1, mass=0.8)
    got = sinkhorn(cost, a=a, b=b, epsilon=0.2, reach=1.3, relative=False, tolerance=1e-12, method=method)
    assert got.converged.all()
    for i in range(3):
        peer = ot.unbalanced.sinkhorn_knopp_unbalanced(
            a[i].numpy(),
            b[i].numpy(),
            cost[i].numpy(),
            0.2,
            1.3,
            reg_type="kl",
            stopThr=1e-15,
            numItermax=20000,
        )
        torch.testing.assert_close(got.plan[i], torch.from_numpy(peer), rtol=0, atol=1e-11)
    torch.testing.assert_close(got.value, _primal(cost, a, b, got, reach=1.3), rtol=1e-9, atol=0)


def test_unbalanced_tends_to_balanced():
    cost = _cost()
    balanced, firm = sinkhorn(cost, epsilon=0.1), sinkhorn(cost, epsilon=0.1, reach=1e4, tolerance=1e-7)
    torch.testing.assert_close(firm.plan, balanced.plan, rtol=0, atol=1e-4)


def _gradcheck(f, *inputs):
    assert torch.autograd.gradcheck(f, inputs, eps=1e-5, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("reach", [None, 0.8])
@pytest.mark.parametrize("gradient", ["envelope", "unrolled"])
def test_gradient_agrees_with_finite_differences(gradient, reach):
    options = Entropic(epsilon=1.0, relative=False, tolerance=1e-11, gradient=gradient, reach=reach)
    x, y = _points(2, 4, 2).requires_grad_(), _points(2, 5, 2, seed=1).requires_grad_()
    _gradcheck(lambda x, y: sinkhorn(cost_matrix(x, y), options).value, x, y)
    cost, z = _cost(2, 4, 5), _points(4, seed=3).requires_grad_()
    _gradcheck(lambda z: sinkhorn(cost, options, a=z.softmax(0)).value, z)
    _gradcheck(lambda z: sinkhorn(cost.mT, options, b=z.softmax(0)).value, z)
    if reach is not None:  # the mass is free as well
        _gradcheck(lambda z: sinkhorn(cost, options, a=z.exp()).value, z)


def test_unrolled_gives_gradients_of_plan_and_price():
    options = Entropic(epsilon=1.0, relative=False, tolerance=1e-11, gradient="unrolled")
    cost = _cost(1, 4, 5).requires_grad_()
    _gradcheck(lambda c: sinkhorn(c, options).plan, cost)
    _gradcheck(lambda c: sinkhorn(c, options).cost, cost)
    by_envelope = sinkhorn(cost, options, gradient="envelope")
    assert not by_envelope.plan.requires_grad
    assert not by_envelope.cost.requires_grad
    (a,) = torch.autograd.grad(by_envelope.value.sum(), cost)
    (b,) = torch.autograd.grad(sinkhorn(cost, options).value.sum(), cost)
    torch.testing.assert_close(a, b)


def test_gradient_through_atoms_without_mass_is_finite():
    cost = _cost(1, 4, 5).requires_grad_()
    a = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=F64, requires_grad=True)
    for gradient in ("envelope", "unrolled"):
        value = sinkhorn(cost, a=a, gradient=gradient).value.sum()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, (cost, a)))


def test_divergence_is_zero_only_for_equal_measures():
    x, y = _points(12, 2), _points(9, 2, seed=1)
    assert abs(sinkhorn_divergence(x, x[torch.randperm(12)], tolerance=1e-10).value) < 1e-8
    assert sinkhorn_divergence(x, y).value > 0.01
    a = _weights(9)
    assert sinkhorn_divergence(y, y, a=a, max_iterations=20_000).value > 1e-3


def test_divergence_of_gaussians_has_a_closed_form():
    from creo.divergences.transport import entropic_gaussian

    grid, one = torch.linspace(-8, 8, 161, dtype=F64).unsqueeze(-1), torch.ones(1, dtype=F64)
    a, b = (
        w / w.sum()
        for w in (torch.exp(-(grid**2) / 2).squeeze(-1), torch.exp(-((grid - 1) ** 2) / 0.98).squeeze(-1))
    )
    p, q = (0 * one, one[:, None]), (one, 0.49 * one[:, None])
    pairs = [entropic_gaussian(s, t, epsilon=0.5).item() for s, t in ((p, q), (p, p), (q, q))]
    got = sinkhorn_divergence(grid, grid, a=a, b=b, epsilon=0.5, relative=False, tolerance=1e-9)
    assert got.converged
    assert got.value.item() == pytest.approx(pairs[0] - pairs[1] / 2 - pairs[2] / 2, rel=1e-6)


def test_divergence_limits():
    x, y = _points(12, 2), _points(9, 2, seed=1) + 0.5
    wide = sinkhorn_divergence(x, y, epsilon=1e5, relative=False).value
    torch.testing.assert_close(wide, (x.mean(0) - y.mean(0)).square().sum(), rtol=1e-3, atol=0)


def test_unbalanced_divergence_of_scaled_measure():
    x, a = _points(8, 2), _weights(8)
    options = Entropic(epsilon=0.5, relative=False, reach=1.0, tolerance=1e-11)
    assert abs(sinkhorn_divergence(x, x, a=a, b=a, options=options).value) < 1e-9
    assert sinkhorn_divergence(x, x, a=a, b=2 * a, options=options).value > 1e-2


def test_divergence_gradient():
    y = _points(5, 2, seed=1)
    options = Entropic(epsilon=1.0, relative=False, tolerance=1e-11)
    _gradcheck(lambda x: sinkhorn_divergence(x, y, options=options).value, _points(4, 2).requires_grad_())


def test_epsilon_follows_the_scale_of_the_cost():
    cost = _cost()
    one, many = sinkhorn(cost), sinkhorn(1000 * cost)
    torch.testing.assert_close(many.plan, one.plan)
    torch.testing.assert_close(many.value, 1000 * one.value)


def test_shapes_without_and_with_many_batch_dimensions():
    cost = _cost(6)
    flat, nested, single = sinkhorn(cost), sinkhorn(cost.reshape(2, 3, 10, 14)), sinkhorn(cost[0])
    assert nested.plan.shape == (2, 3, 10, 14)
    assert nested.potentials[1].shape == (2, 3, 14)
    assert single.value.shape == ()
    torch.testing.assert_close(nested.value.flatten(), flat.value)
    torch.testing.assert_close(single.plan, flat.plan[0])


def test_half_precision_is_solved_in_float32():
    got = sinkhorn(_cost().bfloat16())
    assert got.value.dtype == torch.float32
    assert got.converged.all()


def test_free_transport_costs_nothing():
    got = sinkhorn(torch.zeros(3, 4, dtype=F64))
    assert got.value.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(got.plan, torch.full((3, 4), 1 / 12, dtype=F64))


C = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sinkhorn(C * math.nan), DataError, "4 NaN"),
        (lambda: sinkhorn(torch.zeros(2)), DataError, "shape"),
        (lambda: sinkhorn(torch.zeros(0, 2)), DataError, "none of them 0"),
        (lambda: sinkhorn(C.long()), DataError, "floating"),
        (lambda: sinkhorn(C, a=torch.tensor([1.5, -0.5])), DataError, "negative"),
        (lambda: sinkhorn(C, a=torch.ones(3)), DataError, "weights a"),
        (lambda: sinkhorn(C, a=torch.ones(2)), DataError, "reach"),
        (lambda: sinkhorn(C, b=torch.zeros(2)), DataError, "no mass"),
        (lambda: sinkhorn(C, b=torch.tensor([math.nan, 1.0])), DataError, "NaN"),
        (lambda: sinkhorn(C, epsilon=0.0), OptionError, "epsilon"),
        (lambda: sinkhorn(C, epsilon=-1.0), OptionError, "epsilon"),
        (lambda: sinkhorn(C, epsilon=math.nan), OptionError, "epsilon"),
        (lambda: sinkhorn(C, reach=0.0), OptionError, "reach"),
        (lambda: sinkhorn(C, max_iterations=0), OptionError, "max_iterations"),
        (lambda: sinkhorn(C, method="logs"), OptionError, "'log'"),
        (lambda: sinkhorn(C, gradient="implicit"), OptionError, "envelope"),
        (lambda: sinkhorn(C, epsilom=0.1), OptionError, "'epsilon'"),
        (lambda: sinkhorn_divergence(torch.zeros(3, 2), torch.zeros(3, 1)), DataError, "agree"),
    ],
)
def test_bad_input_is_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()
