r"""Elementwise maps whose gradient is written out, alone or with the masked network that chooses their parameters.

    y, l = g(x; h),    l = log dy/dx                                            elementwise
    y, l = g(x; h(x)),    L = sum_i l_i                                         an autoregressive layer

Autograd spends a few microseconds on every operation, there and back; a layer of a flow makes a hundred operations on
a few thousand numbers. So a map that knows its own gradient is one operation to autograd, and so is a layer of it:
with h(x) = u_L(x) of `creo.nn.linear` and the gradients G_y, G_L from above,

    dL/dx = (dg/dx)^T (G_y, G_L) + (du_L/dx)^T dL/dh,        dL/dh = (dg/dh)^T (G_y, G_L).

Compiled code keeps network and map apart and fuses within each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from creo.nn.backward import differentiable, transformed
from creo.nn.linear import Weights, answers, gradients, plain


class Written(ABC):
    """A map g with n entries of `parameters` parameters each, and its gradient."""

    @abstractmethod
    def plain(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dx (B, n) of x (B, n) and h (B, parameters, n), in differentiable operations."""

    @abstractmethod
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The same, and what `gradient` needs."""

    @abstractmethod
    def gradient(self, kept: Sequence[Tensor], gy: Tensor, gl: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and h from those of y and log dy/dx; gh.movedim(1, 0) is contiguous."""

    def apply(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """`plain`, by the quickest way."""
        if not torch.is_grad_enabled() or transformed():
            return self.plain(x, h)
        return _Elementwise.apply(x, h, self)


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, g: Written) -> tuple[Tensor, Tensor]:
        y, log_slope, kept = g.step(x, h)
        ctx.save_for_backward(x, h, *kept)
        ctx.g = g
        ctx.set_materialize_grads(False)
        return y, log_slope

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gl: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        x, h, *kept = ctx.saved_tensors
        gy = torch.zeros_like(x) if gy is None else gy
        gl = torch.zeros_like(x) if gl is None else gl
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            gx, gh = differentiable(ctx.g.plain, (x, h), ctx.needs_input_grad[:2], (gy, gl))
        else:
            gx, gh = ctx.g.gradient(kept, gy, gl)
        return gx, gh, None


def autoregressive(g: Written, x: Tensor, layers: Sequence[Weights]) -> tuple[Tensor, Tensor]:
    """y (D, B) and the log-determinant (B,) of an autoregressive layer.

    Args:
        g: the map.
        x: entries in generation order, (D, B), contiguous.
        layers: of the masked network as `creo.nn.linear.perceptron` takes them, with biases and masks; its answers in
            the order of (parameters, D).
    """
    return _Autoregressive.apply(x, g, *(tensor for group in zip(*layers, strict=True) for tensor in group))


class _Autoregressive(torch.autograd.Function):
    """The layer of the module docstring; tensors: all W, then all b, all M."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Written, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        n = len(tensors) // 3
        masked, units = answers(x.T, tensors)
        y, log_slope, kept = g.step(x, _entries_first(units.pop(), len(x)))
        ctx.save_for_backward(*tensors, *masked, x, *units[1:], *kept)
        ctx.n, ctx.g = n, g
        ctx.set_materialize_grads(False)
        return y, log_slope.sum(0)

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gl: Tensor | None) -> tuple[Tensor | None, ...]:
        n, saved = ctx.n, ctx.saved_tensors
        masks, masked, x, kept = saved[2 * n : 3 * n], saved[3 * n : 4 * n], saved[4 * n], saved[5 * n :]
        gy = torch.zeros_like(x) if gy is None else gy
        gl = x.new_zeros(x.shape[1]) if gl is None else gl
        if torch.is_grad_enabled():
            return _differentiable(ctx, x, gy, gl)
        gx, gh = ctx.g.gradient(kept, gy, gl.expand_as(x))
        units = (x.T, *saved[4 * n + 1 : 5 * n])
        g = gh.movedim(1, 0).flatten(0, 1).T
        through, weights, biases = gradients(g, masks, masked, units, columns=True)
        return gx.add_(through.T), None, *weights, *biases, *[None] * n


def _entries_first(h: Tensor, entries: int) -> Tensor:
    """Answers (B, parameters * D) as (D, parameters, B)."""
    return h.T.unflatten(0, (-1, entries)).movedim(1, 0)


def _differentiable(ctx: Any, x: Tensor, gy: Tensor, gl: Tensor) -> tuple[Tensor | None, ...]:
    """The same gradients by operations that have gradients themselves."""
    n, tensors = ctx.n, ctx.saved_tensors[: 3 * ctx.n]

    def again(x: Tensor, _: None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        groups = list(zip(tensors[:n], tensors[n : 2 * n], tensors[2 * n :], strict=True))
        y, log_slope = ctx.g.plain(x, _entries_first(plain(x.T, groups), len(x)))
        return y, log_slope.sum(0)

    return differentiable(again, (x, None, *tensors), ctx.needs_input_grad, (gy, gl))
