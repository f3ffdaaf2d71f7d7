r"""Elementwise bijections without parameters: to the whole real line from a part of it, or with a bend.

| layer   | y                             | log dy/dx                  | x from      | y in     |
|---------|-------------------------------|----------------------------|-------------|----------|
| `Leaky` | x, below 0 slope x            | 0, below 0 log slope       | R           | R        |
| `Log`   | log x                         | -y                         | x > 0       | R        |
| `Logit` | logit(m + (1 - 2 m) x)        | log(1 - 2 m) - log p (1-p) | 0 <= x <= 1 | R        |

with p = m + (1 - 2 m) x: the margin m keeps the borders finite. `Inverted` gives leaky functions that steepen,
exponentials and logistic functions.

Sources: leaky rectifiers: Maas, Hannun, Ng 2013; logit with a margin: Dinh, Sohl-Dickstein, Bengio 2017 (section 4.1),
https://arxiv.org/abs/1605.08803.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.errors import OptionError
from creo.flows.layer import Layer


class Leaky(Layer):
    """A bend at 0.

    Args:
        slope: below 0; positive.
    """

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__()
        if not slope > 0:
            raise OptionError(f"the slope of a leaky layer must be positive; received {slope}")
        self.slope = slope

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Flatten what is below 0."""
        return torch.where(x < 0, self.slope * x, x), math.log(self.slope) * (x < 0).flatten(1).sum(1).to(
            x.dtype
        )

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Steepen it again."""
        return torch.where(y < 0, y / self.slope, y), -math.log(self.slope) * (y < 0).flatten(1).sum(1).to(
            y.dtype
        )


class Log(Layer):
    """From the positive numbers to all."""

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logarithm."""
        y = x.log()
        return y, -y.flatten(1).sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Exponential."""
        return y.exp(), y.flatten(1).sum(1)


class Logit(Layer):
    """From the unit interval to all numbers.

    Args:
        margin: m, at least 0 and below 1/2; with 0 the borders go to infinity.
    """

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        if not 0 <= margin < 0.5:
            raise OptionError(f"the margin of a logit layer is in [0, 1/2); received {margin}")
        self.margin, self.scale = margin, 1 - 2 * margin

    def _log_slope(self, y: Tensor) -> Tensor:
        """Log dy/dx summed, from y: p (1 - p) = sigmoid(y) sigmoid(-y)."""
        return (math.log(self.scale) - F.logsigmoid(y) - F.logsigmoid(-y)).flatten(1).sum(1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Squeeze by the margin, then logit."""
        y = torch.logit(self.margin + self.scale * x)
        return y, self._log_slope(y)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logistic function, then stretch by the margin."""
        return (y.sigmoid() - self.margin) / self.scale, -self._log_slope(y)
