"""What a backward pass written by hand needs besides: its own gradient, and where it must not be used.

A hand-written backward pass computes numbers, of which autograd knows no derivative. Asked for one
(`create_graph=True`), it computes the same gradients once more through the plain formula of the forward pass
(`differentiable`). Functional transforms and forward derivatives (`torch.func`) need rules that these passes lack:
whoever offers one takes the plain formula there (`transformed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def transformed() -> bool:
    """Whether functional transforms or forward derivatives are at work."""
    if torch.compiler.is_compiling():
        return False
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def differentiable(
    f: Callable[..., Any], inputs: Sequence[Tensor | None], wanted: Sequence[bool], outer: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of f(*inputs) with a graph of their own, for a `backward` that is to be differentiated.

    They are taken to aliases of the inputs: one input may be a function of another, of which `backward` must not know.

    Args:
        f: in differentiable operations.
        inputs: of `forward`.
        wanted: which inputs' gradients are.
        outer: gradients of f's values.
    """
    aliases: list[Any] = [t.view_as(t) if isinstance(t, Tensor) else t for t in inputs]
    which = [i for i, wants in enumerate(wanted) if wants]
    found = torch.autograd.grad(
        f(*aliases), [aliases[i] for i in which], outer, create_graph=True, allow_unused=True
    )
    gradients: list[Tensor | None] = [None] * len(inputs)
    for i, gradient in zip(which, found, strict=True):
        gradients[i] = gradient
    return tuple(gradients)
