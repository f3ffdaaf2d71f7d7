r"""The entropic barycentre of histograms on common atoms.

Given histograms p_k (n,), weights w_k with sum 1 and a cost C (n, m), the barycentre is the histogram q (m,) with

    min_q  sum_k w_k V_eps(p_k, q),        V_eps with the entropy of the plan as regularisation,

found by iterated projections (Benamou et al. 2015), here in the log domain with K = exp(-C / eps):

    u_k = p_k / (K v_k),      q = prod_k (K^T u_k)^{w_k},      v_k = q / (K^T u_k).

The entropy blurs: on the line with cost |x - y|^2 the barycentre of N(m_k, s^2) is N(mean m_k, s^2 + eps / 2).
`debiased` multiplies q by a d with d <- sqrt(d q / (K d)), which removes the blur (Janati et al. 2020: the
barycentre of the Sinkhorn divergence); both sides then live on the same atoms.

References:
    J.-D. Benamou, G. Carlier, M. Cuturi, L. Nenna, G. Peyre (2015), https://arxiv.org/abs/1412.5154.
    H. Janati, M. Cuturi, A. Gramfort (2020), https://arxiv.org/abs/2006.02575.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.transport.problem import check_cost, check_weights
from creo.divergences.transport.sinkhorn import cost_scale
from creo.errors import DataError, OptionError


@dataclass(frozen=True)
class Barycentre:
    """The barycentre and how it was reached.

    Args:
        weights: q (m,), sums to 1 up to the error.
        epsilon: the regularisation in the unit of the cost.
        iterations: steps taken.
        error: mean over k of the L1 error of the plans' marginals p_k, plus the L1 change of q in the last step.
        converged: whether that is at most the tolerance.
    """

    weights: Tensor
    epsilon: float
    iterations: int
    error: float
    converged: bool


@torch.no_grad()
def entropic_barycentre(
    histograms: Tensor,
    cost: Tensor,
    *,
    weights: Tensor | None = None,
    epsilon: float = 0.05,
    relative: bool = True,
    debiased: bool = False,
    tolerance: float = 1e-6,
    max_iterations: int = 5000,
) -> Barycentre:
    """The histogram nearest to k histograms in entropic transport. Carries no gradient.

    Args:
        histograms: p_k (k, n), nonnegative, each divided by its sum.
        cost: C (n, m) between their atoms and those of the barycentre.
        weights: w (k,), nonnegative, divided by their sum; uniform if None.
        epsilon: the regularisation, positive.
        relative: whether epsilon is a multiple of the cost's mean, or in the cost's own unit.
        debiased: remove the entropy's blur; needs a symmetric cost on common atoms.
        tolerance: of `Barycentre.error`.
        max_iterations: steps after which to give up.

    Raises:
        DataError: NaN, negative weights, wrong shapes, a cost that is not symmetric for `debiased`.
        OptionError: epsilon <= 0, tolerance <= 0, no iteration.
    """
    if not (0 < epsilon < float("inf") and tolerance > 0 and max_iterations >= 1):
        raise OptionError(
            f"epsilon and tolerance must be positive and max_iterations at least 1; received {epsilon!r}, "
            f"{tolerance!r} and {max_iterations!r}"
        )
    p, w = _check(histograms, cost, weights, debiased)
    if relative:
        epsilon = epsilon * float(cost_scale(cost, *(cost.new_ones(size) for size in cost.shape)))
    log_kernel = -cost / epsilon
    log_q, steps, error = _project(p, w, log_kernel, debiased, tolerance, max_iterations)
    return Barycentre(log_q.exp(), epsilon, steps, error, error <= tolerance)


def _check(histograms: Tensor, cost: Tensor, weights: Tensor | None, debiased: bool) -> tuple[Tensor, Tensor]:
    check_cost(cost)
    if histograms.ndim != 2 or cost.ndim != 2 or len(cost) != histograms.shape[-1] or not len(histograms):
        raise DataError(
            f"a barycentre needs histograms (k, n) and a cost (n, m); received {tuple(histograms.shape)} and "
            f"{tuple(cost.shape)}"
        )
    if debiased and (cost.shape[0] != cost.shape[1] or not torch.allclose(cost, cost.mT)):
        raise DataError(f"debiasing needs a symmetric cost (n, n); received one of shape {tuple(cost.shape)}")
    p = check_weights(histograms, tuple(histograms.shape), cost, "of the histograms")
    w = check_weights(weights, (len(p),), cost, "of the barycentre")
    return p / p.sum(-1, keepdim=True), w / w.sum()


def _through(log_kernel: Tensor, log_x: Tensor) -> Tensor:
    """log K x for each row of log x: (..., m) -> (..., n)."""
    return torch.logsumexp(log_kernel + log_x.unsqueeze(-2), -1)


def _project(
    p: Tensor, w: Tensor, log_kernel: Tensor, debiased: bool, tolerance: float, max_iterations: int
) -> tuple[Tensor, int, float]:
    """log q (m,), the steps taken and the error."""
    log_v = p.new_zeros(len(p), log_kernel.shape[1])
    log_d = p.new_zeros(log_kernel.shape[1])
    log_q = torch.full_like(log_d, -torch.inf)
    through = _through(log_kernel, log_v)
    step, error = 0, math.inf
    while step < max_iterations and error > tolerance:
        step += 1
        log_u = p.log() - through
        arrived = _through(log_kernel.mT, log_u)
        before, log_q = log_q, log_d + w @ arrived
        log_v = log_q - arrived
        through = _through(log_kernel, log_v)
        if debiased:
            log_d = (log_d + log_q - _through(log_kernel, log_d)) / 2
        missing = ((log_u + through).exp() - p).abs().sum(-1) @ w
        error = float(missing + (log_q.exp() - before.exp()).abs().sum())
    return log_q, step, error
