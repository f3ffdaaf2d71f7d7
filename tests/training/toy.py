"""A small trainable model whose loss uses noise and dropout, so that a wrong random state shows in its weights."""

import torch
from torch import nn

from creo import registry
from creo.model import GenerativeModel, Likelihood, Player, Terms, TrainingDefaults


class Denoiser(GenerativeModel):
    """Learns to undo noise; what it samples is only noise."""

    likelihood = Likelihood.NONE

    def __init__(self, space, condition=None, hidden=16, bomb=0):
        super().__init__(space, condition)
        self.net = nn.Sequential(
            nn.Linear(space.dims, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, space.dims)
        )
        self.register_buffer("scale", torch.ones(space.dims))
        self.bomb, self.calls = bomb, 0

    @classmethod
    def for_space(cls, space, condition=None, *, hidden: int = 16):
        return cls(space, condition, hidden)

    def initialise(self, x, c=None, report=None):
        self.scale.copy_(x.flatten(1).float().std(0).clamp(min=1.0))

    def training_defaults(self):
        return TrainingDefaults(batch_size=32, warmup=10, ema=0.95, weight_decay=0.01)

    def loss(self, x, c=None):
        x = x.flatten(1).float() / self.scale
        error = (self.net(x + torch.randn_like(x)) - x).square().mean()
        if self.training:
            self.calls += 1
        if self.bomb and self.calls >= self.bomb:
            error = error * float("nan")
        return Terms(error, {"squared": error.detach()})

    def sample(self, n, c=None):
        return torch.randint(0, 2, (n, *self.space.shape)).to(self.space.dtype)


class Duel(Denoiser):
    """Two players: one lowers, the other raises, the same quadratic saddle x y + (x^2 - y^2) / 4."""

    def __init__(self, space, condition=None):
        GenerativeModel.__init__(self, space, condition)
        self.a = nn.Parameter(torch.tensor(1.0))
        self.b = nn.Parameter(torch.tensor(-1.0))

    @classmethod
    def for_space(cls, space, condition=None):
        return cls(space, condition)

    def initialise(self, x, c=None, report=None):
        pass

    def value(self):
        return self.a * self.b + (self.a**2 - self.b**2) / 4

    def players(self):
        return [
            Player("min", [self.a], lambda x, c: Terms(self.value()), optimiser={"lr": 0.05}),
            Player("max", [self.b], lambda x, c: Terms(-self.value()), steps=2, optimiser={"lr": 0.05}),
        ]


def register():
    """Put the toys into this process's registry (once)."""
    known = registry.models()
    for name in ("Denoiser", "Duel"):
        if name.lower() not in known:
            promise = {"Continuous": "none", "Ordinal": "none"}
            registry.register(
                registry.Model(name.lower(), f"{__name__}:{name}", promise, (), "", "", "a toy")
            )
