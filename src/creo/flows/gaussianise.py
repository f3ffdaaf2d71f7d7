r"""Elementwise Gaussianisation: the data's own histogram as an invertible layer.

    z_d = Phi^{-1}(F_d(y_d)),      log dz/dy = log f_d(y_d) + z_d^2 / 2 + log(2 pi) / 2

F_d is the cumulative distribution of a dequantised ordinal entry y = x + u, u in [0, 1): with level probabilities
p_dl it is piecewise linear, so f_d(y) = p_{d, floor(y)}, and Phi is the normal distribution's. Under a standard
normal z the model is *exactly* the independent histogram, and the dequantisation bound is tight there: a flow that
starts with this layer starts at the best product of marginals and has only dependencies left to learn.

The histograms are smoothed with one pseudo-count per entry, spread evenly over its levels, so that every level has
mass. Each side keeps a mass of 1e-4 (0.01 / D if that is less) for the outside of [0, levels], where the map goes on
with slope 1: it costs at most 0.02 nats a sample, and makes the map a bijection of the real line that keeps its digits
at any z. Upper tails are computed from 1 - F for the same reason.

Source: Chen, Gopinath 2000 (Gaussianization); Laparra, Camps-Valls, Malo 2011, https://doi.org/10.1109/TNN.2011.2106511.
"""

from __future__ import annotations

from statistics import NormalDist

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
        self.outside = min(1e-4, 0.01 / space.dims)
        self.edge = -NormalDist().inv_cdf(self.outside)  # the score of the border of [0, levels]
        self.register_buffer("mass", torch.empty(space.dims, space.levels))
        self.register_buffer("below", torch.empty(space.dims, space.levels))
        self.register_buffer("above", torch.empty(space.dims, space.levels))
        self.register_buffer("offset", torch.arange(space.dims) * space.levels, persistent=False)
        self._set_mass(torch.full((space.dims, space.levels), 1 / space.levels, dtype=torch.float64))

    def _set_mass(self, mass: Tensor) -> None:
        """From probabilities (D, levels): P(level), P(below it), P(above it)."""
        mass = mass * (1 - 2 * self.outside)
        self.mass.copy_(mass)
        self.below.copy_(mass.cumsum(1) - mass + self.outside)
        self.above.copy_(mass.flip(1).cumsum(1).flip(1) - mass + self.outside)

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
        """Dequantised levels to normal scores."""
        y = x.flatten(1)
        inside = y.clamp(0, self.levels)
        cell = self._cell(inside)
        within = inside - cell
        mass, below, above = self._look_up(cell)
        lower, upper = below + mass * within, above + mass * (1 - within)
        tail = torch.special.ndtri(torch.minimum(lower, upper))
        z = torch.where(lower < upper, tail, -tail)
        log_det = torch.where(y == inside, _log_slope(mass, z), 0.0)
        return (z + (y - inside)).reshape_as(x), log_det.sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normal scores to dequantised levels."""
        z = y.flatten(1)
        inside = z.clamp(-self.edge, self.edge)
        lower, upper = torch.special.ndtr(inside), torch.special.ndtr(-inside)
        cell = self._find(lower, upper, inside < 0)
        mass, below, above = self._look_up(cell)
        within = torch.where(inside < 0, (lower - below) / mass, 1 - (upper - above) / mass).clamp(0, 1)
        log_det = torch.where(z == inside, -_log_slope(mass, inside), 0.0)
        return (cell + within + (z - inside)).reshape_as(y), log_det.sum(1)

    def _look_up(self, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = cell + self.offset
        return self.mass.take(index), self.below.take(index), self.above.take(index)

    def _find(self, lower: Tensor, upper: Tensor, left: Tensor) -> Tensor:
        """The level whose interval holds these tail probabilities, searched from the side where they are small."""
        from_left = torch.searchsorted(self.below, lower.T.contiguous(), right=True).T - 1
        from_right = torch.searchsorted(self.above.flip(1), upper.T.contiguous(), right=True).T - 1
        return torch.where(left, from_left, self.levels - 1 - from_right).clamp(0, self.levels - 1)


def _log_slope(mass: Tensor, z: Tensor) -> Tensor:
    """log dz/dy = log f(y) - log phi(z)."""
    return mass.log() + 0.5 * z.square() + 0.5 * LOG_2PI
