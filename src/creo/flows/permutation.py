"""Permutations of an event's entries; log-determinant 0, both directions one gather."""

from __future__ import annotations

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.flows.layer import Layer


class Permutation(Layer):
    """y[i] = x[order[i]] on the flattened event.

    Args:
        order: (D,), a permutation of 0..D-1.

    Raises:
        OptionError: if it is not one.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if order.ndim != 1 or not torch.equal(
            order.sort().values, torch.arange(len(order), device=order.device)
        ):
            raise OptionError(f"order must be a permutation of 0..D-1; received shape {tuple(order.shape)}")
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    @classmethod
    def reverse(cls, size: int) -> Permutation:
        """Last entry first."""
        return cls(torch.arange(size).flip(0))

    @classmethod
    def random(cls, size: int) -> Permutation:
        """Drawn from torch's generator; kept in the state_dict."""
        return cls(torch.randperm(size))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Permute."""
        return x.flatten(1).index_select(1, self.order).reshape_as(x), x.new_zeros(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Permute back."""
        return y.flatten(1).index_select(1, self.back).reshape_as(y), y.new_zeros(len(y))
