r"""One hidden layer shared by all conditionals (NADE), in D incremental steps or all at once.

With variables coded as k_j in generation order and one weight matrix W = [W_1 ... W_D],

    a_i = b + sum_{j<i} W_j k_j + A e,      y_i = V_i sigma(a_i) + c_i

The sums differ by one term from step to step, so that all D steps cost O(D H) products: `advance` adds one term, and
`forward` takes a cumulative sum (memory B D H).

Reference: Larochelle, Murray (2011), The Neural Autoregressive Distribution Estimator,
https://proceedings.mlr.press/v15/larochelle11a.html.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class NADECache(NamedTuple):
    """The pre-activations a_i, (B, H), written in place by `advance`."""

    hidden: Tensor


class NADENetwork(nn.Module):
    """D coded variables to D answers, answer i from the variables before i.

    Args:
        variables: D.
        inputs: numbers that code one variable.
        outputs: numbers that answer one variable.
        hidden: H.
        context: size of a condition's embedding; 0 for none.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        variables: int,
        inputs: int,
        outputs: int,
        *,
        hidden: int,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Parameter(
            torch.randn(max(variables - 1, 0), inputs, hidden) * (variables * inputs) ** -0.5
        )
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.last = nn.Parameter(torch.randn(variables, hidden, outputs) * hidden**-0.5)
        self.offset = nn.Parameter(torch.zeros(variables, outputs))
        self.context = nn.Linear(context, hidden, bias=False) if context else None

    def _start(self, batch: int, h: Tensor | None) -> Tensor:
        start = self.bias.expand(batch, -1)
        return start if self.context is None else start + self.context(h)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """Codes (B, D * inputs) and embeddings (B, context) to answers (B, D, outputs)."""
        later, inputs, _ = self.first.shape
        codes = x.unflatten(1, (-1, inputs))[:, :later]
        start = self._start(len(x), h).unsqueeze(1)
        terms = torch.einsum("bdk,dkh->bdh", codes, self.first)
        a = torch.cat([start, start + terms.cumsum(1)], 1)
        return torch.einsum("bdh,dho->bdo", self.dropout(torch.sigmoid(a)), self.last) + self.offset

    def begin(self, batch: int, h: Tensor | None = None) -> NADECache:
        """The cache before any variable is known; h is the condition's embedding (B, context), or None."""
        return NADECache(self._start(batch, h).clone())

    def advance(self, cache: NADECache, i: int, coded: Tensor | None) -> Tensor:
        """Take in the code (B, inputs) of variable i-1 (None at i = 0), answer variable i, (B, outputs)."""
        if coded is not None:
            cache.hidden.add_(coded @ self.first[i - 1])
        return torch.sigmoid(cache.hidden) @ self.last[i] + self.offset[i]
