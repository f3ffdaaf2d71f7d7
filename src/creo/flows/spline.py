r"""Monotone rational-quadratic splines: elementwise maps with K bins, inverted in closed form.

Between the knots (x_k, y_k) and (x_{k+1}, y_{k+1}), with slopes d_k, d_{k+1} there, w = x_{k+1} - x_k,
h = y_{k+1} - y_k, s = h / w and t = (x - x_k) / w,

    y     = y_k + h (s t^2 + d_k t (1 - t)) / q,        q = s + (d_{k+1} + d_k - 2 s) t (1 - t)
    dy/dx = s^2 (d_{k+1} t^2 + 2 s t (1 - t) + d_k (1 - t)^2) / q^2

and the inverse is the root in [0, 1] of a quadratic in t. Widths and heights are softmax outputs of at least
`MIN_BIN` of the box, slopes are softplus outputs of at least `MIN_SLOPE`; raw parameters of 0 give the identity.

| tails      | domain     | outside the box                       | parameters |
|------------|------------|---------------------------------------|------------|
| `linear`   | real line  | identity, slope 1 at both borders     | 3 K - 1    |
| `circular` | a circle   | wrapped; the slope is periodic        | 3 K + 1    |

The box is [-bound, bound]. A circular spline also turns the circle by an angle (its last parameter), so that no point
of it is fixed. Every value is finite for every input: the spline is evaluated at the nearest point of the box.

Everything is a fixed chain of elementwise operations and gathers over (B, K, n), n contiguous, without a branch on
data.

Sources: Gregory, Delbourgo 1982, https://doi.org/10.1093/imanum/2.2.123; Durkan, Bekasov, Murray, Papamakarios 2019,
https://arxiv.org/abs/1906.04032; circles: Rezende et al. 2020, https://arxiv.org/abs/2002.02428.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.errors import OptionError
from creo.flows.spline_gradient import MIN_BIN, MIN_SLOPE, SLOPE_ONE, WrittenSpline

TINY = 1e-30  # keeps the gradient of a square root finite where rounding makes it 0


class Bin(NamedTuple):
    """The bin of every entry, each (B, n)."""

    x: Tensor  # left border
    width: Tensor
    y: Tensor  # lower border
    height: Tensor
    left: Tensor  # slopes
    right: Tensor


class RationalQuadratic:
    """The spline of the module docstring, an `Elementwise` map.

    Args:
        bins: K.
        bound: half the side of the box.
        tails: linear or circular.
    """

    def __init__(
        self, bins: int = 8, *, bound: float = 5.0, tails: Literal["linear", "circular"] = "linear"
    ) -> None:
        if not 1 <= bins < 1 / MIN_BIN or not bound > 0 or tails not in ("linear", "circular"):
            raise OptionError(
                f"a spline has 1 to {1 / MIN_BIN - 1:.0f} bins, a positive bound and linear or circular tails; "
                f"received bins={bins}, bound={bound}, tails={tails!r}"
            )
        self.bins, self.bound, self.tails = bins, bound, tails
        self.parameters_of_slopes = bins - 1 if tails == "linear" else bins
        self.parameters = 2 * bins + self.parameters_of_slopes + (tails == "circular")
        self._written = WrittenSpline(bins, bound, tails == "circular", self._plain) if bins > 1 else None
        self.written = self._written if tails == "linear" else None

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n), h (B, parameters, n): y and log dy/dx, both (B, n)."""
        if self.tails == "circular":
            y, log_slope = self._forward(self._wrap(x), h[:, :-1])
            return self._wrap(y + h[:, -1]), log_slope
        return self._forward(x, h)

    def _forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self._plain(x, h) if self._written is None else self._written.apply(x, h)

    def _plain(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.clamp(-self.bound, self.bound)
        y, log_slope = self._spline(inside, h)
        return y + (x - inside), torch.where(x == inside, log_slope, 0.0)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dy."""
        if self.tails == "circular":
            x, log_slope = self._spline_inverse(self._wrap(self._wrap(y) - h[:, -1]), h[:, :-1])
            return self._wrap(x), log_slope
        inside = y.clamp(-self.bound, self.bound)
        x, log_slope = self._spline_inverse(inside, h)
        return x + (y - inside), torch.where(y == inside, log_slope, 0.0)

    def _wrap(self, x: Tensor) -> Tensor:
        return torch.remainder(x + self.bound, 2 * self.bound) - self.bound

    def _bin(self, x: Tensor, h: Tensor, inverse: bool) -> Bin:
        """The bin that holds x, or with `inverse` the one whose image does; x in [-bound, bound]."""
        side, slack = 2 * self.bound, 1 - MIN_BIN * self.bins
        raw, slopes = h.split([2 * self.bins, self.parameters_of_slopes], 1)
        shares = torch.softmax(raw.unflatten(1, (2, self.bins)), 2)  # of widths and of heights
        sums = shares.cumsum(2)
        with torch.no_grad():
            least = MIN_BIN * torch.arange(1, self.bins, dtype=x.dtype, device=x.device)[:, None]
            ends = torch.add(least, sums[:, int(inverse), :-1], alpha=slack)
            k = (((x + self.bound) / side).unsqueeze(1) >= ends).sum(1, keepdim=True)
        chosen = k.unsqueeze(1).expand(-1, 2, -1, -1)
        size = slack * shares.gather(2, chosen) + MIN_BIN
        start = slack * sums.gather(2, chosen) + MIN_BIN * (k + 1).unsqueeze(1).to(x.dtype) - size
        width, height = (side * size).squeeze(2).unbind(1)
        left, bottom = (side * start - self.bound).squeeze(2).unbind(1)
        return Bin(left, width, bottom, height, *self._slopes(slopes, k))

    def _slopes(self, raw: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes at the left and right knots of bins k (B, 1, n)."""
        knots = torch.cat([k, k + 1], 1)
        if self.tails == "circular":
            pair = raw.gather(1, knots % self.bins)
        elif self.bins == 1:
            pair = torch.zeros_like(knots, dtype=raw.dtype)
        else:  # the slopes of inner knots are given, those of the borders are 1
            border = (knots == 0) | (knots == self.bins)
            pair = raw.gather(1, (knots - 1).clamp(0, self.bins - 2)).masked_fill(border, 0.0)
        left, right = (F.softplus(pair + SLOPE_ONE) + MIN_SLOPE).unbind(1)
        return left, right

    def _spline(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        b = self._bin(x, h, inverse=False)
        t = ((x - b.x) / b.width).clamp(0, 1)
        value, log_slope = _inside(t, b)
        return b.y + b.height * value, log_slope

    def _spline_inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        r = self._bin(y, h, inverse=True)
        s, v = r.height / r.width, y - r.y
        bend = r.left + r.right - 2 * s
        a = r.height * (s - r.left) + v * bend
        b = r.height * r.left - v * bend
        c = -s * v
        root = (b.square() - 4 * a * c).clamp_min(TINY).sqrt()
        # both forms of the same root; each avoids the cancellation of the other
        above = torch.where(b < 0, root - b, -2 * c)
        below = torch.where(b < 0, 2 * a, b + root)
        t = (above / below).clamp(0, 1)
        return r.x + t * r.width, -_inside(t, r)[1]


def _inside(t: Tensor, b: Bin) -> tuple[Tensor, Tensor]:
    """(y - y_k) / h and log dy/dx at the position t in [0, 1] of a bin."""
    s = b.height / b.width
    tt = t * (1 - t)
    q = s + (b.left + b.right - 2 * s) * tt
    value = (s * t.square() + b.left * tt) / q
    slope = b.right * t.square() + 2 * s * tt + b.left * (1 - t).square()
    return value, 2 * (s / q).log() + slope.log()
