r"""Precision, recall, density and coverage: is what the model draws real, and does it draw everything that is?

Around every sample of a set lies the ball that reaches its k-th nearest neighbour in the same set; with real samples
x_1..x_n (radii r_i), model samples y_1..y_m (radii s_j):

    precision = share of y in some ball of x          fidelity, 1 is best
    recall    = share of x in some ball of y          diversity, 1 is best
    density   = mean over y of (number of x-balls it is in) / k          fidelity, 1 when the two agree; robust
    coverage  = share of x whose ball contains some y                    diversity, 1 is best; robust

Distances are computed block by block: no n x m matrix is held. One outlying real sample has a huge ball, which makes
precision generous; density and coverage do not share that weakness.

Sources: Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991 (precision, recall); Naeem et al. 2020,
https://arxiv.org/abs/2002.09797 (density, coverage).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.samples import check_samples
from creo.errors import DataError, OptionError


@dataclass(frozen=True)
class PRDC:
    """Fidelity (precision, density) and diversity (recall, coverage), larger is better, and what they are of."""

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    n: int
    m: int


def _squared(a: Tensor, b: Tensor, b_norms: Tensor) -> Tensor:
    """|a_i - b_j|^2 as |a|^2 + |b|^2 - 2 ab, in one pass over the product."""
    return torch.addmm(b_norms, a, b.T, alpha=-2).add_(a.square().sum(1, keepdim=True)).clamp_min_(0)


def squared_radii(x: Tensor, k: int, *, block: int = 512) -> Tensor:
    """Squared distance of every row of x (n, d) to its k-th nearest other row, (n,)."""
    norms = x.square().sum(1)
    parts = []
    for start in range(0, len(x), block):
        squared = _squared(x[start : start + block], x, norms)
        own = torch.arange(len(squared))
        squared[own, own + start] = -1.0  # itself is always first
        parts.append(squared.topk(k + 1, largest=False, sorted=True).values[:, -1])
    return torch.cat(parts)


@torch.no_grad()
def prdc(x: Tensor, y: Tensor, *, k: int = 5, block: int = 512) -> PRDC:
    """Precision, recall, density and coverage of model features y against real features x.

    Args:
        x: (n, d) features of real samples.
        y: (m, d) features of model samples.
        k: which neighbour a ball reaches to.
        block: rows of distances held at a time; memory is O(block (n + m)).

    Raises:
        SpaceError, DataError: see `creo.divergences.samples.check_samples`; a set has at most k rows.
        OptionError: k or block is less than 1.
    """
    if k < 1 or block < 1:
        raise OptionError(f"k and block must be at least 1; received {k} and {block}")
    x, y = check_samples(x, y)
    if min(len(x), len(y)) <= k:
        raise DataError(f"a k-th neighbour needs more than k={k} rows; received {len(x)} and {len(y)}")
    centre = x.mean(0)
    x, y = x - centre, y - centre
    of_x, of_y = squared_radii(x, k, block=block), squared_radii(y, k, block=block)
    norms, balls = x.square().sum(1), torch.zeros(len(y), dtype=torch.long)
    recalled = torch.zeros(len(x), dtype=torch.bool)
    covered = torch.zeros(len(x), dtype=torch.bool)
    for start in range(0, len(y), block):
        rows = slice(start, start + block)
        squared = _squared(y[rows], x, norms)
        inside = squared < of_x
        balls[rows] = inside.sum(1)
        covered |= inside.any(0)
        recalled |= (squared < of_y[rows, None]).any(0)
    return PRDC(
        precision=float((balls > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(balls.double().mean()) / k,
        coverage=float(covered.double().mean()),
        k=k,
        n=len(x),
        m=len(y),
    )
