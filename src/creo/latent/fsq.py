r"""Finite scalar quantisation: every coordinate of a vector rounded to one of a few levels; no codebook to learn.

With L levels of coordinate i, h = (L - 1) (1 + eps) / 2, and o = 1/2 for even L, else 0,

    u = h tanh(z + atanh(o / h)) - o,      digit = round(u) + floor(L / 2),      vector = round(u) / floor(L / 2)

which lies in [-1, 1] (for even L in [-1, 1 - 2/L]); rounding passes its gradient on to u. Every combination of
digits is a code: 8 x 8 x 8 levels are 512 codes of three ordered digits. None is learned, so there is no penalty and
nothing to revive; but combinations that no vector comes near, as where coordinates are correlated, stay unused.

Reference: Mentzer, Minnen, Agustsson, Tschannen (2024), https://arxiv.org/abs/2309.15505.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.latent.quantise import Quantised, Quantiser, straight_through


class FSQ(Quantiser):
    """The quantiser of the module docstring.

    Args:
        levels: L of each coordinate, at least 2.
        decay: of the moving average of the shares.
    """

    ordered = True
    span: Tensor
    offset: Tensor
    reach: Tensor
    top: Tensor

    def __init__(self, levels: Sequence[int], *, decay: float = 0.99) -> None:
        if not levels or min(levels) < 2:
            raise OptionError(f"fsq needs at least 2 levels of every coordinate; received {tuple(levels)}")
        super().__init__(len(levels), len(levels), max(levels), decay=decay)
        self.levels = tuple(levels)
        count = torch.tensor(self.levels)
        self.register_buffer("span", (count - 1) * (1 + 1e-3) / 2, persistent=False)
        self.register_buffer("offset", (1 - count % 2) / 2, persistent=False)
        self.register_buffer("reach", (count // 2).float(), persistent=False)
        self.register_buffer("top", count - 1, persistent=False)
        valid = torch.arange(self.size) < count[:, None]
        self.shares.copy_(valid / count[:, None])

    def bounded(self, z: Tensor) -> Tensor:
        """u of vectors z (N, D)."""
        z = z.to(self.span.dtype)
        return self.span * torch.tanh(z + torch.atanh(self.offset / self.span)) - self.offset

    def index(self, z: Tensor) -> Tensor:
        return (self.bounded(z).round() + self.reach).long()

    def lookup(self, index: Tensor) -> Tensor:
        """Digits beyond a coordinate's own levels are taken as its highest."""
        return (torch.minimum(index, self.top) - self.reach) / self.reach

    def table(self) -> Tensor:
        """The shares with a little of the uniform distribution over the levels that there are."""
        valid = torch.arange(self.size, device=self.top.device) <= self.top[:, None]
        table = super().table() * valid
        return table / table.sum(1, keepdim=True)

    def forward(self, z: Tensor) -> Quantised:
        u = self.bounded(z)
        rounded = u.round()
        index = (rounded + self.reach).long()
        if self.learning:
            self.count(index)
        vectors = straight_through(u, rounded) / self.reach
        return Quantised(vectors, index, u.new_zeros(len(u)))
