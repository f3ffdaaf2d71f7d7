r"""A noise level as features, and a perceptron that is told it.

    u = log(sigma / alpha)    ->    sin(f_i u), cos(f_i u), f geometric    ->    perceptron    ->    (B, width)

The log-ratio of noise to signal means the same on every path from data to noise, so that one network serves them all.

Sources: features: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; log noise level as input: Karras et al. 2022,
https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.mlp import MLP

#: Smallest and largest frequency of the features, per unit of u, and the range of u outside which nothing changes.
LOW, HIGH, RANGE = 0.1, 6.0, 12.0


class TimeEmbedding(nn.Module):
    """Noise levels u (B,), and the embedding of a condition if there is one, to context vectors (B, width).

    Args:
        width: size of the vectors; even.
        context: size of the condition's embedding; 0 for none.
    """

    frequencies: Tensor

    def __init__(self, width: int, *, context: int = 0) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise OptionError(f"a time embedding needs an even width of at least 2; received {width}")
        span = torch.linspace(math.log(LOW), math.log(HIGH), width // 2)
        self.register_buffer("frequencies", span.exp(), persistent=False)
        self.first = nn.Linear(width, width)
        self.context = nn.Linear(context, width, bias=False) if context else None
        self.second = nn.Linear(width, width)

    def forward(self, u: Tensor, e: Tensor | None = None) -> Tensor:
        """Context vectors (B, width) of u (B,) and e (B, context)."""
        angles = u.to(self.frequencies.dtype).clamp(-RANGE, RANGE)[:, None] * self.frequencies
        h = self.first(torch.cat([angles.sin(), angles.cos()], 1))
        if self.context is not None:
            h = h + self.context(e)
        return F.silu(self.second(F.silu(h)))


class TimeMLP(nn.Module):
    """Samples of any shape and noise levels to samples, by a residual perceptron that starts at 0.

    Args:
        shape: of one sample.
        hidden: widths of the hidden layers.
        width: of the time embedding.
        context: size of a condition's embedding; 0 for none.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        hidden: tuple[int, ...] = (128, 128, 128),
        width: int = 64,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        dims = math.prod(shape)
        self.time = TimeEmbedding(width, context=context)
        self.inner = MLP(dims, dims, hidden=hidden, context=width, dropout=dropout, zero=True)

    def forward(self, x: Tensor, u: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, *shape) of noisy samples x (B, *shape), noise levels u (B,) and a condition's embedding (B, context)."""
        return self.inner(x.flatten(1), self.time(u, e)).view(x.shape)
