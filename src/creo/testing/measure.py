"""Sums and integrals over whole tiny spaces: the truth that densities are held against.

A discrete coordinate is enumerated. A real coordinate is integrated with the trapezoidal rule after the substitution
`x = location + scale * sinh(u)`, which puts nodes densely where the model's samples lie and still reaches hundreds of
scales out; for densities that decay, the rule in u converges faster than any power of the step. Both the reach (until
the border carries no mass) and the number of nodes (until the integral no longer changes) adapt.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.model import GenerativeModel, Likelihood
from creo.spaces import Space
from creo.testing.failure import require
from creo.testing.tiny import from_coordinates, sizes

_CHUNK = 32768


def points(space: Space) -> int:
    """Number of combinations of the discrete coordinates of a space (1 if there are none)."""
    return math.prod(size for size in sizes(space) if size is not None)


def reals(space: Space) -> int:
    """Number of real coordinates of a space."""
    return sum(size is None for size in sizes(space))


def is_tiny(space: Space, most: int = 5000) -> bool:
    """Whether a space can be summed or integrated over: few points, at most two real coordinates."""
    return points(space) <= most and reals(space) <= 2


def everything(space: Space) -> Tensor:
    """All points of a discrete space, (points, *space.shape)."""
    axes = [torch.arange(size or 1, dtype=torch.float64) for size in sizes(space)]
    return from_coordinates(space, torch.cartesian_prod(*axes).reshape(-1, len(axes)))


def as_input(model: GenerativeModel, x: Tensor) -> Tensor:
    """Raw data as this model takes it: reals of a `Continuous` space in the model's own precision."""
    return x.to(model.dtype) if model.space.dtype == torch.float32 else x


def fewer_samples(model: GenerativeModel, samples: int = 8) -> dict[str, int]:
    """The keyword `samples` for a bound's log_prob, where it has one: fewer draws are quicker and still a bound."""
    known = inspect.signature(model.log_prob).parameters
    return {"samples": samples} if model.likelihood is Likelihood.BOUND and "samples" in known else {}


def double(model: GenerativeModel) -> GenerativeModel:
    """A copy of a model in float64 and eval mode; the original stays as it is."""
    return copy.deepcopy(model).double().eval()


def distinct(c: Tensor | None, most: int = 2) -> Iterator[Tensor | None]:
    """The first few different conditions of a batch, without batch axis; None alone if there are none."""
    if c is None:
        yield None
    else:
        yield from c.unique(dim=0)[:most]


def spread(c: Tensor | None, n: int) -> Tensor | None:
    """One condition for n examples."""
    return None if c is None else c.expand(n, *c.shape)


@dataclass(frozen=True)
class Estimate:
    """Mean log-probabilities (N,) over repeated calls, and the standard error of each mean (0 if exact)."""

    mean: Tensor
    error: Tensor


@torch.no_grad()
def log_probs(
    model: GenerativeModel, x: Tensor, c: Tensor | None = None, *, repeats: int | None = None
) -> Estimate:
    """log_prob of many raw samples under one condition, in chunks; averaged if it is random.

    Without `repeats`, few points are averaged over 32 calls, many over 2. The average of logarithms is what keeps a
    bound a bound: if `E[w] <= p`, then `E[exp(mean of log w)] <= p`.
    """
    random = model.likelihood is not Likelihood.EXACT
    repeats = (repeats or min(max(4000 // len(x), 2), 32)) if random else 1
    x, options, draws = as_input(model, x), fewer_samples(model), []
    for _ in range(repeats):
        parts = [model.log_prob(part, spread(c, len(part)), **options) for part in x.split(_CHUNK)]
        draws.append(torch.cat(parts).double())
        if len(draws) > 1 and torch.equal(draws[-1], draws[-2]):
            break  # nothing random here, whatever the model may have elsewhere
    values = torch.stack(draws)
    bad = values.isnan() | (values == torch.inf)
    if bad.any():
        row = int(bad.any(0).nonzero()[0])
        require(False, f"log_prob is {values[:, row].max().item()} at x = {x[row].tolist()}")
    if len(draws) == 1:
        return Estimate(values[0], torch.zeros_like(values[0]))
    return Estimate(values.mean(0), values.std(0) / math.sqrt(len(draws)))


@dataclass(frozen=True)
class Mass:
    """A total probability, the standard error that random log-probs leave in it, and its discretisation error."""

    total: float
    error: float
    discretisation: float


def total_mass(model: GenerativeModel, c: Tensor | None = None, *, tolerance: float = 1e-4) -> Mass:
    """Sum or integral of `exp(log_prob)` over the whole space, for one condition.

    Args:
        model: a model with a log_prob, of a space for which `is_tiny` holds.
        c: one condition without batch axis, or None.
        tolerance: discretisation error at which refining stops.
    """
    if not reals(model.space):
        total, error = _weigh(model, everything(model.space), torch.zeros(()), c)
        return Mass(float(total.sum()), error, 0.0)
    return _integral(model, c, tolerance)


def _weigh(model: GenerativeModel, x: Tensor, log_weight: Tensor, c: Tensor | None) -> tuple[Tensor, float]:
    found = log_probs(model, x, c)
    terms = (found.mean + log_weight).exp()
    return terms, float((terms * found.error).square().sum().sqrt())


def _integral(model: GenerativeModel, c: Tensor | None, tolerance: float) -> Mass:
    location, scale = _centre(model, c)
    reach, previous = 4.0, math.inf
    for nodes in (33, 65, 129, 257, 513) if model.likelihood is Likelihood.EXACT else (21, 33):
        while True:
            x, log_weight, border = sinh_grid(model.space, location, scale, reach, nodes)
            terms, error = _weigh(model, x, log_weight, c)
            total = float(terms.sum())
            if float(terms[border].sum()) < tolerance / 10 or reach > 10:
                break
            reach *= 1.4
        change, previous = abs(total - previous), total
        if change < tolerance:
            break
    return Mass(total, error, change)


@torch.no_grad()
def _centre(model: GenerativeModel, c: Tensor | None) -> tuple[Tensor, Tensor]:
    flat = model.sample(1000, c).flatten(1).double()
    real = flat[:, [size is None for size in sizes(model.space)]]
    low, middle, high = real.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), 0)
    return middle, ((high - low) / 2.5).clamp_min(1e-3)


def sinh_grid(
    space: Space, location: Tensor, scale: Tensor, reach: float, nodes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes over a whole space.

    Args:
        space: of at most two real coordinates.
        location: centre of each real coordinate, (k,).
        scale: width of each real coordinate, (k,).
        reach: the largest u; nodes lie up to `scale * sinh(reach)` from the centre.
        nodes: number of nodes per real coordinate.

    Returns:
        raw samples (N, *space.shape), log-weights (N,), and a mask (N,) of nodes near the border.
    """
    u = torch.linspace(-reach, reach, nodes, dtype=torch.float64)
    axes, weights, borders, k = [], [], [], 0
    for size in sizes(space):
        if size is None:
            axes.append(location[k] + scale[k] * u.sinh())
            weights.append(u.cosh().log() + scale[k].log() + math.log(2 * reach / (nodes - 1)))
            borders.append(u.abs() > 0.9 * reach)
            k += 1
        else:
            axes.append(torch.arange(size, dtype=torch.float64))
            weights.append(torch.zeros(size, dtype=torch.float64))
            borders.append(torch.zeros(size, dtype=torch.bool))
    x = from_coordinates(space, _product(axes))
    return x, _product(weights).sum(1), _product(borders).any(1)


def _product(axes: list[Tensor]) -> Tensor:
    return torch.stack([g.flatten() for g in torch.meshgrid(*axes, indexing="ij")], 1)
