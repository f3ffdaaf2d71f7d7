r"""A masked linear map with an optional rectifier, whose products are oneDNN's where those are quicker than BLAS.

    y = x (W * M)^T + b,        or its positive part
    dL/dx = g (W * M),    dL/dW = (g^T x) * M,    dL/db = sum g        with g = dL/dy (0 where the rectifier cut off)

Which instructions a BLAS library takes may depend on who made the processor, and MKL, torch's, leaves AVX-512 unused
on some: there oneDNN's products of float32 take half the time. They have a cost of their own per call, so `LEAST`
multiplications are worth it; smaller products, other devices and types, autocast and functional transforms take
torch's own operations, with the same results up to rounding. Compiled code calls the product as an operator of its own,
`creo::product`, since the compiler takes oneDNN's for constant weights only.

A gradient of the gradient (`create_graph=True`) is left to autograd, through torch's own operations.

Source: oneDNN, https://uxlfoundation.github.io/oneDNN/ (inner product).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

#: Multiplications from which on oneDNN with its gradient, a step of Python each, is quicker than BLAS.
LEAST = 2**21
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, rectify: bool) -> Tensor:
    y = F.linear(x, weight if mask is None else weight * mask, bias)
    return F.relu(y) if rectify else y


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, rectify: bool = False) -> Tensor:
    """a b^T + bias of a (n, k) and b (m, k), or its positive part."""
    way = torch.ops.creo.product if torch.compiler.is_compiling() else _operator
    return way(a, b, bias, rectify)


_OPERATORS = torch.library.Library("creo", "DEF")
_OPERATORS.define("product(Tensor a, Tensor b, Tensor? bias, bool rectify) -> Tensor")


def _operator(a: Tensor, b: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "relu" if rectify else "none", [], "")


def _shape_of_product(a: Tensor, b: Tensor, bias: Tensor | None, rectify: bool) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


_OPERATORS.impl("product", _operator, "CPU")
torch.library.register_fake("creo::product", _shape_of_product, lib=_OPERATORS)


class _Linear(torch.autograd.Function):
    """The map of the module docstring."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, rectify: bool
    ) -> Tensor:
        masked = weight if mask is None else weight * mask
        y = _product(x, masked, bias, rectify=rectify)
        ctx.save_for_backward(x, weight, mask, masked, y if rectify else None)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mask, masked, y = ctx.saved_tensors
        product: Callable[[Tensor, Tensor], Tensor] = _product
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            product, masked = F.linear, weight if mask is None else weight * mask
        if y is not None:
            g = torch.ops.aten.threshold_backward(g, y, 0)
        gx = product(g, masked.t()) if ctx.needs_input_grad[0] else None
        gw = product(g.t(), x.t())
        gb = g.sum(0) if ctx.needs_input_grad[2] else None
        return gx, gw if mask is None else gw.mul_(mask), gb, None, None


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN computes this product, and sooner."""
    if not (
        AVAILABLE
        and x.ndim == 2
        and len(x) * weight.numel() >= LEAST
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    ):
        return False
    if torch.compiler.is_compiling():
        return True
    return forward_ad._current_level < 0 and not torch._C._are_functorch_transforms_active()


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, mask: Tensor | None = None, rectify: bool = False
) -> Tensor:
    """y (B, outputs) of x (B, inputs).

    Args:
        x: as said.
        weight: W, (outputs, inputs).
        bias: b, (outputs,), or None.
        mask: M, of the shape and type of W; all ones if not given.
        rectify: take the positive part.
    """
    way = _Linear.apply if _suits(x, weight) else _plain
    return way(x, weight, bias, mask, rectify)


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
