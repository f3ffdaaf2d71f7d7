r"""Closed forms between two Gaussians N(mean, cov) from which f-divergences follow. All in nats, batched.

    KL(p || q)  = 1/2 [tr(Cq^-1 Cp) - d + log|Cq| - log|Cp| + (mp - mq)' Cq^-1 (mp - mq)]
    log I_b     = log of the integral of p^b q^(1-b)      (Chernoff affinity; b = 1/2 is Bhattacharyya's)

With precisions Pp, Pq, P = b Pp + (1 - b) Pq and e = mp - mq,

    log I_b = 1/2 [b log|Pp| + (1 - b) log|Pq| - log|P| - b e' Pp e + b^2 e' Pp P^-1 Pp e]

if P is positive definite; else the integral diverges and log I_b = inf (possible only outside 0 <= b <= 1).

Source: Liese and Vajda 1987, Convex Statistical Distances; Gil, Alajaji and Linder 2013, Information Sciences 249.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from creo.errors import DataError, SpaceError


class GaussianPair(NamedTuple):
    """Means (..., d) and covariances (..., d, d) of p and q."""

    mean_p: Tensor
    cov_p: Tensor
    mean_q: Tensor
    cov_q: Tensor

    def checked(self) -> GaussianPair:
        """The pair itself if shapes agree.

        Raises:
            SpaceError: naming the shapes.
        """
        d = self.mean_p.shape[-1:]
        if (
            self.mean_q.shape[-1:] != d
            or any(c.shape[-2:] != (*d, *d) for c in (self.cov_p, self.cov_q))
            or not d
        ):
            shapes = ", ".join(str(tuple(t.shape)) for t in self)
            raise SpaceError(
                f"two Gaussians need means (..., d) and covariances (..., d, d); received {shapes}"
            )
        return self


def _cholesky(cov: Tensor, name: str) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(cov)
    if failed.any() or not factor.isfinite().all():
        raise DataError(f"the covariance of {name} is not positive definite")
    return factor


def _log_det(factor: Tensor) -> Tensor:
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def gaussian_kl(pair: GaussianPair) -> Tensor:
    """KL(p || q) in nats, shape (...).

    Raises:
        SpaceError: if shapes do not fit.
        DataError: if a covariance is not positive definite.
    """
    mp, cp, mq, cq = pair.checked()
    lp, lq = _cholesky(cp, "p"), _cholesky(cq, "q")
    ratio = torch.linalg.solve_triangular(lq, lp, upper=False)
    shift = torch.linalg.solve_triangular(lq, (mp - mq)[..., None], upper=False)
    squares = ratio.square().sum((-2, -1)) + shift.square().sum((-2, -1))
    return 0.5 * (squares - mp.shape[-1] + _log_det(lq) - _log_det(lp))


def gaussian_log_affinity(pair: GaussianPair, b: float) -> Tensor:
    """log of the integral of p^b q^(1-b), shape (...); inf where the integral diverges.

    Raises:
        SpaceError: if shapes do not fit.
        DataError: if a covariance is not positive definite.
    """
    mp, cp, mq, cq = pair.checked()
    lp, lq = _cholesky(cp, "p"), _cholesky(cq, "q")
    precision_p, precision_q = torch.cholesky_inverse(lp), torch.cholesky_inverse(lq)
    factor, failed = torch.linalg.cholesky_ex(b * precision_p + (1 - b) * precision_q)
    shift = (mp - mq)[..., None]
    pull = precision_p @ shift
    inner = torch.linalg.solve_triangular(factor, pull, upper=False).square().sum((-2, -1))
    quadratic = b**2 * inner - b * (shift * pull).sum((-2, -1))
    value = 0.5 * (quadratic - b * _log_det(lp) - (1 - b) * _log_det(lq) - _log_det(factor))
    return torch.where(failed == 0, value, torch.inf)
