r"""Covariance estimates that are always positive definite, with every departure from the sample covariance stated.

With D dimensions and N samples the sample covariance S has rank at most N - 1, and its small eigenvalues are too
small long before that. Write S = diag(s) R diag(s) with the correlations R. The estimate keeps the variances and
shrinks the correlations towards none,

    R* = (1 - w) R + w I,     w = min(1, sum_{i != j} Var(r_ij) / sum_{i != j} r_ij^2),

where the w of Schaefer and Strimmer minimises the expected squared error and goes to 0 as 1/N. It does not depend on
the units of the columns. Two guards make the result usable in float32: w is at least 1e-6, and no standard deviation
is below 1e-3 of the root mean square of all (a constant column gets that width; 1 if all are constant).

Several classes (Friedman's regularised discriminant analysis): a class of n samples has

    S_k* = (n S_k + nu S*) / (n + nu),     m_k* = (n m_k + m) / (n + 1)

with S* the shrunk covariance within classes and m the mean of all data: the posterior mean under a conjugate prior
worth nu samples. A class without data is thus the pooled Gaussian.

Sources: Schaefer, Strimmer 2005, https://doi.org/10.2202/1544-6115.1175; Ledoit, Wolf 2004,
https://doi.org/10.1016/S0047-259X(03)00096-4; Friedman 1989, https://doi.org/10.1080/01621459.1989.10478752.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_SHRINKAGE = 1e-6
MIN_RELATIVE_STD = 1e-3
_CHUNK = 8192  # rows converted to float64 at a time


@dataclass(frozen=True)
class Moments:
    """Sums over the samples x of one class, z = x - mean.

    Args:
        count: number of samples n.
        mean: (D,).
        scatter: sum of z z', (D, D).
        squares: sum of (z_i z_j)^2 for all pairs, (D, D).
    """

    count: int
    mean: Tensor
    scatter: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        """Moments in float64 of x, (N, D), any dtype; two passes over chunks, so x is never copied whole."""
        n, d = x.shape
        mean = x.double().mean(0) if n <= _CHUNK else sum(p.double().sum(0) for p in x.split(_CHUNK)) / n
        mean = mean if n else torch.zeros(d, dtype=torch.float64, device=x.device)
        scatter, squares = torch.zeros(2, d, d, dtype=torch.float64, device=x.device)
        for part in x.split(_CHUNK):
            z = part.double() - mean
            scatter.addmm_(z.T, z)
            squares.addmm_(z.square_().T, z)
        return cls(n, mean, scatter, squares)


def guarded_std(variance: Tensor) -> Tensor:
    """Standard deviations of variances (D,), none below 1e-3 of their root mean square (1 if all are 0)."""
    scale = variance.mean().sqrt()
    return variance.sqrt().clamp_min(float(MIN_RELATIVE_STD * scale) if scale > 0 else 1.0)


def optimal_shrinkage(moments: list[Moments]) -> float:
    """The weight w, in [1e-6, 1], from the moments of one or more classes.

    Var(s_ij) is estimated by n / (n - 1)^3 times the sum over samples of (z_i z_j - their mean)^2, and both it and
    s_ij^2 are divided by the two variances to speak of correlations.
    """
    n = sum(m.count for m in moments)
    if n < 3:
        return 1.0
    product = torch.stack([m.scatter for m in moments]).sum(0) / n
    squares = torch.stack([m.squares for m in moments]).sum(0)
    precision = guarded_std(product.diagonal()).square().reciprocal()
    units = torch.outer(precision, precision).fill_diagonal_(0)
    noise = ((squares - n * product.square()) * units).sum() * n / (n - 1) ** 3
    signal = (product.square() * units).sum()
    return float((noise / signal).clamp(MIN_SHRINKAGE, 1.0)) if signal > 0 else 1.0


def shrunk_covariance(covariance: Tensor, weight: float) -> Tensor:
    """The positive definite estimate with correlations shrunk by `weight`, (D, D)."""
    shrunk = covariance * (1 - max(weight, MIN_SHRINKAGE))
    shrunk.diagonal().copy_(guarded_std(covariance.diagonal()).square())
    return shrunk
