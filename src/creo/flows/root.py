r"""Inverses of increasing scalar functions that have none in closed form, with exact gradients.

    f(x; theta) = y,   f' > 0:      Newton's step, or the middle of the bracket where Newton leaves it

The root x0 is found without gradients. Then x = x0 - (f(x0; theta) - y) / f'(x0), with f'(x0) a constant, is the
same number and has the gradients that the implicit function theorem says: dx/dy = 1/f', dx/dtheta = -(df/dtheta)/f'.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Steps after which even bisection alone has used up float64 (brackets start within a factor 2^60 of an ulp).
STEPS = 120

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]


@torch.no_grad()
def _bracketed(f: Increasing, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    x, enough = (low + high) / 2, 32 * torch.finfo(y.dtype).eps  # rounding keeps the last digits restless
    for _ in range(STEPS):
        value, slope = f(x)
        low, high = torch.where(value < y, x, low), torch.where(value < y, high, x)
        step = x - (value - y) / slope
        inside = (step > low) & (step < high)
        new = torch.where(inside, step, (low + high) / 2)
        if torch.allclose(new, x, rtol=enough, atol=enough):
            return new
        x = new
    return x


def solve_increasing(f: Increasing, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The x in [low, high] with f(x) = y, elementwise and differentiable.

    Args:
        f: x -> (f(x), f'(x)), elementwise increasing; may depend on parameters.
        y: values, (*).
        low, high: brackets, (*): f(low) <= y <= f(high).
    """
    root = _bracketed(f, y, low, high)
    value, slope = f(root)
    return root - (value - y) / slope.detach()
