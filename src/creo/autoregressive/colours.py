"""The colours of one pixel given everything before it: p(x_1, ..., x_C | f) = prod_c p(x_c | x_<c, f).

A causal network sees the pixels before; its features f are turned into tables over levels for each channel by

    Chained   log p(x_c | x_<c, f) = head(U_c relu(W_c [f, code(x_<c)]))       any head, one small network a channel

so that the channels of one pixel depend on each other exactly, at the cost of their own small networks alone.

Reference: van den Oord, Kalchbrenner, Kavukcuoglu (2016), section 3.4, https://arxiv.org/abs/1601.06759.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.autoregressive.coding import Coding
from creo.distributions.heads import DiscreteHead
from creo.nn.dropout import dropout


class Colours(nn.Module, ABC):
    """A distribution of the channels of one pixel, given its features."""

    @abstractmethod
    def table(self, features: Tensor, earlier: Tensor) -> Tensor:
        """Nats of the levels of channel c, (..., levels), given features (..., F) and earlier channels (..., c)."""

    @abstractmethod
    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        """Nats of whole pixels, features (..., F) and x (..., C) to (...)."""

    def tables(self, features: Tensor, x: Tensor) -> Tensor:
        """Nats of the levels of every channel given those before it in x (..., C): (..., C, levels)."""
        return torch.stack([self.table(features, x[..., :c]) for c in range(x.shape[-1])], -2)


class Chained(Colours):
    """See the module docstring.

    Args:
        features: F.
        channels: C.
        coding: how a channel's network sees earlier channels.
        head: turns numbers into a table of levels.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self, features: int, channels: int, coding: Coding, head: DiscreteHead, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.coding, self.head, self.dropout = coding, head, dropout
        self.inner = nn.ModuleList(nn.Linear(features + c * coding.size, features) for c in range(channels))
        self.outer = nn.ModuleList(nn.Linear(features, head.size) for _ in range(channels))

    def _parameters_of(self, features: Tensor, earlier: Tensor) -> Tensor:
        c = earlier.shape[-1]
        code = self.coding(earlier, features.dtype).flatten(-2)
        y = F.relu(self.inner[c](torch.cat([F.relu(features), code], -1)))
        return self.outer[c](dropout(y, self.dropout, self.training))

    def table(self, features: Tensor, earlier: Tensor) -> Tensor:
        return self.head.log_probs(self._parameters_of(features, earlier))

    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        channels = range(x.shape[-1])
        parts = [self.head.log_prob(self._parameters_of(features, x[..., :c]), x[..., c]) for c in channels]
        return torch.stack(parts).sum(0)
