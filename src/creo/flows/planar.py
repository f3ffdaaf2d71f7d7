r"""Planar and radial layers: one bump of the plane, or of a ball.

    planar   y = x + u tanh(w.x + b)                 log |1 + (1 - tanh^2) w.u|,                      w.u > -1
    radial   y = x + beta (x - x0) / (alpha + r)     (D-1) log(1 + beta h) + log(1 + beta alpha h^2)
             r = |x - x0|, h = 1 / (alpha + r)       alpha > 0, beta > -alpha

u is moved along w so that w.u > -1, which makes the map invertible. The inverse of a planar layer is one increasing
scalar equation, in w.x; that of a radial one a quadratic in r. All parameters may be functions of a context, so that
the layers serve as amortised posteriors too; there use them `Inverted`, since the closed form should be the direction
that samples.

Sources: Rezende, Mohamed 2015, https://arxiv.org/abs/1505.05770; Tabak, Turner 2013,
https://doi.org/10.1002/cpa.21423.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.flows.layer import Layer
from creo.flows.parameters import Parameters
from creo.flows.root import solve_increasing

TINY = 1e-30


class Planar(Layer):
    """The planar layer; `forward` is in closed form.

    Args:
        shape: of one sample.
        context: size of a condition's embedding, which all parameters depend on; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], *, context: int = 0) -> None:
        super().__init__()
        dims = torch.Size(shape).numel()
        self.parameters_of = Parameters((dims, dims, 1), context=context, std=dims**-0.5)

    def _bump(self, e: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u (., D), w (., D), b (., 1) and w.u (., 1), which is above -1."""
        u, w, b = self.parameters_of(e)
        wu = (w * u).sum(1, keepdim=True)
        allowed = F.softplus(wu) - 1
        u = u + (allowed - wu) * w / w.square().sum(1, keepdim=True).clamp_min(TINY)
        return u, w, b, allowed

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add the bump."""
        u, w, b, wu = self._bump(e)
        flat = x.flatten(1)
        t = torch.tanh((flat * w).sum(1, keepdim=True) + b)
        return (flat + u * t).reshape_as(x), torch.log1p((1 - t.square()) * wu).squeeze(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Find w.x, then take the bump away."""
        u, w, b, wu = self._bump(e)
        flat = y.flatten(1)
        projected = (flat * w).sum(1, keepdim=True)
        low, high = projected - wu.abs(), projected + wu.abs()

        def along(a: Tensor) -> tuple[Tensor, Tensor]:
            t = torch.tanh(a + b)
            return a + wu * t, 1 + wu * (1 - t.square())

        t = torch.tanh(solve_increasing(along, projected, low, high) + b)
        return (flat - u * t).reshape_as(y), -torch.log1p((1 - t.square()) * wu).squeeze(1)


class Radial(Layer):
    """The radial layer; both directions are in closed form.

    Args:
        shape: of one sample.
        context: size of a condition's embedding, which all parameters depend on; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], *, context: int = 0) -> None:
        super().__init__()
        self.dims = torch.Size(shape).numel()
        self.parameters_of = Parameters((self.dims, 1, 1), context=context, std=1.0)

    def _ball(self, e: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x0 (., D), alpha (., 1), beta (., 1)."""
        centre, raw_alpha, raw_beta = self.parameters_of(e)
        alpha = F.softplus(raw_alpha)
        return centre, alpha, F.softplus(raw_beta) - alpha

    def _log_det(self, r: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        h = 1 / (alpha + r)
        return ((self.dims - 1) * torch.log1p(beta * h) + torch.log1p(beta * alpha * h.square())).squeeze(1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Push away from the centre, or draw towards it."""
        centre, alpha, beta = self._ball(e)
        offset = x.flatten(1) - centre
        r = offset.square().sum(1, keepdim=True).clamp_min(TINY).sqrt()
        y = centre + offset * (1 + beta / (alpha + r))
        return y.reshape_as(x), self._log_det(r, alpha, beta)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The radius from a quadratic, then back along the ray."""
        centre, alpha, beta = self._ball(e)
        offset = y.flatten(1) - centre
        s = offset.square().sum(1, keepdim=True).clamp_min(TINY).sqrt()
        q = alpha + beta - s
        root = (q.square() + 4 * s * alpha).sqrt()
        r = torch.where(q > 0, 2 * s * alpha / (q.abs() + root), (root - q) / 2)
        x = centre + offset / (1 + beta / (alpha + r))
        return x.reshape_as(y), -self._log_det(r, alpha, beta)
