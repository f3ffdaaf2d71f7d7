r"""The model to beat on counting spaces: every dimension on its own, as a histogram.

    p(x) = prod_d (N_d(x_d) + 1) / (N + K)

with N_d(k) how often dimension d had value k among N training examples and K the number of values (Laplace's rule).
It knows how often each pixel has each grey value and nothing of how pixels go together; a model that does not beat
it has learned no dependence at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from creo.errors import SpaceError
from creo.model import GenerativeModel, Likelihood, Report
from creo.spaces import Categories, Ordinal, Space, Tokens

NAME = "independent histogram"
_SIZES: dict[type[Space], Callable[..., int]] = {
    Ordinal: lambda space: space.levels,
    Tokens: lambda space: space.size,
    Categories: lambda space: space.size,
}


class IndependentHistogram(GenerativeModel):
    """A product of one smoothed histogram per dimension; exact, and fitted by counting.

    Args:
        space: Ordinal, Tokens or Categories.
    """

    likelihood = Likelihood.EXACT
    logits: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        if type(space) not in _SIZES:
            raise SpaceError(f"histograms are for counting spaces; received {space}")
        self.size = _SIZES[type(space)](space)
        self.register_buffer("logits", torch.zeros(space.dims, self.size))

    @classmethod
    def for_space(cls, space: Space, condition: Space | None = None) -> Self:
        return cls(space)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Count."""
        self.space.check(x)
        counts = torch.ones(self.space.dims, self.size)
        for part in x.reshape(len(x), -1).long().split(4096):
            counts += one_hot(part, self.size).sum(0)
        self.logits = (counts / (len(x) + self.size)).log()

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        flat = x.reshape(len(x), -1).long()
        return self.logits.expand(len(x), -1, -1).gather(2, flat[..., None])[..., 0].sum(1)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        self.expand_condition(n, c)
        drawn = torch.distributions.Categorical(logits=self.logits).sample((n,))
        return drawn.reshape(n, *self.space.shape).to(self.space.dtype)


def has_baseline(space: Space) -> bool:
    """Whether `IndependentHistogram` models this space."""
    return type(space) in _SIZES
