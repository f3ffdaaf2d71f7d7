r"""The affine map of the layers and its gradient in one step, written out for speed.

    y = x a + t,    a = exp(s),    s = b tanh(r / b)            log dy/dx = s

With g and l the gradients of y and s from above,

    dL/dx = g a,    dL/dt = g,    dL/dr = (l + g x a) (1 - (s / b)^2),    x a = y - t.

A gradient of the gradient (`create_graph=True`) is left to autograd, through the plain formulas.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def bounded(raw: Tensor, bound: float) -> Tensor:
    """b tanh(r / b) by the logistic function, of which torch computes seven times as many in the same time."""
    return torch.sigmoid(raw * (2 / bound)) * (2 * bound) - bound


def plain(x: Tensor, h: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """y and s (B, n) of x (B, n) and h = (r, t) (B, 2, n)."""
    raw, t = h.unbind(1)
    s = bounded(raw, bound)
    return torch.addcmul(t, x, s.exp()), s


class AffineStep(torch.autograd.Function):
    """`plain` with the gradient of the module docstring."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, bound: float) -> tuple[Tensor, Tensor]:
        raw, t = h.unbind(1)
        s = bounded(raw, bound)
        a = s.exp()
        ctx.save_for_backward(x, h, s, a)
        ctx.bound = bound
        ctx.set_materialize_grads(False)
        return torch.addcmul(t, x, a), s

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, l: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        x, h, s, a = ctx.saved_tensors
        g = torch.zeros_like(x) if g is None else g
        l = torch.zeros_like(x) if l is None else l
        if torch.is_grad_enabled():
            gx, gh = torch.autograd.grad(plain(x, h, ctx.bound), (x, h), (g, l), create_graph=True)
            return gx, gh, None
        gx = g * a
        slope = torch.addcmul(s.new_ones(()), s, s, value=-1 / ctx.bound**2)
        gh = torch.stack([torch.addcmul(l, gx, x).mul_(slope), g], 1)
        return gx, gh, None
