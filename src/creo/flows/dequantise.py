r"""Uniform dequantisation: from levels to the real line, by noise.

    y = x + u,  u ~ U[0, 1)^D        log P(x) >= E_u[log p(x + u)]

The layer's contribution is 0, since the density of u is 1. It is stochastic forward and exact backward (the cell of y
is floor(y)). With K draws the importance-weighted bound log (1/K) sum_k p(x + u_k) is tighter, and below log P(x) in
expectation for every K; noise that is learned makes it tighter too (`creo.flows.variational_dequantise`).

Sources: Uria, Murray, Larochelle 2013, https://arxiv.org/abs/1306.0186; Theis, van den Oord, Bethge 2016,
https://arxiv.org/abs/1511.01844; K draws: Ho et al. 2019 (Flow++), https://arxiv.org/abs/1902.00275.
"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.flows.layer import Layer
from creo.spaces import Ordinal


class UniformDequantise(Layer):
    """Adds uniform noise to levels; the inverse rounds down and clamps to the space's levels.

    Args:
        space: the ordinal space.
    """

    noisy_forward = True
    dtype_of: Tensor

    def __init__(self, space: Ordinal) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("dtype_of", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Levels (B, *shape) to a random point of their cell, in the model's floating dtype."""
        y = x.to(self.dtype_of.dtype)
        return y + torch.rand_like(y), y.new_zeros(len(y))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The cell of y as levels."""
        levels = y.floor().clamp(0, self.space.levels - 1)
        return levels.to(self.space.dtype), y.new_zeros(len(y))
