r"""What a top-down pass asks at every layer: a latent z_i, given the prior there and, where x is known, the posterior.

| chooser   | z_i                                    | keeps                                       |
|-----------|----------------------------------------|---------------------------------------------|
| `Chooser` | a draw from the prior                  | the latents                                 |
| `Infer`   | a draw from the posterior, or its mean | and rates KL(q || p), and log p - log q     |
| `Given`   | the next of latents that are known     | the latents                                 |

All of it for independent normal distributions of the entries of (B, *), in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from creo.errors import SpaceError

#: Log standard deviations stay within this, so that nothing overflows, however far out.
LOG_STD_LIMIT = 8.0


class Normal(NamedTuple):
    """Independent normal distributions of the entries of (B, *)."""

    mean: Tensor
    log_std: Tensor

    def sample(self) -> Tensor:
        """Draw, with a gradient."""
        return self.mean + self.log_std.exp() * torch.randn_like(self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) nats."""
        u = (z - self.mean) * (-self.log_std).exp()
        return (-0.5 * u.square() - self.log_std - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)

    def kl(self, other: Normal) -> Tensor:
        """KL(self || other), (B,) nats."""
        ratio = (2 * (self.log_std - other.log_std)).exp()
        shift = ((self.mean - other.mean) * (-other.log_std).exp()).square()
        return (0.5 * (ratio + shift - 1) + other.log_std - self.log_std).flatten(1).sum(1)


def normal(outputs: Tensor) -> Normal:
    """A normal distribution from a network's outputs (B, 2 d, *): means, then log standard deviations."""
    wide = outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
    mean, log_std = wide.chunk(2, 1)
    return Normal(mean, log_std.clamp(-LOG_STD_LIMIT, LOG_STD_LIMIT))


class Chooser:
    """Gives every layer its latent, and keeps what was given."""

    def __init__(self) -> None:
        self.latents: list[Tensor] = []

    def pick(self, p: Normal, q: Normal | None) -> Tensor:
        """The latent of the present layer: here a draw from the prior."""
        return p.sample()

    def __call__(self, p: Normal, q: Normal | None) -> Tensor:
        z = self.pick(p, q)
        self.latents.append(z)
        return z


class Infer(Chooser):
    """Draws from the posterior (or takes its mean) and keeps rates and log ratios log p - log q."""

    def __init__(self, *, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.rates: list[Tensor] = []
        self.log_ratio: Tensor | float = 0.0

    def pick(self, p: Normal, q: Normal | None) -> Tensor:
        if q is None:
            return super().pick(p, q)
        z = q.mean if self.mean else q.sample()
        self.rates.append(q.kl(p))
        self.log_ratio = self.log_ratio + p.log_prob(z) - q.log_prob(z)
        return z


class Given(Chooser):
    """Takes latents that are known, (B, total), layer by layer from the top."""

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.rest = z

    def pick(self, p: Normal, q: Normal | None) -> Tensor:
        size = p.mean[0].numel()
        if self.rest.shape[1] < size:
            raise SpaceError(
                f"latents (B, total) are too few: a layer needs {size}, {self.rest.shape[1]} are left"
            )
        mine, self.rest = self.rest[:, :size], self.rest[:, size:]
        return mine.reshape(len(mine), *p.mean.shape[1:])
