r"""Precision, recall, density and coverage: is what the model draws real, and does it draw everything that is?

Around every sample of a set lies the ball that reaches its k-th nearest neighbour in the same set; with real samples
x_1..x_n (radii r_i), model samples y_1..y_m (radii s_j):

    precision = share of y in some ball of x          fidelity, 1 is best
    recall    = share of x in some ball of y          diversity, 1 is best
    density   = mean over y of (number of x-balls it is in) / k          fidelity, 1 when the two agree; robust
    coverage  = share of x whose ball contains some y                    diversity, 1 is best; robust

Distances are computed block by block (`neighbours.py`): no n x m matrix is held. One outlying real sample has a
huge ball, which makes precision generous; density and coverage do not share that weakness.

Sources: Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991 (precision, recall); Naeem et al. 2020,
https://arxiv.org/abs/2002.09797 (density, coverage).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.samples import check_samples
from creo.errors import DataError, OptionError
from creo.evaluation.neighbours import exact, margin, squared, squared_radii


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


@torch.no_grad()
def prdc(x: Tensor, y: Tensor, *, k: int = 5, block: int = 256) -> PRDC:
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
    x, y = (z.double() for z in check_samples(x, y))
    if min(len(x), len(y)) <= k:
        raise DataError(f"a k-th neighbour needs more than k={k} rows; received {len(x)} and {len(y)}")
    centre = x.mean(0)
    x, y = x - centre, y - centre
    scale = max(float(z.square().sum(1).max()) for z in (x, y)) ** 0.5 or 1.0
    x, y = x / scale, y / scale
    of_x, of_y = squared_radii(x, k, block=block), squared_radii(y, k, block=block)
    balls, covered, recalled = _memberships(x, y, of_x, of_y, block)
    return PRDC(
        precision=float((balls > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(balls.double().mean()) / k,
        coverage=float(covered.double().mean()),
        k=k,
        n=len(x),
        m=len(y),
    )


def _memberships(
    x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor, block: int
) -> tuple[Tensor, Tensor, Tensor]:
    """How many x-balls each y is in (m,); whether each x-ball holds some y, and each x is in some y-ball (n,).

    Single precision decides all but what is nearer to a ball's edge than its error; double precision does that.
    """
    error, x32, y32, radii = margin(x, y), x.float(), y.float(), of_y.float()
    norms, shift = x.square().sum(1).float(), of_x.float()
    least, most, covering, recalling = [], [], [], []
    for start in range(0, len(y), block):
        rows = slice(start, start + block)
        beyond = squared(y32[rows], x32, norms, shift=shift)  # |y_i - x_j|^2 - r_j^2
        least.append((beyond < -error).view(torch.uint8).sum(1, dtype=torch.int32))
        most.append((beyond < error).view(torch.uint8).sum(1, dtype=torch.int32))
        covering.append(beyond.amin(0))
        recalling.append(beyond.sub_(radii[rows, None]).amin(0) + shift)
    balls, unsure = torch.cat(least), torch.cat(least) != torch.cat(most)
    covering_gap, recalling_gap = (torch.stack(g).amin(0) for g in (covering, recalling))
    balls[unsure] = _balls(x, y[unsure], of_x, block)
    covered, recalled = covering_gap < 0, recalling_gap < 0
    near = (covering_gap.abs() <= error) | (recalling_gap.abs() <= error)
    covered[near], recalled[near] = _touched(x[near], y, of_x[near], of_y, block)
    return balls, covered, recalled


def _balls(x: Tensor, y: Tensor, of_x: Tensor, block: int) -> Tensor:
    """In double precision: how many x-balls each y is in, (m,)."""
    parts = [(exact(part, x) < of_x).sum(1, dtype=torch.int32) for part in y.split(block)]
    return torch.cat(parts) if parts else of_x.new_zeros(0, dtype=torch.int32)


def _touched(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """In double precision: whether each x-ball holds some y, and whether each x is in some y-ball, (n,) each."""
    covered, recalled = (torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in range(2))
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        distance = exact(x[rows], y)
        covered[rows] = (distance < of_x[rows, None]).any(1)
        recalled[rows] = (distance < of_y).any(1)
    return covered, recalled
