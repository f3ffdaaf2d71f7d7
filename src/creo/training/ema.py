"""Exponential moving average of weights: what is evaluated and sampled when it is on.

    e_0 = w_0,    e_k = d_k e_{k-1} + (1 - d_k) w_k,    d_k = min(decay, (1 + k) / (10 + k))

The rising decay lets the average forget the initial weights in short runs. One fused `_foreach_lerp_` updates all
tensors. Polyak, Juditsky (1992), https://doi.org/10.1137/0330046.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Moving average of `parameters`; with decay 0 it is off and `average` is the parameters themselves.

    Args:
        parameters: the weights followed, in a fixed order.
        decay: d in [0, 1).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.updates = list(parameters), decay, 0
        self.average: list[Tensor] = [p.detach().clone() for p in self.parameters] if decay else []
        self._live: list[Tensor] = [p.detach() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        if self.average:
            self.updates += 1
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(self.average, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model's weights are the average; afterwards they are the trained ones again."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange the model's weights and the average, for good or until the next `swap`."""
        for i, (p, e) in enumerate(zip(self.parameters, self.average, strict=False)):
            self.average[i], p.data = p.data, e
