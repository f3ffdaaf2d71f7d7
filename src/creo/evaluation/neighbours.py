r"""Nearest neighbours by single-precision products, with answers as good as double precision's.

    |a - b|^2 = |a|^2 + |b|^2 - 2 ab

for all pairs is one matrix product, twice as fast in single precision, whose error is at most

    margin = (8 sqrt(d) + 16) u (max |a|^2 + max |b|^2),      u = 2^-24

but for a chance below 1e-13 per pair (Higham, Mary 2019, theorem 3.1 with lambda = 8). What is decided by more than
the margin is decided; the few rows that are not are computed again in double precision. So the answers are those of
double precision, at nearly the price of single.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GROUPS = 16
_SPARE = 4  # candidates beyond the k-th neighbour, so that its rank is seldom in doubt


def margin(a: Tensor, b: Tensor) -> float:
    """The error of single-precision squared distances between rows of a (n, d) and of b (m, d)."""
    largest = sum(float(z.square().sum(1).max()) for z in (a, b))
    return (8 * math.sqrt(a.shape[1]) + 16) * 2.0**-24 * largest


def squared(a: Tensor, b: Tensor, b_norms: Tensor, *, shift: Tensor | None = None) -> Tensor:
    """|a_i - b_j|^2, less `shift[j]`, (n, m), in one pass over the product and one to add the norms of a."""
    bias = b_norms if shift is None else b_norms - shift
    return torch.addmm(bias, a, b.T, alpha=-2).add_(a.square().sum(1, keepdim=True))


def exact(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 in double precision, (n, m)."""
    a, b = a.double(), b.double()
    return squared(a, b, b.square().sum(1)).clamp_min_(0)


def squared_radii(x: Tensor, k: int, *, block: int = 256) -> Tensor:
    """Squared distance of every row of x (n, d) to its k-th nearest other row, (n,) float64."""
    x = x.double()
    single, norms = _padded(x)
    error = margin(x, x)
    parts = []
    for start in range(0, len(x), block):
        near = squared(single[start : min(start + block, len(x))], single, norms)
        own = torch.arange(len(near), device=x.device)
        near[own, own + start] = -math.inf  # itself is always first
        values, columns = _smallest(near, min(k + 1 + _SPARE, len(x)))
        rows = x[start : start + block]
        found = (rows[:, None] - x[columns]).square().sum(2).sort(1).values[:, k]
        doubtful = (found > values[:, -1] - error) & (values.shape[1] < len(x))
        if doubtful.any():
            again = exact(rows[doubtful], x)
            again[torch.arange(len(again), device=x.device), own[doubtful] + start] = -1.0
            found[doubtful] = again.kthvalue(k + 1).values
        parts.append(found)
    return torch.cat(parts)


def _padded(x: Tensor) -> tuple[Tensor, Tensor]:
    """x and its squared norms in single precision, with rows infinitely far away up to a multiple of the groups."""
    extra = -len(x) % _GROUPS
    norms = torch.nn.functional.pad(x.square().sum(1), (0, extra), value=math.inf)
    return torch.nn.functional.pad(x, (0, 0, 0, extra)).float(), norms.float()


def _smallest(near: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The m smallest of every row, ascending, and their columns.

    They are among the m groups of columns (every w-th one) with the smallest minima, and minima are cheap.
    """
    width = near.shape[1] // _GROUPS
    if width < 4 * m:
        return near.topk(m, largest=False)
    grouped = near.view(len(near), _GROUPS, width)
    columns = grouped.amin(1).topk(m, largest=False).indices
    few = grouped.gather(2, columns[:, None].expand(-1, _GROUPS, -1))
    values, which = few.flatten(1).topk(m, largest=False)
    return values, which // m * width + columns.gather(1, which % m)
