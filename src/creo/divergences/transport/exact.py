r"""Exact transport: the linear program min <P, C> over plans with marginals a and b.

Its dual is  max <a, f> + <b, g>  subject to  f_i + g_j <= C_ij; the two are equal at the optimum, so an optimal
pair of potentials is a certificate that the plan is optimal. Derivatives: dV/dC = P, dV/da = f, dV/db = g.

Two solvers, neither of them ours: the network simplex of POT (extra `transport`; O(n^3 log n) and any weights),
and scipy's assignment, which serves where both sides have equally many points of equal weight: there some
optimal plan is a permutation divided by n (Birkhoff), and potentials follow from it as shortest paths:
g_j <- min_i (g_s(i) - C_i,s(i) + C_ij), starting from 0, until nothing changes (Bellman 1958).

References:
    N. Bonneel, M. van de Panne, S. Paris, W. Heidrich (2011), https://doi.org/10.1145/2070781.2024192.
    R. Flamary et al. (2021), POT: Python Optimal Transport, https://jmlr.org/papers/v22/20-451.html.
"""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from creo.divergences.transport.problem import Transport, check_cost, check_same_mass, check_weights, envelope
from creo.errors import MissingExtra

Array = NDArray[np.float64]
Solution = tuple[Array, Array, Array, bool]  # plan, f, g, whether optimal

_UNUSED_BACKENDS = ("POT_BACKEND_DISABLE_JAX", "POT_BACKEND_DISABLE_CUPY", "POT_BACKEND_DISABLE_TENSORFLOW")


def exact_transport(
    cost: Tensor, *, a: Tensor | None = None, b: Tensor | None = None, max_iterations: int = 10_000_000
) -> Transport:
    """Solve a batch of transport problems exactly, on the CPU, one after the other.

    Args:
        cost: C (*, n, m), finite.
        a: weights of the rows (n,) or (*, n), nonnegative; uniform with sum 1 if None.
        b: weights of the columns (m,) or (*, m), of the same mass.
        max_iterations: pivots of the network simplex after which it gives up (see `converged`).

    Returns:
        `Transport` with epsilon 0 and iterations 0 (the solvers do not say).

    Raises:
        DataError: NaN, negative weights, wrong shapes, different masses.
        MissingExtra: POT is not installed, and the weights are not uniform on equally many points.
    """
    check_cost(cost)
    a = check_weights(a, tuple(cost.shape[:-1]), cost, "a")
    b = check_weights(b, (*cost.shape[:-2], cost.shape[-1]), cost, "b")
    check_same_mass(a, b)
    arrays = (_array(cost, 2), _array(a, 1), _array(b, 1))
    solutions = [_solve(*problem, max_iterations) for problem in zip(*arrays, strict=True)]
    plan, f, g = (torch.from_numpy(np.stack([s[i] for s in solutions])).to(cost) for i in range(3))
    plan, f, g = plan.reshape(cost.shape), f.reshape(a.shape), g.reshape(b.shape)
    price = (plan * cost.detach()).sum((-1, -2))
    error = (plan.sum(-1) - a.detach()).abs().sum(-1) + (plan.sum(-2) - b.detach()).abs().sum(-1)
    return Transport(
        value=envelope(price, (plan, cost), (f, a), (g, b)),
        cost=price,
        plan=plan,
        potentials=(f, g),
        epsilon=torch.zeros_like(price),
        iterations=torch.zeros_like(price, dtype=torch.long),
        error=error,
        converged=torch.tensor([s[3] for s in solutions], device=cost.device).reshape(price.shape),
    )


def _array(x: Tensor, event: int) -> Array:
    """float64 on the CPU, with the batch dimensions in one and `event` dimensions after it."""
    return x.detach().cpu().double().reshape(-1, *x.shape[x.ndim - event :]).numpy()


def _solve(cost: Array, a: Array, b: Array, max_iterations: int) -> Solution:
    if importlib.util.find_spec("ot") is not None:
        return _network_simplex(cost, a, b, max_iterations)
    if len(a) == len(b) and np.all(a == a[0]) and np.all(b == b[0]):
        return _assignment(cost, a[0])
    raise MissingExtra(
        "exact transport between weights that are not uniform on equally many points", "transport"
    )


def _network_simplex(cost: Array, a: Array, b: Array, max_iterations: int) -> Solution:
    b = b * (a.sum() / b.sum())  # equal up to rounding, but the simplex needs them equal
    plan, log = _pot().lp.emd(a, b, cost, numItermax=max_iterations, log=True, check_marginals=False)
    return plan, log["u"], log["v"], log["warning"] is None


def _pot() -> ModuleType:
    """POT, imported without the array libraries that it would otherwise look for and load."""
    saved = {name: os.environ.get(name) for name in _UNUSED_BACKENDS}
    os.environ.update(dict.fromkeys(_UNUSED_BACKENDS, "1"))
    try:
        import ot
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return ot


def _assignment(cost: Array, weight: float) -> Solution:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    plan = np.zeros_like(cost)
    plan[rows, columns] = weight
    f, g = _assignment_potentials(cost, columns)
    return plan, f, g, True


def _assignment_potentials(cost: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
    matched = cost[np.arange(len(cost)), columns]
    detour = cost - matched[:, None]
    g = np.zeros(len(cost))
    slack = 1e-12 * np.abs(cost).max()  # rounding could otherwise turn the same circle for ever
    for _ in range(len(cost)):
        shorter = np.minimum(g, (g[columns][:, None] + detour).min(axis=0))
        settled = bool((g - shorter <= slack).all())
        g = shorter
        if settled:
            break
    return matched - g[columns], g
