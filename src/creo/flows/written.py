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

from creo.flows.permutation import Permutation
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


def autoregressive(
    g: Written, x: Tensor, layers: Sequence[Weights], arrange: Permutation
) -> tuple[Tensor, Tensor]:
    """y (B, D), by columns, and the log-determinant (B,) of an autoregressive layer.

    Args:
        g: the map.
        x: entries, (B, D), best by columns.
        layers: of the masked network as `creo.nn.linear.perceptron` takes them, with biases and masks; its answers in
            the order of (parameters, D).
        arrange: to the order of generation.
    """
    return _Autoregressive.apply(
        x, g, arrange, *(tensor for group in zip(*layers, strict=True) for tensor in group)
    )


class _Autoregressive(torch.autograd.Function):
    """The layer of the module docstring; tensors: all W, then all b, all M."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, g: Written, arrange: Permutation, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        columns = arrange.by_columns(x.T)
        masked, units = answers(columns.T, tensors)
        y, log_slope, kept = g.step(columns, _entries_first(units.pop(), len(columns)))
        ctx.save_for_backward(x, *tensors, *masked, *units, *kept)
        ctx.n, ctx.g, ctx.arrange = len(masked), g, arrange
        ctx.set_materialize_grads(False)
        return arrange.by_columns(y, back=True).T, log_slope.sum(0)

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gl: Tensor | None) -> tuple[Tensor | None, ...]:
        n, (x, *saved) = ctx.n, ctx.saved_tensors
        gy = torch.zeros_like(x) if gy is None else gy
        gl = x.new_zeros(len(x)) if gl is None else gl
        if torch.is_grad_enabled():
            return _differentiable(ctx, gy, gl)
        masks, masked, units, kept = (
            saved[2 * n : 3 * n],
            saved[3 * n : 4 * n],
            saved[4 * n : 5 * n],
            saved[5 * n :],
        )
        gx, gh = ctx.g.gradient(kept, ctx.arrange.by_columns(gy.T), gl.expand(x.shape[1], -1))
        g = gh.movedim(1, 0).flatten(0, 1).T
        of_x = ctx.needs_input_grad[0]
        through, weights, biases = gradients(g, masks, masked, units, columns=True, of_x=of_x)
        gx = ctx.arrange.by_columns(gx.add_(through.T), back=True).T if of_x else None
        return gx, None, None, *weights, *biases, *[None] * n


def _entries_first(h: Tensor, entries: int) -> Tensor:
    """Answers (B, parameters * D) as (D, parameters, B)."""
    return h.T.unflatten(0, (-1, entries)).movedim(1, 0)


def _differentiable(ctx: Any, gy: Tensor, gl: Tensor) -> tuple[Tensor | None, ...]:
    """The same gradients by operations that have gradients themselves."""
    n, inputs = ctx.n, ctx.saved_tensors[: 3 * ctx.n + 1]

    def again(x: Tensor, _: None, __: None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        columns = ctx.arrange.by_columns(x.T)
        groups = list(zip(tensors[:n], tensors[n : 2 * n], tensors[2 * n :], strict=True))
        y, log_slope = ctx.g.plain(columns, _entries_first(plain(columns.T, groups), len(columns)))
        return ctx.arrange.by_columns(y, back=True).T, log_slope.sum(0)

    return differentiable(again, (inputs[0], None, None, *inputs[1:]), ctx.needs_input_grad, (gy, gl))
