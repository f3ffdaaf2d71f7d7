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
        self._recognise()
        self.register_load_state_dict_post_hook(lambda module, _: module._recognise())

    @classmethod
    def reverse(cls, size: int) -> Permutation:
        """Last entry first."""
        return cls(torch.arange(size).flip(0))

    @classmethod
    def random(cls, size: int) -> Permutation:
        """Drawn from torch's generator; kept in the state_dict."""
        return cls(torch.randperm(size))

    def _recognise(self) -> None:
        """Orders that need no gather."""
        plain = torch.arange(len(self.order), device=self.order.device)
        self.same, self.reversed = torch.equal(self.order, plain), torch.equal(self.order, plain.flip(0))

    def _gather(self, x: Tensor, index: Tensor) -> Tensor:
        if self.same:
            return x
        flat = x.flatten(1)
        return (flat.flip(1) if self.reversed else flat.index_select(1, index)).reshape_as(x)

    def by_columns(self, columns: Tensor, *, back: bool = False) -> Tensor:
        """The same of entries that come first, (D, B), contiguous; or the inverse."""
        if self.same or self.reversed:
            return (columns.flip(0) if self.reversed else columns).contiguous()
        return columns.index_select(0, self.back if back else self.order)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Permute."""
        return self._gather(x, self.order), x.new_zeros(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Permute back."""
        return self._gather(y, self.back), y.new_zeros(len(y))
