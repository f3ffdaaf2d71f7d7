r"""Transport between Gaussians, in closed form.

For N(m, A) and N(n, B) the Wasserstein distance of order 2 is Bures' (Dowson & Landau 1982; Gelbrich 1990)

    W_2^2 = |m - n|^2 + tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2},

reached by the linear map  T(x) = n + T_AB (x - m),  T_AB = A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}, with
derivative  dW_2^2 / dA = I - T_AB. It is also the Frechet distance of FID. The barycentre of Gaussians,
argmin_S sum_k w_k W_2^2(A_k, S), is the fixed point of (Alvarez-Esteban et al. 2016)

    S <- S^{-1/2} ( sum_k w_k (S^{1/2} A_k S^{1/2})^{1/2} )^2 S^{-1/2}.

Entropic transport with cost |x - y|^2 and eps KL(P | a b^T) is closed too (Janati et al. 2020): with
s = eps / 2 and D = (4 A^{1/2} B A^{1/2} + s^2 I)^{1/2}

    V = |m - n|^2 + tr A + tr B - tr D + d s (1 - log 2 s) + s log det(D + s I).

A Gaussian is a pair (mean (*, d), covariance (*, d, d)). Use float64: the traces cancel, so a distance of
identical Gaussians comes out as about sqrt(tr A) times 1e-8 in float64 and 3e-4 in float32.

References:
    C. Givens, R. Shortt (1984), https://doi.org/10.1307/mmj/1029003026.
    P. C. Alvarez-Esteban, E. del Barrio, J. Cuesta-Albertos, C. Matran (2016), https://arxiv.org/abs/1511.05355.
    H. Janati, B. Muzellec, G. Peyre, M. Cuturi (2020), https://arxiv.org/abs/2006.02572.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.transport.one_dimensional import root
from creo.divergences.transport.problem import check_finite, check_weights, envelope
from creo.errors import DataError, OptionError

Gaussian = tuple[Tensor, Tensor]


def bures_wasserstein(p: Gaussian, q: Gaussian) -> Tensor:
    """W_2 (*) between two (batches of) Gaussians, in the unit of x; 0 is equal.

    Args:
        p: mean (*, d), covariance (*, d, d), which may be singular.
        q: the same.

    Raises:
        DataError: NaN, shapes that do not agree, a covariance that is not symmetric positive semidefinite.
    """
    (m, A), (n, B) = _check(p, "p"), _check(q, "q")
    _check_pair(m, n)
    traces = _trace(A) + _trace(B) - 2 * _trace(_sqrt(_sandwich(_sqrt(A), B)))
    identity = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    pairs = [(identity - _map(X, Y), X) for X, Y in ((A, B), (B, A)) if X.requires_grad]
    return root((m - n).square().sum(-1) + envelope(traces.clamp_min(0), *pairs), 2)


def gaussian_map(p: Gaussian, q: Gaussian) -> tuple[Tensor, Tensor]:
    """The optimal map x -> T x + t from p to q: T (*, d, d), symmetric, and t (*, d). See `bures_wasserstein`."""
    (m, A), (n, B) = _check(p, "p"), _check(q, "q")
    _check_pair(m, n)
    T = _map(A, B)
    return T, n - (T @ m.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class GaussianBarycentre:
    """The barycentre of Gaussians.

    Args:
        mean: (*, d).
        covariance: (*, d, d).
        iterations: steps taken.
        error: relative change of the covariance in the last step, largest over the batch.
        converged: whether that is at most the tolerance.
    """

    mean: Tensor
    covariance: Tensor
    iterations: int
    error: float
    converged: bool


@torch.no_grad()
def gaussian_barycentre(
    means: Tensor,
    covariances: Tensor,
    *,
    weights: Tensor | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 200,
) -> GaussianBarycentre:
    """The Wasserstein barycentre of k Gaussians, by fixed point. Carries no gradient.

    Args:
        means: (*, k, d).
        covariances: (*, k, d, d), at least one of them invertible.
        weights: (k,), nonnegative, divided by their sum; uniform if None.
        tolerance: relative change (Frobenius) of the covariance at which to stop.
        max_iterations: steps after which to give up.

    Raises:
        DataError: NaN, negative weights, wrong shapes, a covariance that is not symmetric positive semidefinite.
        OptionError: a tolerance that is not positive, no iteration.
    """
    means, covariances = _check((means, covariances), "the Gaussians")
    if means.ndim < 2 or not tolerance > 0 or max_iterations < 1:
        raise OptionError(
            f"a barycentre needs means (*, k, d), tolerance > 0 and max_iterations >= 1; received "
            f"{tuple(means.shape)}, {tolerance!r} and {max_iterations!r}"
        )
    w = check_weights(weights, means.shape[-2:-1], means, "weights")
    w = (w / w.sum()).unsqueeze(-1)
    S = (w.unsqueeze(-1) * covariances).sum(-3)
    step, error = 0, math.inf
    while step < max_iterations and error > tolerance:
        step += 1
        r, inverse = _roots(S)
        middle = (w.unsqueeze(-1) * _sqrt(_sandwich(r.unsqueeze(-3), covariances))).sum(-3)
        last, S = S, _sandwich(inverse, middle @ middle)
        error = float(((S - last).norm(dim=(-1, -2)) / last.norm(dim=(-1, -2))).max())
    return GaussianBarycentre((w * means).sum(-2), S, step, error, error <= tolerance)


@torch.no_grad()
def entropic_gaussian(p: Gaussian, q: Gaussian, *, epsilon: float) -> Tensor:
    """Entropic transport cost V (*) between Gaussians for |x - y|^2, in the unit of x squared. Carries no gradient.

    Args:
        p: mean (*, d), covariance (*, d, d).
        q: the same.
        epsilon: the regularisation, positive, in the unit of x squared.

    Raises:
        DataError: as for `bures_wasserstein`.
        OptionError: epsilon <= 0.
    """
    if not epsilon > 0:
        raise OptionError(f"epsilon must be positive; received {epsilon!r}")
    (m, A), (n, B) = _check(p, "p"), _check(q, "q")
    _check_pair(m, n)
    s = epsilon / 2
    inner = torch.linalg.eigvalsh(_sandwich(_sqrt(A), B)).clamp_min(0)
    D = (4 * inner + s**2).sqrt()  # its eigenvalues
    entropy = (s * (1 - math.log(2 * s) + (D + s).log()) - D).sum(-1)
    return (m - n).square().sum(-1) + _trace(A) + _trace(B) + entropy


def _check(gaussian: Gaussian, what: str) -> Gaussian:
    mean, covariance = gaussian
    d = mean.shape[-1] if mean.ndim else 0
    if d == 0 or covariance.shape != (*mean.shape, d):
        raise DataError(
            f"{what} must be a mean (*, d) and a covariance (*, d, d); received {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}"
        )
    check_finite(mean, f"mean of {what}"), check_finite(covariance, f"covariance of {what}")
    still = covariance.detach()
    slack = d * torch.finfo(still.dtype).eps ** 0.75 * still.abs().amax((-1, -2))
    if ((still - still.mT).abs().amax((-1, -2)) > slack).any():
        raise DataError(f"covariance of {what} is not symmetric; symmetrise it: (S + S.mT) / 2")
    least = torch.linalg.eigvalsh(still)[..., 0]
    if (least < -slack).any():
        raise DataError(f"covariance of {what} has the negative eigenvalue {float(least.min()):.4g}")
    return mean, covariance


def _check_pair(m: Tensor, n: Tensor) -> None:
    if m.shape[-1] != n.shape[-1]:
        raise DataError(
            f"both Gaussians must have the same dimension; received {m.shape[-1]} and {n.shape[-1]}"
        )


def _trace(S: Tensor) -> Tensor:
    return S.diagonal(dim1=-2, dim2=-1).sum(-1)


def _sandwich(R: Tensor, S: Tensor) -> Tensor:
    return R @ S @ R


def _roots(S: Tensor) -> tuple[Tensor, Tensor]:
    """S^{1/2} and its pseudo-inverse, of symmetric positive semidefinite S. Without gradient."""
    values, Q = torch.linalg.eigh(S.detach())
    cut = values.amax(-1, keepdim=True) * S.shape[-1] * torch.finfo(S.dtype).eps
    r = values.clamp_min(0).sqrt()
    inverse = torch.where(values > cut, 1 / r, 0.0)
    return (Q * r.unsqueeze(-2)) @ Q.mT, (Q * inverse.unsqueeze(-2)) @ Q.mT


def _sqrt(S: Tensor) -> Tensor:
    return _roots(S)[0]


def _map(A: Tensor, B: Tensor) -> Tensor:
    r, inverse = _roots(A)
    return _sandwich(inverse, _sqrt(_sandwich(r, B.detach())))
