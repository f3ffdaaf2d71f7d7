"""Exact transport, with and without POT, and couplings, against each other and against certificates."""

import importlib.util
import math
import os

import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from creo.divergences.transport import assignment, cost_matrix, exact_transport, minibatch_coupling
from creo.errors import DataError, MissingExtra

F64 = torch.float64
needs_pot = pytest.mark.skipif(importlib.util.find_spec("ot") is None, reason="needs POT (extra transport)")


@pytest.fixture
def without_pot(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ot" else find(name, *rest)
    )


def _cost(*shape, seed=0):
    return torch.rand(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def _weights(*shape, seed=0):
    a = torch.rand(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed)) + 0.05
    return a / a.sum(-1, keepdim=True)


def _certify(cost, a, b, got):
    """Primal feasible, dual feasible, no gap: so both are optimal."""
    assert got.plan.min() >= 0
    torch.testing.assert_close(got.plan.sum(-1), a.expand(got.plan.shape[:-1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(got.plan.sum(-2), b.expand(*got.plan.shape[:-2], -1), rtol=0, atol=1e-12)
    f, g = got.potentials
    assert (f.unsqueeze(-1) + g.unsqueeze(-2) - cost).max() < 1e-10
    torch.testing.assert_close((f * a).sum(-1) + (g * b).sum(-1), got.value)
    torch.testing.assert_close((got.plan * cost).sum((-1, -2)), got.value)
    assert got.converged.all()
    assert got.error.max() < 1e-12


@needs_pot
def test_network_simplex_is_certified_optimal():
    cost, a, b = _cost(3, 8, 11), _weights(3, 8), _weights(11, seed=1)
    _certify(cost, a, b, exact_transport(cost, a=a, b=b))


@needs_pot
def test_agrees_with_a_linear_program():
    cost, a, b = _cost(4, 5), _weights(4), _weights(5, seed=1)
    marginals = torch.cat(
        (torch.kron(torch.eye(4), torch.ones(1, 5)), torch.kron(torch.ones(1, 4), torch.eye(5)))
    )
    best = linprog(cost.flatten().numpy(), A_eq=marginals.numpy(), b_eq=torch.cat((a, b)).numpy())
    assert exact_transport(cost, a=a, b=b).value.item() == pytest.approx(best.fun, rel=1e-9)


def test_assignment_is_certified_optimal(without_pot):
    cost, uniform = _cost(3, 12, 12), torch.full((12,), 1 / 12, dtype=F64)
    got = exact_transport(cost)
    _certify(cost, uniform, uniform, got)
    i, j = linear_sum_assignment(cost[0].numpy())
    assert got.value[0].item() == pytest.approx(cost[0][i, j].mean().item(), rel=1e-12)


@needs_pot
def test_both_solvers_agree(without_pot, monkeypatch):
    cost = _cost(12, 12)
    by_assignment = exact_transport(cost)
    monkeypatch.undo()
    torch.testing.assert_close(exact_transport(cost).value, by_assignment.value)


def test_missing_pot_is_named(without_pot):
    with pytest.raises(MissingExtra, match=r"creo\[transport\]"):
        exact_transport(_cost(3, 4))
    with pytest.raises(MissingExtra, match=r"creo\[transport\]"):
        exact_transport(_cost(3, 3), a=_weights(3))


@needs_pot
def test_the_environment_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("POT_BACKEND_DISABLE_CUPY", "mine")
    before = dict(os.environ)
    exact_transport(_cost(3, 4))
    assert dict(os.environ) == before


@needs_pot
def test_gradient_is_plan_and_potentials():
    cost = _cost(2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: exact_transport(c).value, (cost,))
    logits = torch.randn(4, dtype=F64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: exact_transport(cost.detach(), a=z.softmax(0)).value, (logits,))


def test_coupling_is_a_permutation_of_least_cost():
    x, y = torch.randn(10, 2, 3), torch.randn(10, 2, 3)
    s = minibatch_coupling(x, y)
    assert sorted(s.tolist()) == list(range(10))
    cost = cost_matrix(x.flatten(1).double(), y.flatten(1).double())
    i, j = linear_sum_assignment(cost.numpy())
    assert cost[torch.arange(10), s].sum().item() == pytest.approx(cost[i, j].sum().item(), rel=1e-6)


def test_coupling_undoes_a_shuffle():
    x = torch.randn(50, 4)
    order = torch.randperm(50)
    assert torch.equal(order[minibatch_coupling(x, x[order] + 0.01)], torch.arange(50))


def test_coupling_into_a_larger_batch_uses_each_point_once():
    s = minibatch_coupling(torch.randn(5, 2), torch.randn(9, 2), p=1)
    assert len(set(s.tolist())) == 5


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_cost_matrix_far_from_the_origin(p):
    x, y = _cost(5, 3) + 1e4, _cost(6, 3, seed=1) + 1e4
    expected = (x[:, None] - y[None]).norm(dim=-1) ** p
    torch.testing.assert_close(cost_matrix(x, y, p=p), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: exact_transport(torch.tensor([[math.nan]])), "NaN"),
        (lambda: exact_transport(torch.zeros(3)), r"received \(3,\)"),
        (lambda: exact_transport(torch.zeros(2, 2), a=torch.tensor([1.0, 1.0])), "same mass"),
        (lambda: exact_transport(torch.zeros(2, 2), a=torch.tensor([2.0, -1.0])), "negative"),
        (lambda: assignment(torch.zeros(3, 2)), "n <= m"),
        (lambda: minibatch_coupling(torch.zeros(3, 2), torch.zeros(3, 3)), "one shape"),
        (lambda: minibatch_coupling(torch.full((3, 2), math.inf), torch.zeros(3, 2)), "infinite"),
        (lambda: cost_matrix(torch.zeros(3, 2), torch.zeros(3, 3)), "agree"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(DataError, match=words):
        call()
