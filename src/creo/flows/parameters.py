"""Parameters of a layer that a condition may shift: a learned constant plus a linear function of the embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Parameters(nn.Module):
    """`sum(sizes)` numbers per sample, split into groups.

    Args:
        sizes: of the groups.
        context: size of a condition's embedding; 0 for none.
        std: of the initial constants; the condition's influence starts at a tenth of the embedding's scale.
    """

    def __init__(self, sizes: tuple[int, ...], *, context: int = 0, std: float = 0.1) -> None:
        super().__init__()
        self.sizes = sizes
        self.constant = nn.Parameter(std * torch.randn(sum(sizes)))
        self.context = nn.Linear(context, sum(sizes), bias=False) if context else None
        if self.context is not None:
            nn.init.normal_(self.context.weight, std=0.1 * context**-0.5)

    def forward(self, e: Tensor | None = None) -> tuple[Tensor, ...]:
        """The groups, each (1, size) without a condition and (B, size) with one."""
        values = self.constant[None]
        if e is not None and self.context is not None:
            values = values + self.context(e).to(values.dtype)
        return values.split(self.sizes, 1)
