r"""A neural monotone map of the real line: the sigmoidal unit of neural autoregressive flows.

    y = logit( sum_j w_j sigmoid(a_j x + b_j) ),     w on the simplex,  a_j > 0,     j = 1..M

M sigmoids make steps where a density has its modes; the logit makes the image the whole line, with straight tails.
Both are taken in logarithms: with L+- = log sum_j w_j sigmoid(+-(a_j x + b_j)),

    y = L+ - L-,      log dy/dx = log sum_j w_j a_j sigmoid(.) sigmoid(-.) - L+ - L-,

so that nothing saturates at any x. There is no inverse in closed form, but a bracket: y lies between the smallest and
the largest a_j x + b_j, hence x between the smallest and the largest (y - b_j) / a_j, where a safeguarded Newton
iteration finds it to the last digits (`creo.flows.root`).

Source: Huang, Krueger, Lacoste, Courville 2018, https://arxiv.org/abs/1804.00779 (section 3.1, deep sigmoidal flow).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.errors import OptionError
from creo.flows.root import solve_increasing

MIN_SLOPE = 1e-2
SLOPE_ONE = math.log(math.expm1(1 - MIN_SLOPE))
SPREAD = 2.0  # raw parameters of 0 put the sigmoids' centres in [-SPREAD, SPREAD]


class Sigmoidal:
    """The map of the module docstring, an `Elementwise` map with 3 M parameters.

    Args:
        units: M.
    """

    written = None

    def __init__(self, units: int = 8) -> None:
        if units < 1:
            raise OptionError(f"a monotone unit has at least 1 sigmoid; received units={units}")
        self.units, self.parameters = units, 3 * units

    def _unpack(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log w, a, b, each (B, M, n)."""
        raw_w, raw_a, raw_b = h.split(self.units, 1)
        spread = SPREAD if self.units > 1 else 0.0
        centres = torch.linspace(-spread, spread, self.units, dtype=h.dtype, device=h.device)[:, None]
        return F.log_softmax(raw_w, 1), F.softplus(raw_a + SLOPE_ONE) + MIN_SLOPE, raw_b + centres

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n), h (B, parameters, n): y and log dy/dx, both (B, n)."""
        return _map(x, *self._unpack(h))

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dy."""
        log_w, a, b = self._unpack(h)
        ends = ((y.unsqueeze(1) - b) / a).detach()

        def increasing(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slope = _map(x, log_w, a, b)
            return value, log_slope.exp()

        x = solve_increasing(increasing, y, ends.amin(1), ends.amax(1))
        return x, -_map(x, log_w, a, b)[1]


def _map(x: Tensor, log_w: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    inside = torch.addcmul(b, a, x.unsqueeze(1))
    up, down = F.logsigmoid(inside), F.logsigmoid(-inside)
    high, low = (log_w + up).logsumexp(1), (log_w + down).logsumexp(1)
    log_slope = (log_w + a.log() + up + down).logsumexp(1) - high - low
    return high - low, log_slope
