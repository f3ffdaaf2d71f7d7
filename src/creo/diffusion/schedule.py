r"""A learned schedule: variance preserving, with noise levels that training chooses.

    gamma_t = -log SNR,  alpha^2 = sigmoid(-gamma),  sigma^2 = sigmoid(gamma),  gamma rising from g_0 to g_1

The variational bound depends on the ends alone (Kingma et al. 2021, eq. 18), so these two are learned by lowering it.
What lies between is a change of variables: uniform times draw gamma with the density dt/dgamma, and only the variance
of the estimate depends on it. That density is a histogram of K equal intervals of [g_0, g_1],

    q_k = floor/K + (1 - floor) softmax(logits)_k      (gamma piecewise linear in t, invertible in closed form)

and as the second moment of terms l = e(gamma)/q is  int e^2/q  =  E_q l^2,  its gradient is -E_q[l^2 grad log q]: the
least variance has q in proportion to the root mean square of e. `spread_loss` is a surrogate with that gradient, which
needs no derivative through the network (the published one does, by a second pass through its time input).

As a `Path` the schedule speaks in numbers without gradients; `ends`, `inside` and `spread_loss` are for training.

Source: Kingma, Salimans, Poole, Ho 2021, https://arxiv.org/abs/2107.00630 (sections 4 and 5, appendix I).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.diffusion.paths import Path
from creo.errors import OptionError

#: Share of the times that are spread evenly over the range of gamma, so that no interval is forgotten.
FLOOR = 0.1


class LearnedSchedule(nn.Module, Path):
    """The path of the module docstring.

    Args:
        low: g_0, -log SNR at the data, to start from.
        high: g_1, at the noise.
        intervals: K.

    Raises:
        OptionError: unless low < high and there is an interval.
    """

    t_min: ClassVar[float] = 0.0
    t_max: ClassVar[float] = 1.0

    def __init__(self, low: float = -10.0, high: float = 6.0, *, intervals: int = 32) -> None:
        super().__init__()
        if not low < high or intervals < 1:
            raise OptionError(
                f"low < high and at least 1 interval; received low={low}, high={high}, intervals={intervals}"
            )
        self.low = nn.Parameter(torch.tensor(low))
        self.log_span = nn.Parameter(torch.tensor(math.log(high - low)))
        self.logits = nn.Parameter(torch.zeros(intervals))

    @torch.no_grad()
    def start(self, low: float, high: float) -> None:
        """Set both ends."""
        self.low.fill_(low)
        self.log_span.fill_(math.log(high - low))

    def ends(self) -> tuple[Tensor, Tensor]:
        """(g_0, g_1), scalars with gradients."""
        return self.low, self.low + self.log_span.exp()

    def shares(self) -> Tensor:
        """Share of the times in each interval of gamma, (K,), with gradients."""
        return FLOOR / len(self.logits) + (1 - FLOOR) * self.logits.softmax(0)

    def inside(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Where times u are in [g_0, g_1], as a share of it, and the density of that share; float64, no gradients."""
        p = self._p().to(u.device)
        knots, k = self._knots(p), len(p)
        i = (torch.searchsorted(knots, u.double().contiguous(), right=True) - 1).clamp(0, k - 1)
        return (i + (u.double() - knots[i]) / p[i]) / k, k * p[i]

    def spread_loss(self, share: Tensor, terms: Tensor) -> Tensor:
        """A scalar of value 0 whose gradient is that of log E terms^2 with respect to the histogram.

        Args:
            share: where the terms were taken, shares of [g_0, g_1], (B,).
            terms: l, (B,), one per time.
        """
        k = len(self.logits)
        square = terms.detach().square()
        weight = square / square.mean().clamp_min(torch.finfo(square.dtype).tiny)
        log_q = self.shares().log()[(share * k).long().clamp(0, k - 1)]
        surrogate = -(weight * log_q).mean()
        return surrogate - surrogate.detach()

    def _p(self) -> Tensor:
        return self.shares().detach().double()

    @staticmethod
    def _knots(p: Tensor) -> Tensor:
        knots = F.pad(p.cumsum(0), (1, 0))
        return knots / knots[-1]

    def _gamma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """gamma and its derivative, in t's dtype, without gradients."""
        span = self.log_span.detach().double().exp()
        share, density = self.inside(t)
        return (self.low.detach().double() + span * share).to(t.dtype), (span / density).to(t.dtype)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of t's shape."""
        gamma = self._gamma(t)[0]
        return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (alpha, sigma), slope = self(t), self._gamma(t)[1]
        return -alpha * sigma.square() * slope / 2, sigma * alpha.square() * slope / 2

    def log_snr(self, t: Tensor) -> Tensor:
        return -self._gamma(t)[0]

    def log_snr_slope(self, t: Tensor) -> Tensor:
        return -self._gamma(t)[1]

    def time(self, log_snr: Tensor) -> Tensor:
        p = self._p().to(log_snr.device)
        low, span = self.low.detach().double(), self.log_span.detach().double().exp()
        share = (((-log_snr.double() - low) / span) * len(p)).clamp(0, len(p))
        i = share.long().clamp(max=len(p) - 1)
        return (self._knots(p)[i] + (share - i) * p[i]).clamp(0, 1).to(log_snr.dtype)
