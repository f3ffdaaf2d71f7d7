r"""Maximum mean discrepancy (MMD): the distance between the kernel mean embeddings of two distributions.

    MMD^2(p, q) = E k(x, x') - 2 E k(x, y) + E k(y, y'),      x, x' ~ p,  y, y' ~ q independent.

It is 0 iff p = q when the kernel is characteristic; smaller is better; its unit is the kernel's. From x (n, d) and
y (m, d), three estimators:

| estimator  | formula                                                               | cost     | bias         |
|------------|-----------------------------------------------------------------------|----------|--------------|
| `unbiased` | sum_{i != j} k(x_i, x_j)/(n(n-1)) + same of y - 2 mean k(x_i, y_j)    | O(n^2 d) | 0; can be <0 |
| `biased`   | mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)              | O(n^2 d) | O(1/n); >= 0 |
| `linear`   | mean over disjoint pairs of k(x, x') + k(y, y') - k(x, y') - k(x', y) | O(n d)   | 0; noisy     |

The quadratic ones work tile by tile: `block` x `block` kernel values are in memory at a time, with gradients too
(tiles are recomputed in the backward pass), and sums run in float64. **KID** is the unbiased MMD^2 with the kernel
(<x, y>/d + 1)^3, averaged over random subsets.

Sources: Gretton et al. 2012, "A kernel two-sample test", JMLR 13 (lemma 6 and 14); Binkowski et al. 2018,
https://arxiv.org/abs/1801.01401 (KID).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.gram_sums import WithoutDiagonal, cross_sum, off_diagonal_sum
from creo.divergences.kernels import (
    KERNELS,
    Energy,
    Gaussian,
    Kernel,
    Polynomial,
    RationalQuadratic,
    as_kernel,
)
from creo.divergences.samples import check_samples
from creo.errors import OptionError, UnknownName, suggestion

__all__ = [
    "ESTIMATORS",
    "KERNELS",
    "KID",
    "Energy",
    "Gaussian",
    "Kernel",
    "MMDTest",
    "Polynomial",
    "RationalQuadratic",
    "kid",
    "mmd2",
    "mmd_test",
]


def _check_at_least(value: int, low: int, name: str) -> None:
    if value < low:
        raise OptionError(f"{name} must be at least {low}; received {value}")


def _unbiased(kernel: Kernel, x: Tensor, y: Tensor, block: int) -> Tensor:
    n, m = len(x), len(y)
    within_x = off_diagonal_sum(kernel, x, block) / (n * (n - 1))
    within_y = off_diagonal_sum(kernel, y, block) / (m * (m - 1))
    return within_x + within_y - 2 * cross_sum(kernel, x, y, block) / (n * m)


def _biased(kernel: Kernel, x: Tensor, y: Tensor, block: int) -> Tensor:
    n, m = len(x), len(y)
    within_x = off_diagonal_sum(kernel, x, block) + kernel.pairs(x, x).sum(dtype=torch.float64)
    within_y = off_diagonal_sum(kernel, y, block) + kernel.pairs(y, y).sum(dtype=torch.float64)
    return within_x / n**2 + within_y / m**2 - 2 * cross_sum(kernel, x, y, block) / (n * m)


def _linear(kernel: Kernel, x: Tensor, y: Tensor, block: int) -> Tensor:
    n = min(len(x), len(y)) // 2 * 2
    x1, x2, y1, y2 = x[0:n:2], x[1:n:2], y[0:n:2], y[1:n:2]
    h = kernel.pairs(x1, x2) + kernel.pairs(y1, y2) - kernel.pairs(x1, y2) - kernel.pairs(x2, y1)
    return h.mean(dtype=torch.float64)


ESTIMATORS: dict[str, Callable[[Kernel, Tensor, Tensor, int], Tensor]] = {
    "unbiased": _unbiased,
    "biased": _biased,
    "linear": _linear,
}


def mmd2(
    x: Tensor, y: Tensor, *, kernel: Kernel | str = "gaussian", estimator: str = "unbiased", block: int = 2048
) -> Tensor:
    """Squared maximum mean discrepancy between two samples. Smaller is better.

    Args:
        x: (n, d) floating-point sample of p, n at least 2.
        y: (m, d) floating-point sample of q, m at least 2.
        kernel: a `Kernel`, or the name of one with its defaults: `gaussian` (median heuristic),
            `rational-quadratic`, `polynomial` (that of KID), `energy`.
        estimator: `unbiased` (may be negative), `biased` (never negative) or `linear` (uses the rows in their
            order, and the first min(n, m) of each sample).
        block: side of a tile of kernel values; memory is O(block^2), also with gradients.

    Returns:
        A scalar tensor of the samples' dtype, differentiable with respect to x and y (twice where both samples fit
        into one block); the kernel is a constant.

    Raises:
        SpaceError, DataError: see `creo.divergences.samples.check_samples`.
        OptionError, UnknownName: for a bad `block`, `kernel` or `estimator`.
    """
    x, y = check_samples(x, y)
    _check_at_least(block, 1, "block")
    if estimator not in ESTIMATORS:
        raise UnknownName(f"unknown estimator {estimator!r}{suggestion(str(estimator), ESTIMATORS)}")
    return ESTIMATORS[estimator](as_kernel(kernel).fit(x, y), x, y, block).to(x.dtype)


@dataclass(frozen=True)
class KID:
    """Kernel inception distance and what it was computed from. Smaller is better; about 0 for equal distributions.

    `standard_error` is that of `value` as an estimate of the distributions' MMD^2; `subset_std` is the standard
    deviation over subsets, the number that papers put behind the plus-minus sign.
    """

    value: float
    standard_error: float
    subset_std: float
    subsets: int
    subset_size: int
    n: int
    m: int


def _subset_values(x: Tensor, y: Tensor, subsets: int, size: int, seed: int | None) -> Iterator[Tensor]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for _ in range(subsets):
        rows = torch.randperm(len(x), generator=generator)[:size].to(x.device)
        columns = torch.randperm(len(y), generator=generator)[:size].to(y.device)
        yield _unbiased(Polynomial(), x[rows], y[columns], size)


@torch.no_grad()
def kid(
    x: Tensor, y: Tensor, *, subsets: int = 100, subset_size: int | None = None, seed: int | None = None
) -> KID:
    r"""Kernel inception distance: mean over random subsets of the unbiased MMD^2 with kernel (<x, y>/d + 1)^3.

    Subsets of size b drawn without replacement from the same n rows overlap, so std / sqrt(subsets) is too small a
    standard error: it forgets that the n rows are themselves a sample. With s^2 the variance over subsets, V_b that
    of one subset of fresh data and V_n that of all rows, s^2 estimates V_b - V_n, and V_n = (b/n) V_b to first
    order, hence SE^2 = s^2/subsets + s^2 (b/n) / (1 - b/n) with n = min(n, m). Where p = q, V_n falls like 1/n^2 and
    this is on the safe side.

    Args:
        x: (n, d) features of one sample.
        y: (m, d) features of the other.
        subsets: how many subsets, at least 2.
        subset_size: rows per subset, at least 2 and fewer than min(n, m); by default min(1000, min(n, m) // 2).
        seed: seeds the choice of subsets; by default torch's global generator chooses.

    Raises:
        SpaceError, DataError: see `creo.divergences.samples.check_samples`; at least 4 rows are needed.
        OptionError: for too few subsets or a subset size out of range.
    """
    x, y = check_samples(x, y, least=4)
    least = min(len(x), len(y))
    size = min(1000, least // 2) if subset_size is None else subset_size
    _check_at_least(subsets, 2, "subsets")
    if not 2 <= size < least:
        raise OptionError(
            f"subset_size must be in 2..{least - 1} for samples of {len(x)} and {len(y)}; received {size}"
        )
    values = torch.stack(list(_subset_values(x, y, subsets, size, seed)))
    std, share = float(values.std()), size / least
    error = std * math.sqrt(1 / subsets + share / (1 - share))
    return KID(float(values.mean()), error, std, subsets, size, len(x), len(y))


@dataclass(frozen=True)
class MMDTest:
    """Outcome of a permutation test: the unbiased MMD^2, its p-value, and what it was computed from."""

    statistic: float
    p_value: float
    permutations: int
    n: int
    m: int


def _labels(n: int, m: int, permutations: int, generator: torch.Generator | None) -> Tensor:
    """(n + m, 1 + permutations) membership of x as 0/1; column 0 is how the samples were given."""
    given = torch.zeros(n + m, dtype=torch.float64)
    given[:n] = 1
    shuffled = [given[torch.randperm(n + m, generator=generator)] for _ in range(permutations)]
    return torch.stack([given, *shuffled], dim=1)


def _permuted(kernel: Kernel, pool: Tensor, labels: Tensor, block: int) -> Tensor:
    """Unbiased MMD^2 for every column of labels, from K a with K the Gram matrix of the pool without diagonal."""
    n, m = int(labels[:, 0].sum()), int((1 - labels[:, 0]).sum())
    columns = torch.cat([labels, torch.ones_like(labels[:, :1])], dim=1)
    product = torch.zeros_like(columns)
    for i, a in enumerate(pool.split(block)):
        for j, b in enumerate(pool.split(block)):
            gram = WithoutDiagonal(kernel)(a, b) if i == j else kernel(a, b)
            product[i * block : (i + 1) * block] += gram @ columns[j * block : (j + 1) * block]
    within_x = (labels * product[:, :-1]).sum(0)
    cross = labels.T @ product[:, -1] - within_x
    within_y = product[:, -1].sum() - within_x - 2 * cross
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * cross / (n * m)


@torch.no_grad()
def mmd_test(
    x: Tensor,
    y: Tensor,
    *,
    kernel: Kernel | str = "gaussian",
    permutations: int = 500,
    block: int = 2048,
    seed: int | None = None,
) -> MMDTest:
    """Permutation test of p = q by the unbiased MMD^2; the kernel is computed once for all permutations.

    p = (1 + number of permutations with a statistic at least as large) / (1 + permutations), which under p = q is
    at most alpha with probability at most alpha, at every sample size. Memory is O(block^2 + (n + m) permutations).

    Args:
        x: (n, d) sample of p.
        y: (m, d) sample of q.
        kernel: as in `mmd2`.
        permutations: how many; the smallest possible p-value is 1 / (1 + permutations).
        block: side of a tile of kernel values.
        seed: seeds the permutations; by default torch's global generator draws them.

    Raises:
        SpaceError, DataError, OptionError, UnknownName: as `mmd2`.
    """
    x, y = (sample.double() for sample in check_samples(x, y))
    _check_at_least(permutations, 1, "permutations")
    _check_at_least(block, 1, "block")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    labels = _labels(len(x), len(y), permutations, generator).to(x.device)
    values = _permuted(as_kernel(kernel).fit(x, y), torch.cat([x, y]), labels, block)
    ties = values[1:] >= values[0] - 1e-10 * values.abs().max()  # equal up to rounding counts as equal
    p_value = (1 + int(ties.sum())) / (1 + permutations)
    return MMDTest(float(values[0]), p_value, permutations, len(x), len(y))
