"""Models of another package, as the registry sees them: one that explodes, one that is interrupted."""

from __future__ import annotations

import signal
from typing import Self

import torch
from torch import Tensor, nn

from creo.model import GenerativeModel, Likelihood, Terms
from creo.spaces import Space


class Base(GenerativeModel):
    """A model of nothing with one weight."""

    likelihood = Likelihood.NONE

    def __init__(self, space: Space, condition: Space | None = None, *, at: int = 3) -> None:
        super().__init__(space, condition)
        self.weight, self.calls, self.at = nn.Parameter(torch.ones(())), 0, at

    @classmethod
    def for_space(cls, space: Space, condition: Space | None = None, *, at: int = 3, steps: int = 7) -> Self:
        """A model.

        Args:
            at: the call that is special.
            steps: a name that training has too.
        """
        return cls(space, condition, at=at)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        return torch.zeros(n, *self.space.shape, dtype=self.space.dtype)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        if self.training:
            self.calls += 1
            if self.calls == self.at:
                return self.special()
        return Terms(self.weight.square())

    def special(self) -> Terms:
        raise NotImplementedError


class Exploding(Base):
    """Its loss becomes NaN."""

    def special(self) -> Terms:
        return Terms(self.weight * float("nan"))


class Interrupted(Base):
    """Ctrl-C is pressed while it trains."""

    def special(self) -> Terms:
        signal.raise_signal(signal.SIGINT)
        return Terms(self.weight.square())
