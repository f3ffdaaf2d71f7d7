r"""A transport problem between two discrete measures, and what its solution carries.

Two measures a = sum_i a_i delta(x_i), b = sum_j b_j delta(y_j) and a cost C_ij of moving one unit of mass from
x_i to y_j. A plan P (n, m), P_ij >= 0, says how much goes where; its price is <P, C> = sum_ij P_ij C_ij. With
C_ij = |x_i - y_j|^p the p-th root of the least price is the Wasserstein distance W_p.

**Gradients** use the envelope theorem (Danskin 1967): where V(C, a, b) is the optimum over plans or potentials,
the optimal ones count as constants,

    dV/dC = P,        dV/da = f,        dV/db = g        (balanced problems),

so no step of the solver is differentiated.

Shapes: costs (*, n, m), weights (n,) or (*, n); `*` are batch dimensions, or none. Costs and values share their
unit, whatever it is. Larger is farther.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from creo.errors import DataError, OptionError


@dataclass(frozen=True)
class Transport:
    """The solution of a batch of transport problems. Only `value` carries a gradient, unless solved unrolled.

    Args:
        value: the optimum (*), with its regularisation terms if there are any.
        cost: the price <P, C> of the plan (*).
        plan: P (*, n, m).
        potentials: f (*, n) and g (*, m); up to a constant if the problem is balanced.
        epsilon: the entropic regularisation in units of the cost (*); 0 if exact.
        iterations: steps taken (*).
        error: summed L1 errors of the plan's two marginals (*), in units of mass; for unbalanced problems the
            mass that one more step would move.
        converged: whether the error is at most the tolerance (*).
    """

    value: Tensor
    cost: Tensor
    plan: Tensor
    potentials: tuple[Tensor, Tensor]
    epsilon: Tensor
    iterations: Tensor
    error: Tensor
    converged: Tensor


def envelope(value: Tensor, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """`value`, with the gradient sum of <derivative, variable> over the pairs (derivative, variable).

    Args:
        value: numbers (*).
        pairs: a derivative (*, ...) and the tensor it is the derivative in, which may lack batch dimensions.
    """
    value = value.detach()
    for derivative, variable in pairs:
        if variable.requires_grad:
            change = derivative.detach() * (variable - variable.detach())
            value = value + change.flatten(value.ndim).sum(-1)
    return value


def check_points(x: Tensor, what: str) -> Tensor:
    """Return `x` if it is a finite floating tensor of points (*, n, d)."""
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(
            f"{what} must be points of shape (*, n, d), none of them 0; received {tuple(x.shape)}"
        )
    return check_finite(x, what)


def check_finite(x: Tensor, what: str) -> Tensor:
    """Return `x` if it is a real floating tensor without NaN or infinity."""
    if not x.is_floating_point():
        raise DataError(f"{what} must be a floating-point tensor; received {x.dtype}")
    if not x.sum().isfinite() and not x.isfinite().all():  # the sum is the cheap question
        raise DataError(f"{what} has {int((~x.isfinite()).sum())} NaN or infinite values; remove them first")
    return x


def check_cost(cost: Tensor) -> Tensor:
    """Return `cost` if it is a finite floating tensor (*, n, m)."""
    if cost.ndim < 2 or 0 in cost.shape:
        raise DataError(f"cost must have shape (*, n, m), none of them 0; received {tuple(cost.shape)}")
    return check_finite(cost, "cost")


def check_weights(weights: Tensor | None, shape: tuple[int, ...], like: Tensor, what: str) -> Tensor:
    """Nonnegative finite weights expanded to `shape` (*, n); uniform with sum 1 if None.

    Raises:
        DataError: wrong shape, NaN, negative, or no mass at all.
    """
    if weights is None:
        return like.new_full(shape, 1.0 / shape[-1])
    if tuple(weights.shape) not in (shape, shape[-1:]):
        expected = " or ".join(dict.fromkeys((str(shape[-1:]), str(shape))))
        raise DataError(f"weights {what} must have shape {expected}; received {tuple(weights.shape)}")
    check_finite(weights, f"weights {what}")
    if weights.min() < 0:
        raise DataError(f"weights {what} must not be negative; the least is {float(weights.min()):.4g}")
    if not (weights.sum(-1) > 0).all():
        raise DataError(f"weights {what} have no mass: they sum to 0")
    return weights.to(like.dtype).expand(shape)


def check_same_mass(a: Tensor, b: Tensor) -> None:
    """Raise a DataError unless the weights a (*, n) and b (*, m) have the same total mass."""
    mass_a, mass_b = a.detach().sum(-1), b.detach().sum(-1)
    slack = 16 * torch.finfo(a.dtype).eps ** 0.75  # sums of float weights are not exactly equal
    if ((mass_a - mass_b).abs() > slack * mass_a).any():
        raise DataError(
            f"weights a and b must have the same mass; received {float(mass_a.flatten()[0]):.6g} and "
            f"{float(mass_b.flatten()[0]):.6g} (normalise them, or solve the unbalanced problem with `reach`)"
        )


def check_order(p: float, *, infinite: bool = False) -> float:
    """Return the order `p` of a Wasserstein distance if it is at least 1 (and finite, unless `infinite`)."""
    if not p >= 1 or (p == float("inf") and not infinite):
        raise OptionError(f"p must be a {'' if infinite else 'finite '}number of at least 1; received {p!r}")
    return float(p)


def cost_matrix(x: Tensor, y: Tensor, *, p: float = 2.0) -> Tensor:
    """The cost |x_i - y_j|^p (Euclidean norm) between points, (*, n, m).

    Args:
        x: points (*, n, d).
        y: points (*, m, d).
        p: the power, at least 1.

    Raises:
        DataError: other shapes, NaN.
        OptionError: p below 1.
    """
    check_points(x, "x"), check_points(y, "y"), check_order(p)
    if x.shape[-1] != y.shape[-1] or x.shape[:-2] != y.shape[:-2]:
        raise DataError(
            f"x (*, n, d) and y (*, m, d) must agree in * and d; received {tuple(x.shape)}, {tuple(y.shape)}"
        )
    if p != 2:
        return torch.cdist(x, y) ** p
    centre = y.detach().mean(-2, keepdim=True)  # squares of large numbers cancel badly
    x, y = x - centre, y - centre
    squares = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * x @ y.mT).clamp_min(0)
