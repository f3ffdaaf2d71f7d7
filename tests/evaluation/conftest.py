"""Models whose every number is known in closed form, and data to evaluate them on."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from creo.data.dataset import Data, Split
from creo.model import GenerativeModel, Likelihood, Player, seeded
from creo.spaces import Continuous, Ordinal


class Normal(GenerativeModel):
    """N(mean, scale^2 I) on Continuous((2,))."""

    def __init__(self, mean=0.0, scale=1.0, space=None):
        super().__init__(space or Continuous((2,)))
        self.mean, self.scale = mean, scale

    def log_prob(self, x, c=None):
        normal = torch.distributions.Normal(self.mean, self.scale)
        return normal.log_prob(x).sum(1)

    def sample(self, n, c=None):
        return self.mean + self.scale * torch.randn(n, 2)


class Noisy(Normal):
    """A lower bound: the truth minus an exponential variable with mean 1."""

    likelihood = Likelihood.BOUND
    likelihood_note = "one sample"

    def log_prob(self, x, c=None):
        return super().log_prob(x) + torch.rand(len(x)).log()


class Silent(Normal):
    """Samples, but no density."""

    likelihood = Likelihood.NONE
    no_likelihood = "it only samples"


class Broken(Normal):
    """Its samples are not numbers."""

    def sample(self, n, c=None):
        return torch.full((n, 2), math.nan)


class Copier(Silent):
    """Returns what it was given."""

    def __init__(self, train):
        super().__init__()
        self.register_buffer("train_set", train)

    def sample(self, n, c=None):
        return self.train_set[torch.randint(len(self.train_set), (n,))]


class Coin(GenerativeModel):
    """Independent pixels, logits learned by gradient: an exact model that trains in a blink."""

    def __init__(self, space, poison=False):
        super().__init__(space)
        self.logits = nn.Parameter(torch.randn(space.dims, space.levels))
        self.poison = poison

    @classmethod
    def for_space(cls, space, condition=None, *, poison: bool = False):
        return cls(space, poison)

    def players(self):
        return [Player("model", [self.logits], self.loss)]

    def log_prob(self, x, c=None):
        logits = self.logits.log_softmax(1).expand(len(x), -1, -1)
        terms = logits.gather(2, x.flatten(1).long()[..., None])[..., 0].sum(1)
        return terms * math.nan if self.poison else terms

    def sample(self, n, c=None):
        drawn = torch.distributions.Categorical(logits=self.logits).sample((n,))
        return drawn.reshape(n, *self.space.shape).to(self.space.dtype)


@pytest.fixture(scope="session")
def toys():
    """The classes above."""
    return SimpleNamespace(Normal=Normal, Noisy=Noisy, Silent=Silent, Broken=Broken, Copier=Copier, Coin=Coin)


@pytest.fixture(scope="session")
def plane():
    """Standard normal data in the plane, with its density."""
    with seeded(0):
        train, valid, test = (Split(torch.randn(n, 2)) for n in (600, 100, 400))
    density = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    return Data("normal", Continuous((2,)), train, valid, test, density=density)


@pytest.fixture(scope="session")
def pictures():
    """3 x 3 pictures in 4 grey levels, brighter to the right."""
    with seeded(1):
        rate = torch.tensor([0.1, 0.5, 0.9]).expand(1, 3, 3)
        splits = [
            Split(torch.distributions.Binomial(3, rate).sample((n,)).to(torch.uint8)) for n in (300, 80, 80)
        ]
    return Data("bright", Ordinal((1, 3, 3), 4), *splits)
