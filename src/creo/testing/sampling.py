"""Do `sample` and `log_prob` speak of the same distribution? And are samples raw data of the space?

On a tiny discrete space every point is a cell whose probability is known. Over two real coordinates the plane is cut
into rectangles whose probabilities are Gauss-Legendre integrals of `exp(log_prob)`, and everything outside them is one
more cell. Counts of samples are then compared with expectations:

    EXACT   Pearson's chi-square, cells with fewer than five expected samples pooled
    BOUND   one-sided: no cell's bound may exceed its observed frequency by more than the sampling error
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from creo.errors import SpaceError
from creo.model import GenerativeModel, Likelihood, seeded
from creo.testing.density import SIGMAS
from creo.testing.failure import fail, require
from creo.testing.measure import distinct, double, everything, is_tiny, log_probs, points, reals
from creo.testing.tiny import from_coordinates, sizes


def check_samples_in_space(
    model: GenerativeModel, c: Tensor | None = None, *, counts: tuple[int, ...] = (1, 5), seed: int = 0
) -> None:
    """Samples are raw data of the space: right shape and dtype, values in range, no NaN; also a single one.

    Args:
        model: any model.
        c: conditions, (B, *condition.shape) with B at least the largest count, or None.
        counts: how many samples to ask for.
        seed: of the samples.
    """
    for n in counts:
        with seeded(seed), torch.no_grad():
            x = model.sample(n, None if c is None else c[:n])
        _check_kind(model, x, n)
        try:
            model.space.check(x, f"sample({n})")
        except SpaceError as error:
            fail(str(error))


def _check_kind(model: GenerativeModel, x: Tensor, n: int) -> None:
    want = {model.space.dtype} | ({model.dtype} if model.space.dtype == torch.float32 else set())
    shape = (n, *model.space.shape)
    require(tuple(x.shape) == shape, f"sample({n}) has shape {tuple(x.shape)} instead of {shape}")
    require(x.dtype in want, f"sample({n}) has dtype {x.dtype}; {model.space} holds {model.space.dtype}")


def check_samples_match_log_prob(
    model: GenerativeModel, c: Tensor | None = None, *, n: int = 8000, level: float = 1e-5, seed: int = 0
) -> None:
    """Frequencies of samples are the probabilities that `log_prob` gives (or at least its bounds).

    Conditions are interleaved in one call of `sample`, so a model that mixes up its rows is found as well.

    Args:
        model: EXACT or BOUND, of a space with at most 5000 points, or of two real coordinates.
        c: conditions, (B, *condition.shape); the first two different ones are used.
        n: samples per condition.
        level: probability with which a right model would fail for an unlucky seed.
        seed: of the samples.
    """
    if not is_tiny(model.space) or (reals(model.space) and points(model.space) > 1):
        fail(f"samples cannot be counted over {model.space}: use a smaller space")
    exact = double(model)
    conditions = list(distinct(c))
    with seeded(seed), torch.no_grad():
        rows = (
            None
            if c is None
            else torch.stack([o for o in conditions if o is not None]).repeat(n, *[1] * (c.ndim - 1))
        )
        drawn = copy.deepcopy(model).eval().sample(n * len(conditions), rows)
        for i, one in enumerate(conditions):
            _compare(exact, drawn[i :: len(conditions)], one, level)


@dataclass(frozen=True)
class Cells:
    """Observed counts, probabilities and their standard errors, and names of cells that partition a space."""

    counts: Tensor
    probability: Tensor
    error: Tensor
    names: list[str]


def _compare(model: GenerativeModel, x: Tensor, c: Tensor | None, level: float) -> None:
    cells = _rectangles(model, x, c) if reals(model.space) else _points(model, x, c)
    given = "" if c is None else f" given c = {c.tolist()}"
    test = _chi_square if model.likelihood is Likelihood.EXACT else _one_sided
    test(cells, len(x), level, given)


def _points(model: GenerativeModel, x: Tensor, c: Tensor | None) -> Cells:
    space = everything(model.space)
    index = torch.from_numpy(
        np.ravel_multi_index(
            tuple(x.reshape(len(x), -1).long().T.numpy()), [size or 1 for size in sizes(model.space)]
        )
    )
    found = log_probs(model, space, c)
    p = found.mean.exp()
    counts = torch.bincount(index, minlength=len(space)).double()
    return Cells(counts, p, p * found.error, [f"x = {s.tolist()}" for s in space])


def _rectangles(model: GenerativeModel, x: Tensor, c: Tensor | None) -> Cells:
    """Cells bounded by the quantiles of a pilot tenth of the samples, which is then left out of the counts."""
    bins, order = (8, 10) if model.likelihood is Likelihood.EXACT else (5, 4)
    flat = x.reshape(len(x), -1).double()
    levels = torch.linspace(0.01, 0.99, bins + 1, dtype=torch.float64)
    edges = flat[: len(flat) // 10].quantile(levels, 0).T.contiguous()
    flat = flat[len(flat) // 10 :]
    axes, weights = zip(*(_gauss_legendre(e, order) for e in edges), strict=True)
    nodes = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    weight = torch.cartesian_prod(*weights).reshape(-1, len(axes)).prod(1)
    found = log_probs(model, from_coordinates(model.space, nodes), c)
    mass = found.mean.exp() * weight
    where = _cell(nodes, edges)
    k = bins ** len(axes)
    p = torch.zeros(k + 1, dtype=torch.float64).index_add_(0, where, mass)
    variance = torch.zeros(k + 1, dtype=torch.float64).index_add_(0, where, (mass * found.error).square())
    p[k] = (1 - p.sum()).clamp_min(0) if model.likelihood is Likelihood.EXACT else 0.0
    counts = torch.bincount(_cell(flat, edges), minlength=k + 1).double()
    middles = torch.cartesian_prod(*((e[1:] + e[:-1]) / 2 for e in edges)).reshape(k, -1)
    names = [f"the cell around {[round(v, 3) for v in m.tolist()]}" for m in middles]
    return Cells(counts, p, variance.sqrt(), [*names, "outside of all cells"])


def _gauss_legendre(edges: Tensor, order: int) -> tuple[Tensor, Tensor]:
    t, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(order))
    half = ((edges[1:] - edges[:-1]) / 2)[:, None]
    middle = ((edges[1:] + edges[:-1]) / 2)[:, None]
    return (middle + half * t).flatten(), (half * w).flatten()


def _cell(x: Tensor, edges: Tensor) -> Tensor:
    """Index of the rectangle each row is in; one past the last for rows outside."""
    bins = edges.shape[1] - 1
    cell, outside = torch.zeros(len(x), dtype=torch.long), torch.zeros(len(x), dtype=torch.bool)
    for column, e in zip(x.T, edges, strict=True):
        i = torch.bucketize(column.contiguous(), e) - 1
        outside |= (i < 0) | (i >= bins)
        cell = cell * bins + i.clamp(0, bins - 1)
    return torch.where(outside, bins ** len(edges), cell)


def _chi_square(cells: Cells, n: int, level: float, given: str) -> None:
    n = int(cells.counts.sum())
    expected = n * cells.probability / cells.probability.sum()
    small = expected < 5
    counts = torch.cat([cells.counts[~small], cells.counts[small].sum().view(1)])
    expected = torch.cat([expected[~small], expected[small].sum().view(1)])
    names = [name for name, s in zip(cells.names, small.tolist(), strict=True) if not s]
    parts = (counts - expected).square() / expected.clamp_min(0.5)
    freedom = len(counts) - 1
    require(freedom > 0, f"samples{given} all fall where no probability is expected")
    p_value = float(torch.special.gammaincc(torch.tensor(freedom / 2), parts.sum() / 2))
    worst = int(parts.argmax())
    name = [*names, "the cells of small probability together"][worst]
    require(
        p_value >= level,
        f"samples{given} do not follow log_prob: chi-square {parts.sum():.0f} with {freedom} degrees of freedom; "
        f"furthest off is {name}: {counts[worst]:.0f} of {n} samples, {expected[worst]:.1f} expected",
    )


def _one_sided(cells: Cells, n: int, level: float, given: str) -> None:
    n = int(cells.counts.sum())
    frequency = cells.counts / n
    error = (cells.probability * (1 - cells.probability).clamp_min(0) / n + cells.error.square()).sqrt()
    sigmas = max(SIGMAS, math.sqrt(-2 * math.log(level / len(frequency))))
    over = cells.probability - frequency - sigmas * error - 3 / n
    worst = int(over.argmax())
    require(
        over[worst] <= 0,
        f"samples{given} contradict log_prob: its bound gives {cells.names[worst]} probability "
        f"{cells.probability[worst]:.5f} +- {cells.error[worst]:.1g}, but {frequency[worst]:.5f} of {n} samples are "
        "there",
    )
