r"""Elementwise Gaussianisation: the data's own histogram as an invertible layer.

    z_d = Phi^{-1}(F_d(y_d)),      log dz/dy = log f_d(y_d) + z_d^2 / 2 + log(2 pi) / 2

F_d is the cumulative distribution of a dequantised ordinal entry y = x + u, u in [0, 1): with level probabilities
p_dl it is piecewise linear, so f_d(y) = p_{d, floor(y)}, and Phi is the normal distribution's. Under a standard
normal z the model is *exactly* the independent histogram, and the dequantisation bound is tight there: a flow that
starts with this layer starts at the best product of marginals and has only dependencies left to learn.

The histograms are smoothed with one pseudo-count per entry, spread evenly over its levels, so that every level has
mass. Upper tails are computed as 1 - F (survival function), so that the round trip keeps its digits on both sides.
Defined for y in [0, levels]; points outside are moved to the border.

Source: Chen, Gopinath 2000 (Gaussianization); Laparra, Camps-Valls, Malo 2011, https://doi.org/10.1109/TNN.2011.2106511.
"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.distributions.gaussian import LOG_2PI
from creo.flows.layer import Layer
from creo.spaces import Ordinal

PSEUDO_COUNT = 1.0


class Gaussianise(Layer):
    """Histogram equalisation to a standard normal, entry by entry.

    Args:
        space: the ordinal space before dequantisation.
    """

    mass: Tensor
    below: Tensor
    above: Tensor
    offset: Tensor

    def __init__(self, space: Ordinal) -> None:
        super().__init__()
        self.levels = space.levels
        self.register_buffer("mass", torch.empty(space.dims, space.levels))
        self.register_buffer("below", torch.empty(space.dims, space.levels))
        self.register_buffer("above", torch.empty(space.dims, space.levels))
        self.register_buffer("offset", torch.arange(space.dims) * space.levels, persistent=False)
        self._set_mass(torch.full((space.dims, space.levels), 1 / space.levels, dtype=torch.float64))

    def _set_mass(self, mass: Tensor) -> None:
        """From probabilities (D, levels): P(level), P(lower levels), P(higher levels)."""
        self.mass.copy_(mass)
        self.below.copy_(mass.cumsum(1) - mass)
        self.above.copy_(mass.flip(1).cumsum(1).flip(1) - mass)

    @torch.no_grad()
    def initialise(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Histograms of dequantised data (N, *shape)."""
        index = self._cell(x.flatten(1)) + self.offset
        counts = (
            torch.bincount(index.flatten(), minlength=self.mass.numel()).double().reshape(self.mass.shape)
        )
        self._set_mass((counts + PSEUDO_COUNT / self.levels) / (len(x) + PSEUDO_COUNT))
        return self.forward(x, e)[0]

    def _cell(self, y: Tensor) -> Tensor:
        return y.floor().clamp(0, self.levels - 1).long()

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Dequantised levels in [0, levels] to normal scores."""
        y = x.flatten(1)
        cell = self._cell(y)
        within = (y - cell).clamp(0, 1)
        index = cell + self.offset
        mass, below, above = self.mass.take(index), self.below.take(index), self.above.take(index)
        z = _normal_score(below + mass * within, above + mass * (1 - within))
        log_det = mass.log() + 0.5 * z.square() + 0.5 * LOG_2PI
        return z.reshape_as(x), log_det.sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normal scores to dequantised levels."""
        z = y.flatten(1)
        lower, upper = torch.special.ndtr(z), torch.special.ndtr(-z)
        from_left = torch.searchsorted(self.below, lower.T.contiguous(), right=True).T - 1
        from_right = torch.searchsorted(self.above.flip(1), upper.T.contiguous(), right=True).T - 1
        cell = torch.where(z < 0, from_left, self.levels - 1 - from_right)
        index = cell.clamp(0, self.levels - 1) + self.offset
        mass, below, above = self.mass.take(index), self.below.take(index), self.above.take(index)
        within = torch.where(z < 0, (lower - below) / mass, 1 - (upper - above) / mass).clamp(0, 1)
        log_det = -(mass.log() + 0.5 * z.square() + 0.5 * LOG_2PI)
        return (index - self.offset + within).reshape_as(y), log_det.sum(1)


def _normal_score(lower: Tensor, upper: Tensor) -> Tensor:
    """Phi^{-1}(lower) given both tail probabilities, which sum to 1; finite also where one of them is 0."""
    tiny = torch.finfo(lower.dtype).tiny ** 0.5
    tail = torch.special.ndtri(torch.minimum(lower, upper).clamp_min(tiny))
    return torch.where(lower < upper, tail, -tail)
