r"""The denoising objective: when (time density), how much (loss weight) and what (prediction) are separate choices.

    L = E_{x_0, z, t ~ density}  w(t) mean_d (output(x_t, t) - (a x_0 + b z))^2

It is conditional flow matching where the prediction is the velocity, denoising score matching where it is the score. At
fixed x_t all outputs' errors are multiples of each other (det: see `creo.diffusion.predictions`),

    output error = det / alpha * noise error,         noise error = -alpha/sigma * data error,

so a weight stated for one is converted to the network's own output. With uniform times on [t_min, t_max], or uniform
log-SNR, `likelihood` makes D L the variational bound's diffusion term in nats (Kingma et al. 2021).

| weight       | on the noise error                              | of                                       |
|--------------|-------------------------------------------------|------------------------------------------|
| `output`     | whatever makes it 1 on the output               | flow matching                            |
| `simple`     | 1                                               | Ho et al. 2020                           |
| `likelihood` | -lambda'/2 / density                            | Song et al. 2021, Kingma et al. 2021     |
| `min-snr`    | min(SNR, 5) / SNR                               | Hang et al. 2023                         |
| `edm`        | (alpha^2 + sigma^2) / alpha^2                   | Karras et al. 2022 (1 on F)              |
| `p2`         | 1 / (1 + SNR)                                   | Choi et al. 2022                         |

Sources: https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/2107.00630, https://arxiv.org/abs/2303.09556,
https://arxiv.org/abs/2206.00364, https://arxiv.org/abs/2204.00227; times: logit-normal: Esser et al. 2024,
https://arxiv.org/abs/2403.03206; low discrepancy: Kingma et al. 2021; those of large losses: `creo.diffusion.history`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.predictions import Prediction
from creo.errors import OptionError


class TimeDensity(ABC):
    """Which times are trained how often, as a map of uniform numbers."""

    @abstractmethod
    def __call__(self, path: Path, u: Tensor) -> Tensor:
        """Times of uniform u in [0, 1), of u's shape, in [t_min, t_max]."""

    def density(self, path: Path, t: Tensor) -> Tensor:
        """p(t) per unit of time, where it has a closed form.

        Raises:
            OptionError: where it has none.
        """
        raise OptionError(
            f"{type(self).__name__} has no closed-form density: take Uniform or UniformLogSNR times"
        )

    def correction(self, path: Path, t: Tensor) -> Tensor:
        """What losses at times t (B,) are multiplied with: 1, unless the density is only there to lower their noise."""
        return torch.ones_like(t)

    def observe(self, path: Path, t: Tensor, loss: Tensor) -> None:  # noqa: B027  # most learn nothing
        """Told the losses (B,) at times t (B,), before correction: nothing, unless the density learns from them."""


@dataclass(frozen=True)
class Uniform(TimeDensity):
    """All times of the path's range alike."""

    def __call__(self, path: Path, u: Tensor) -> Tensor:
        return path.t_min + u * (path.t_max - path.t_min)

    def density(self, path: Path, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 / (path.t_max - path.t_min))


@dataclass(frozen=True)
class UniformLogSNR(TimeDensity):
    """All log-SNRs alike: importance sampling of the variational bound."""

    @staticmethod
    def _ends(path: Path, like: Tensor) -> Tensor:
        return path.log_snr(torch.tensor([path.t_min, path.t_max], dtype=like.dtype, device=like.device))

    def __call__(self, path: Path, u: Tensor) -> Tensor:
        high, low = self._ends(path, u)
        return path.time(high + u * (low - high)).clamp(path.t_min, path.t_max)

    def density(self, path: Path, t: Tensor) -> Tensor:
        high, low = self._ends(path, t)
        return -path.log_snr_slope(t) / (high - low)


@dataclass(frozen=True)
class LogNormal(TimeDensity):
    """log(sigma/alpha) ~ N(mean, std^2)."""

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, path: Path, u: Tensor) -> Tensor:
        log_ratio = self.mean + self.std * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
        return path.time(-2 * log_ratio).clamp(path.t_min, path.t_max)


@dataclass(frozen=True)
class LogitNormal(TimeDensity):
    """logit t ~ N(mean, std^2)."""

    mean: float = 0.0
    std: float = 1.0

    def __call__(self, path: Path, u: Tensor) -> Tensor:
        t = torch.sigmoid(self.mean + self.std * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)))
        return t.clamp(path.t_min, path.t_max)


@dataclass(frozen=True)
class Levels(TimeDensity):
    """`count` equally spaced times, the two ends included."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise OptionError(f"at least 2 levels of noise; received {self.count}")

    def __call__(self, path: Path, u: Tensor) -> Tensor:
        step = (u * self.count).floor().clamp(max=self.count - 1) / (self.count - 1)
        return path.t_min + step * (path.t_max - path.t_min)


def stratified(n: int, like: Tensor) -> Tensor:
    """n numbers of [0, 1), one in each n-th of it, in random order: each uniform, together of low discrepancy."""
    u = (torch.arange(n, device=like.device) + torch.rand(n, device=like.device, dtype=torch.float64)) / n
    return u[torch.randperm(n, device=like.device)]


Weight = Callable[[Path, TimeDensity, Tensor], Tensor]
WeightName = Literal["output", "simple", "likelihood", "min-snr", "edm", "p2"]

#: Weights on the squared noise error; `output` is not one (its weight depends on the prediction).
WEIGHTS: Mapping[str, Weight] = {
    "simple": lambda path, density, t: torch.ones_like(t),
    "likelihood": lambda path, density, t: -path.log_snr_slope(t) / 2 / density.density(path, t),
    "min-snr": lambda path, density, t: (5 / path.log_snr(t).exp()).clamp(max=1),
    "edm": lambda path, density, t: 1 + (-path.log_snr(t)).exp(),
    "p2": lambda path, density, t: 1 / (1 + path.log_snr(t).exp()),
}


@dataclass(frozen=True)
class Objective:
    """The objective of the module docstring.

    Args:
        prediction: what the network's output is.
        density: of the times.
        weight: name of the loss weight.
    """

    prediction: Prediction
    density: TimeDensity
    weight: WeightName = "simple"

    def output_weight(self, path: Path, t: Tensor) -> Tensor:
        """The weight on the output's squared error at times t, (B,), the density's correction included."""
        if self.weight == "output":
            return self.density.correction(path, t)
        ratio = path(t)[0] / self.prediction.determinant(path, t)
        weight = WEIGHTS[self.weight](path, self.density, t) * ratio.square()
        return weight if self.weight == "likelihood" else weight * self.density.correction(path, t)

    def __call__(
        self, network: Callable[[Tensor, Tensor], Tensor], path: Path, x0: Tensor, z: Tensor
    ) -> Tensor:
        """Weighted squared errors, one per example and averaged over dimensions, (B,).

        Args:
            network: (x_t (B, *), t (B,) float64) to outputs (B, *).
            path: of the noising.
            x0: clean data, (B, *).
            z: noise paired with it, (B, *).
        """
        t = self.density(path, stratified(len(x0), x0))
        error = network(path.perturb(x0, z, t), t) - self.prediction.target(path, t, x0, z)
        loss = self.output_weight(path, t).to(error.dtype) * error.square().flatten(1).mean(1)
        self.density.observe(path, t, loss.detach() / self.density.correction(path, t))
        return loss
