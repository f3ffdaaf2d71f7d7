r"""Sliced Wasserstein distances: transport in d dimensions through its shadows on lines.

    SW_p^p(a, b) = E_theta W_p^p(<theta, x>, <theta, y>),      theta uniform on the unit sphere,
    max-SW_p     = max_theta W_p(<theta, x>, <theta, y>)  <=  W_p(x, y).

Each shadow is a sort, so SW costs n log n a direction where W costs n^3, and its sampling error does not depend
on the dimension. SW_p <= W_p; for an isotropic shift s of the points, SW_2 = |s| / sqrt(d).

SW is an average over sampled directions and is reported with its standard error over them. The maximum is
searched by projected gradient ascent from several starts, so what is returned is a lower bound of max-SW.

References:
    N. Bonneel, J. Rabin, G. Peyre, H. Pfister (2015), https://doi.org/10.1007/s10851-014-0506-3.
    I. Deshpande et al. (2019), https://arxiv.org/abs/1904.05877 (max-sliced).
    K. Nadjahi et al. (2020), https://arxiv.org/abs/2003.05783 (statistical properties).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.transport.one_dimensional import power_cost, root
from creo.divergences.transport.problem import check_finite, check_order, check_points, check_weights
from creo.errors import DataError, OptionError

_BLOCK = 2**21  # projected numbers held at a time: what a cache holds, and bounded memory for any number


@dataclass(frozen=True)
class Sliced:
    """A sliced distance.

    Args:
        value: SW_p (), in the unit of x; carries the gradient.
        standard_error: of the value, over the sampled directions ().
        directions: how many were sampled.
    """

    value: Tensor
    standard_error: Tensor
    directions: int


@dataclass(frozen=True)
class MaxSliced:
    """The largest sliced distance found.

    Args:
        value: W_p along `direction` (), a lower bound of the maximum; carries the gradient.
        direction: the unit vector (d,).
    """

    value: Tensor
    direction: Tensor


def sliced_wasserstein(
    x: Tensor,
    y: Tensor,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    p: float = 2.0,
    directions: int | Tensor = 128,
) -> Sliced:
    """Sliced Wasserstein distance between weighted point clouds.

    Args:
        x: points (n, d).
        y: points (m, d).
        a: weights of x (n,), divided by their sum; uniform if None.
        b: weights of y (m,).
        p: the order, at least 1 and finite.
        directions: how many to draw uniformly from torch's generator, at least 2; or unit vectors (k, d).

    Raises:
        DataError: NaN, negative weights, wrong shapes.
        OptionError: p below 1, fewer than 2 directions.
    """
    a, b = _check(x, y, a, b, p)
    theta = _directions(directions, x)
    rows = max(1, _BLOCK // (len(x) + len(y)))
    costs = torch.cat([_shadow_costs(x, y, a, b, p, block) for block in theta.split(rows)])
    mean = costs.mean()
    value = root(mean, p)
    slope = value / (p * mean) if mean > 0 else torch.zeros_like(mean)  # d value / d mean
    error = costs.std() / len(costs) ** 0.5 * slope
    return Sliced(value, error.detach(), len(theta))


def max_sliced_wasserstein(
    x: Tensor,
    y: Tensor,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    p: float = 2.0,
    starts: int = 16,
    steps: int = 100,
) -> MaxSliced:
    """The direction along which two weighted point clouds differ most.

    Args:
        x: points (n, d).
        y: points (m, d).
        a: weights of x (n,), divided by their sum; uniform if None.
        b: weights of y (m,).
        p: the order, at least 1 and finite.
        starts: directions to start from: the difference of the means, and random ones.
        steps: steps of gradient ascent on the sphere from each.

    Raises:
        DataError: NaN, negative weights, wrong shapes.
        OptionError: p below 1, no start.
    """
    a, b = _check(x, y, a, b, p)
    if starts < 1 or steps < 0:
        raise OptionError(
            f"starts must be at least 1 and steps at least 0; received {starts!r} and {steps!r}"
        )
    theta = _ascend(x.detach(), y.detach(), _detached(a), _detached(b), p, starts, steps)
    value = root(_shadow_costs(x, y, a, b, p, theta.unsqueeze(0)), p).squeeze(0)
    return MaxSliced(value, theta)


def _check(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float
) -> tuple[Tensor | None, Tensor | None]:
    check_order(p)
    check_points(x, "x"), check_points(y, "y")
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise DataError(
            f"x (n, d) and y (m, d) must agree in d; received {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if a is not None:
        a = check_weights(a, (len(x),), x, "a")
    if b is not None:
        b = check_weights(b, (len(y),), y, "b")
    return a, b


def _detached(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.detach()


def _directions(directions: int | Tensor, x: Tensor) -> Tensor:
    if isinstance(directions, Tensor):
        check_finite(directions, "directions")
        if directions.ndim != 2 or directions.shape[1] != x.shape[1] or len(directions) < 2:
            raise DataError(
                f"directions must have shape (k, {x.shape[1]}), k >= 2; received {tuple(directions.shape)}"
            )
        return directions.to(x)
    if directions < 2:
        raise OptionError(f"directions must be at least 2, for a standard error; received {directions!r}")
    return _sphere(directions, x)


def _sphere(k: int, x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(k, x.shape[1], dtype=x.dtype, device=x.device), dim=-1)


def _shadow_costs(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float, theta: Tensor
) -> Tensor:
    """W_p^p of the projections on each direction theta (k, d): (k,)."""
    shadows = theta @ x.mT, theta @ y.mT
    a = a if a is None else a.expand(shadows[0].shape)
    b = b if b is None else b.expand(shadows[1].shape)
    return power_cost(*shadows, a, b, p)


def _ascend(
    x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float, starts: int, steps: int
) -> Tensor:
    """The best direction (d,) met on the way up from all starts at once."""
    theta = _sphere(starts, x)
    shift = _mean(x, a) - _mean(y, b)
    if shift.norm() > 0:
        theta[0] = shift / shift.norm()
    best, best_cost = theta[0], x.new_tensor(-1.0)
    for step in range(steps + 1):
        with torch.enable_grad():
            theta.requires_grad_()
            costs = _shadow_costs(x, y, a, b, p, theta)
            (slope,) = torch.autograd.grad(costs.sum(), theta)
        theta = theta.detach()
        i = costs.detach().argmax()
        if costs[i] > best_cost:
            best, best_cost = theta[i], costs[i].detach()
        stride = 0.5 * (1 - step / (steps + 1))  # radians, about; shrinks so that the ascent settles
        slope = slope - (slope * theta).sum(-1, keepdim=True) * theta
        theta = torch.nn.functional.normalize(
            theta + stride**2 * torch.nn.functional.normalize(slope, dim=-1), dim=-1
        )
    return best


def _mean(x: Tensor, weights: Tensor | None) -> Tensor:
    return x.mean(0) if weights is None else (weights @ x) / weights.sum()
