r"""Perceptrons with rectifiers as one differentiable step, whose large products are oneDNN's where those are quicker.

    u_0 = x,    u_l = f(u_{l-1} (W_l * M_l)^T + b_l),    f the positive part (of the last layer the identity)

    g_L = dL/du_L (0 where a rectifier cut off),    dL/du_{l-1} = g_l (W_l * M_l),
    dL/dW_l = (g_l^T u_{l-1}) * M_l,                dL/db_l = sum g_l

One step for all layers saves what autograd spends on each operation, as much as the products of small networks.

Layout: samples are rows, x (B, inputs). They may lie in memory by rows or by columns (`x.T` contiguous), and so does
the answer then. By columns no product of the backward pass has to rearrange a batch, and what is done per answer
afterwards (a spline's parameters) runs over contiguous memory.

Which instructions a BLAS library takes may depend on who made the processor, and MKL, torch's, leaves AVX-512 unused
on some: there oneDNN's products of float32 take half the time. They have a cost of their own per call, so `LEAST`
multiplications are worth it, and twice as many in a network the one step. Other devices, autocast and functional
transforms take torch's own operations, with the same results up to rounding. Compiled code calls the product as an
operator of its own, `creo::product`, since the compiler takes oneDNN's for constant weights only.

Source: oneDNN, https://uxlfoundation.github.io/oneDNN/ (inner product).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.nn.backward import differentiable, transformed

#: Multiplications from which on a product is quicker by oneDNN than by BLAS.
LEAST = 2**20
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

#: Weight W (outputs, inputs), bias b (outputs,) or None, mask M like W or None.
Weights = tuple[Tensor, Tensor | None, Tensor | None]


def _by_columns(x: Tensor) -> bool:
    return x.ndim == 2 and x.stride() == (1, len(x))


def plain(x: Tensor, layers: Sequence[Weights]) -> Tensor:
    """`perceptron` in torch's own operations."""
    for weight, bias, mask in layers[:-1]:
        x = F.relu(_layer(x, weight, bias, mask))
    return _layer(x, *layers[-1])


def _layer(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    weight = weight if mask is None else weight * mask
    if not _by_columns(x):
        return F.linear(x, weight, bias)
    return (weight @ x.t() if bias is None else torch.addmm(bias[:, None], weight, x.t())).t()


_OPERATORS = torch.library.Library("creo", "DEF")
_OPERATORS.define("product(Tensor a, Tensor b, Tensor? bias, bool rectify) -> Tensor")


def _operator(a: Tensor, b: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(a, b, bias, "relu" if rectify else "none", [], "")


def _shape_of_product(a: Tensor, b: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


_OPERATORS.impl("product", _operator, "CPU")
torch.library.register_fake("creo::product", _shape_of_product, lib=_OPERATORS)


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, rectify: bool = False) -> Tensor:
    """a b^T + bias of a (n, k) and b (m, k), (n, m) by rows, or its positive part."""
    if AVAILABLE and a.dtype == torch.float32 and a.numel() * len(b) >= LEAST:
        return (torch.ops.creo.product if torch.compiler.is_compiling() else _operator)(a, b, bias, rectify)
    y = torch.mm(a, b.t()) if bias is None else torch.addmm(bias, a, b.t())
    return y.relu_() if rectify else y


def _map(u: Tensor, weight: Tensor, bias: Tensor | None, *, rectify: bool, columns: bool) -> Tensor:
    """One layer, its answer in memory as u."""
    if not columns:
        return _product(u, weight, bias, rectify=rectify)
    y = _product(weight, u)
    y = y if bias is None else y.add_(bias[:, None])
    return (y.relu_() if rectify else y).t()


def answers(x: Tensor, tensors: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
    """Masked weights W_l * M_l, and u_0 to u_L, without autograd; tensors: all W, then all b, all M."""
    n, columns, units = len(tensors) // 3, _by_columns(x), [x]
    masked = [w if m is None else w * m for w, m in zip(tensors[:n], tensors[2 * n :], strict=True)]
    for i, (weight, bias) in enumerate(zip(masked, tensors[n : 2 * n], strict=True)):
        units.append(_map(units[-1], weight, bias, rectify=i + 1 < n, columns=columns))
    return masked, units


def gradients(
    g: Tensor,
    masks: Sequence[Tensor | None],
    masked: Sequence[Tensor],
    units: Sequence[Tensor],
    *,
    columns: bool,
    of_x: bool = True,
) -> tuple[Tensor, list[Tensor], list[Any]]:
    """Gradients of x (with `of_x`), of all W and of all b, by the formulas of the module docstring.

    Args:
        g: of u_L.
        masks, masked: M_l and W_l * M_l.
        units: u_0 to u_{L-1}.
        columns: whether x lies by columns; to ask it here would make a compiler copy g.
        of_x: whether the first is wanted; without it what is returned means nothing.
    """
    weights: list[Tensor] = []
    biases: list[Any] = []
    for i in reversed(range(len(masked))):
        weight, mask = _product(g.t(), units[i].t()), masks[i]
        weights.append(weight if mask is None else weight.mul_(mask))
        biases.append(g.sum(0))
        if i or of_x:
            turned = masked[i].t()
            if columns and torch.compiler.is_compiling():
                turned = turned.contiguous()  # compiled, one pass with the mask
            g = _map(g, turned, None, rectify=False, columns=columns)
        if i:
            g = torch.ops.aten.threshold_backward(g, units[i], 0)
    return g, weights[::-1], biases[::-1]


class _Perceptron(torch.autograd.Function):
    """The map of the module docstring; tensors: all W, then all b, all M."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *tensors: Any) -> Tensor:
        masked, units = answers(x, tensors)
        y = units.pop()
        ctx.save_for_backward(*tensors, *masked, *units)
        ctx.depth, ctx.columns = len(masked), _by_columns(x)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        n, saved = ctx.depth, ctx.saved_tensors
        masks, masked, units = saved[2 * n : 3 * n], saved[3 * n : 4 * n], saved[4 * n :]
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return differentiable(_again, (units[0], *saved[: 3 * n]), ctx.needs_input_grad, g)
        of_x, wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1 + n : 1 + 2 * n]
        gx, weights, biases = gradients(g, masks, masked, units, columns=ctx.columns, of_x=of_x)
        biases = [b if wants else None for b, wants in zip(biases, wanted, strict=True)]
        return gx if of_x else None, *weights, *biases, *[None] * n


def _again(x: Tensor, *tensors: Any) -> Tensor:
    n = len(tensors) // 3
    return plain(x, list(zip(tensors[:n], tensors[n : 2 * n], tensors[2 * n :], strict=True)))


def suits(x: Tensor, size: int, dtype: torch.dtype) -> bool:
    """Whether one step computes a network of so many weights, and sooner."""
    return (
        x.ndim == 2
        and len(x) * size >= 2 * LEAST
        and x.device.type == "cpu"
        and x.dtype == dtype
        and not torch.is_autocast_enabled("cpu")
        and not transformed()
    )


def perceptron(x: Tensor, layers: Sequence[Weights]) -> Tensor:
    """u_L (B, outputs), in memory as x: by rows or by columns.

    Args:
        x: (B, inputs).
        layers: weight (outputs, inputs), bias (outputs,) or None, and mask, of the weight's shape and type, or None.
    """
    if not suits(x, sum(weight.numel() for weight, *_ in layers), layers[0][0].dtype):
        return plain(x, layers)
    return _Perceptron.apply(x, *(tensor for group in zip(*layers, strict=True) for tensor in group))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, mask: Tensor | None = None) -> Tensor:
    """One layer: y (B, outputs) of x (B, inputs).

    Args:
        x: as said.
        weight: W, (outputs, inputs).
        bias: b, (outputs,), or None.
        mask: M, of the shape and type of W; all ones if not given.
    """
    if suits(x, weight.numel(), weight.dtype):
        return _Perceptron.apply(x, weight, bias, mask)
    return _layer(x, weight, bias, mask)


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
