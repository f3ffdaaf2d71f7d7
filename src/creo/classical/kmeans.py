r"""k-means with the k-means++ start: the usual first guess for a mixture model.

    minimise  sum_n min_k |x_n - m_k|^2

k-means++ draws each new centre with probability proportional to the squared distance to the nearest centre so far,
which alone is within O(log k) of the optimum in expectation; Lloyd's iterations then alternate assignment and mean.

Sources: Lloyd 1982, https://doi.org/10.1109/TIT.1982.1056489; Arthur, Vassilvitskii 2007 (SODA, 1027-1035).
"""

from __future__ import annotations

import torch
from torch import Tensor


def squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """|x_n - m_k|^2 for x (N, D) and centres (K, D), by one matrix product: (N, K)."""
    return (x.square().sum(1)[:, None] + centres.square().sum(1) - 2 * x @ centres.T).clamp_min(0)


def plus_plus(x: Tensor, k: int) -> Tensor:
    """k centres (k, D) drawn from the rows of x by k-means++; rows repeat if fewer than k of them differ."""
    chosen = [int(torch.randint(len(x), ()))]
    nearest = (x - x[chosen[0]]).square().sum(1)
    for _ in range(k - 1):
        weight = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        chosen.append(int(torch.multinomial(weight.double(), 1)))
        nearest = torch.minimum(nearest, (x - x[chosen[-1]]).square().sum(1))
    return x[chosen]


def lloyd(x: Tensor, centres: Tensor, steps: int) -> tuple[Tensor, float]:
    """Lloyd's iterations from `centres` until nothing moves or `steps`; (centres, inertia). Empty ones stay put."""
    for _ in range(steps):
        label = squared_distances(x, centres).argmin(1)
        count = torch.bincount(label, minlength=len(centres))
        total = torch.zeros_like(centres).index_add_(0, label, x)
        moved = torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres, float(squared_distances(x, centres).min(1).values.sum())


def kmeans(x: Tensor, k: int, *, starts: int = 4, steps: int = 20) -> Tensor:
    """The best of several k-means++ starts, by inertia.

    Args:
        x: (N, D), floating.
        k: number of centres.
        starts: how many starts to compare.
        steps: at most this many of Lloyd's iterations each.

    Returns:
        Centres (k, D). Randomness from torch's generator.
    """
    runs = [lloyd(x, plus_plus(x, k), steps) for _ in range(starts)]
    return min(runs, key=lambda run: run[1])[0]
