"""Continuous layers: solvers at their order, traces against autograd, and a linear field in closed form."""

import math

import pytest
import torch
from torch import nn

import creo
from creo.errors import OptionError
from creo.flows import Continuous, Velocity, solve_adaptive, solve_fixed
from creo.flows.continuous import exact_trace, hutchinson_trace
from creo.flows.ode import TABLEAUS
from creo.spaces import Categories
from creo.spaces import Continuous as Reals


def pendulum(t, state):
    x, v = state
    return v, -x.sin() + 0.5 * math.cos(t)


def start():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    return x, 0.3 * x


@pytest.mark.parametrize("method", TABLEAUS)
def test_fixed_steps_converge_at_their_order(method):
    truth = solve_adaptive(pendulum, start(), 0.0, 1.0, rtol=1e-13, atol=1e-13)[0]
    errors = [
        float((solve_fixed(pendulum, start(), 0.0, 1.0, method=method, steps=n)[0] - truth).abs().max())
        for n in (8, 16)
    ]
    assert abs(math.log2(errors[0] / errors[1]) - TABLEAUS[method].order) < 0.35


def test_adaptive_steps_meet_their_tolerance_and_go_back():
    for tolerance in (1e-4, 1e-7, 1e-10):
        there = solve_adaptive(pendulum, start(), 0.0, 3.0, rtol=tolerance, atol=tolerance)
        back = solve_adaptive(pendulum, there, 3.0, 0.0, rtol=tolerance, atol=tolerance)
        assert (back[0] - start()[0]).abs().max() < 100 * tolerance


def test_a_sample_is_solved_as_exactly_in_company():
    torch.manual_seed(0)
    calm = torch.zeros(1000, dtype=torch.float64)
    state = (
        torch.cat([calm, torch.tensor([3.0], dtype=torch.float64)]),
        torch.zeros(1001, dtype=torch.float64),
    )
    truth = solve_adaptive(pendulum, state, 0.0, 3.0, rtol=1e-12, atol=1e-12)[0]
    found = solve_adaptive(pendulum, state, 0.0, 3.0, rtol=1e-6, atol=1e-6)[0]
    assert (found - truth).abs().max() < 1e-4


def test_a_solver_that_does_not_arrive_says_so():
    with pytest.raises(OptionError, match="did not reach"):
        solve_adaptive(pendulum, start(), 0.0, 100.0, rtol=1e-12, atol=1e-12, most=5)
    with pytest.raises(OptionError, match="known: euler"):
        solve_fixed(pendulum, start(), 0.0, 1.0, method="rk5")
    with pytest.raises(OptionError, match="received"):
        Continuous(Velocity(2, hidden=(4,)), trace="guess")


class Linear(nn.Module):
    """v = A x."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, t, x, e=None):
        return x @ self.matrix.T


def test_a_linear_field_is_the_matrix_exponential():
    torch.manual_seed(0)
    a = torch.randn(3, 3, dtype=torch.float64)
    layer = Continuous(Linear(a)).double().eval()
    x = torch.randn(7, 3, dtype=torch.float64)
    y, log_det = layer.forward(x)
    torch.testing.assert_close(y, x @ torch.linalg.matrix_exp(a).T, atol=1e-8, rtol=0)
    torch.testing.assert_close(log_det, a.trace().expand(7), atol=1e-8, rtol=0)
    torch.testing.assert_close(layer.generate(y), x, atol=1e-8, rtol=0)
    assert layer.nfe > 6


def moved(velocity):
    with torch.no_grad():
        for p in velocity.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return velocity.double()


def test_traces_against_the_jacobian():
    torch.manual_seed(0)
    v = moved(Velocity(4, hidden=(16,), context=3))
    x, e = torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    truth = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda u, i=i: v(0.3, u[None], e[i : i + 1])[0], x[i]).trace()
            for i in range(2)
        ]
    )
    x.requires_grad_()
    value, trace, _ = exact_trace(v, 0.3, x, e, graph=False)
    torch.testing.assert_close(trace, truth, atol=1e-10, rtol=0)
    torch.testing.assert_close(value, v(0.3, x, e), atol=1e-12, rtol=0)
    # all 16 sign vectors: the mean over Rademacher noise is the trace exactly
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    means = torch.stack([hutchinson_trace(v, 0.3, x, e, False, s.expand(2, 4))[1] for s in signs]).mean(0)
    torch.testing.assert_close(means, truth, atol=1e-10, rtol=0)


@pytest.mark.parametrize("hidden", [(7,), (6, 9)])
@pytest.mark.parametrize("context", [0, 3])
def test_closed_trace_of_shallow_networks_and_its_gradient(hidden, context):
    torch.manual_seed(1)
    v = moved(Velocity(5, hidden=hidden, context=context))
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    e = torch.randn(4, context, dtype=torch.float64) if context else None
    wanted = [x, *v.parameters()]
    (value, trace), (true_value, truth, _) = v.with_trace(0.3, x, e), exact_trace(v, 0.3, x, e, True)
    torch.testing.assert_close(value, true_value, atol=1e-12, rtol=0)
    torch.testing.assert_close(trace, truth, atol=1e-11, rtol=0)
    ours, theirs = (
        torch.autograd.grad((part * part.detach().cos()).sum(), wanted, allow_unused=True)
        for part in (trace, truth)
    )
    for a, b, p in zip(ours, theirs, wanted, strict=True):
        zero = torch.zeros_like(p)
        torch.testing.assert_close(zero if a is None else a, zero if b is None else b, atol=1e-10, rtol=0)
    assert not Velocity(5, hidden=(4, 4, 4)).shallow


@pytest.mark.parametrize("trace", ["rademacher", "gaussian"])
def test_one_noise_per_solve(trace, monkeypatch):
    torch.manual_seed(0)
    layer = Continuous(moved(Velocity(4, hidden=(8,))), trace=trace).double()
    seen = []

    def spy(v, t, x, e, graph, noise):
        seen.append(noise)
        return hutchinson_trace(v, t, x, e, graph, noise)

    monkeypatch.setattr("creo.flows.continuous.hutchinson_trace", spy)
    x = torch.randn(3, 4, dtype=torch.float64)
    layer.forward(x)
    assert len(seen) == layer.nfe == 4 * layer.steps
    assert all(noise is seen[0] for noise in seen)
    layer.forward(x)
    assert not torch.equal(seen[-1], seen[0])


def test_hutchinson_log_det_is_unbiased():
    torch.manual_seed(0)
    v = moved(Velocity(4, hidden=(8,)))
    x = torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        exact = Continuous(v).double().train().forward(x)[1]
        drawn = Continuous(v, trace="gaussian").double().train().forward(x.expand(20_000, 4))[1]
    assert abs(float(drawn.mean() - exact)) < 4 * float(drawn.std()) / 20_000**0.5
    assert float(drawn.std()) > 0.01


def test_training_gradient_equals_finite_differences():
    torch.manual_seed(0)
    layer = Continuous(moved(Velocity(2, hidden=(8,)))).double().train()
    x = torch.randn(3, 2, dtype=torch.float64)
    weight = layer.velocity.network.layers[0].weight

    def value():
        y, log_det = layer.forward(x)
        return (y.square().sum(1) + log_det).sum()

    (gradient,) = torch.autograd.grad(value(), weight)
    for i, j in ((0, 0), (3, 2)):
        with torch.no_grad():
            weight[i, j] += 1e-5
            up = value()
            weight[i, j] -= 2e-5
            down = value()
            weight[i, j] += 1e-5
        assert float((up - down) / 2e-5) == pytest.approx(float(gradient[i, j]), rel=1e-5, abs=1e-7)


def test_models_report_their_evaluations():
    torch.manual_seed(0)
    for name in ("cnf", "ffjord"):
        model = creo.build(name, Reals((2,)), Categories(2), hidden=(8,), steps=5)
        x, c = torch.randn(16, 2), torch.randint(0, 2, (16,))
        model.train().loss(x, c)
        assert model.nfe == 20


def test_a_linear_field_has_the_energies_of_its_closed_form():
    a = torch.tensor([[0.3, -0.5], [0.2, 0.1]], dtype=torch.float64)

    class Linear(nn.Module):
        def forward(self, t, x, e=None):
            return x @ a.T

    layer = Continuous(Linear(), steps=16, kinetic=2.0, jacobian=3.0).train()
    x = torch.randn(7, 2, dtype=torch.float64)
    _, log_det = layer.forward(x)
    times = torch.linspace(0, 1, 4001, dtype=torch.float64)
    speeds = torch.stack([(x @ torch.matrix_exp(t * a).T @ a.T).square().sum(1).mean() for t in times])
    torch.testing.assert_close(layer.energies["kinetic"], torch.trapezoid(speeds, times), rtol=1e-5, atol=0)
    torch.testing.assert_close(layer.energies["jacobian"], a.square().sum(), rtol=1e-9, atol=0)
    expected = 2 * layer.energies["kinetic"] + 3 * layer.energies["jacobian"]
    torch.testing.assert_close(layer.penalty, expected)
    torch.testing.assert_close(log_det, a.trace().expand(7))
    assert layer.eval().forward(x)[1].shape == (7,)
    assert layer.penalty is None


@pytest.mark.parametrize("trace", ["exact", "rademacher"])
def test_checkpointed_gradients_are_those_of_plain_backpropagation(trace):
    grads = []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        model = creo.build(
            "ffjord",
            Reals((3,)),
            hidden=(8,),
            steps=3,
            trace=trace,
            kinetic=0.1,
            jacobian=0.1,
            checkpoint=checkpoint,
        ).double()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.3 * torch.randn_like(p))
        terms = model.train().loss(torch.randn(5, 3, dtype=torch.float64))
        grads.append(torch.autograd.grad(terms.loss, list(model.parameters()), materialize_grads=True))
        assert {"nll", "kinetic", "jacobian", "nfe"} <= set(terms.parts)
        assert float(terms.parts["nfe"]) == 12
    for plain, kept in zip(*grads, strict=True):
        torch.testing.assert_close(kept, plain, rtol=1e-10, atol=1e-12)
