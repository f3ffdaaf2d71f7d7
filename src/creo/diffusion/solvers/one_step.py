r"""Solvers without a memory: DDIM(eta), DDPM's ancestral sampling, Heun.

    q(x' | x, x_0) = N(alpha' x_0 + sqrt(sigma'^2 - s^2) z, s^2),   s^2 = sigma'^2 (1 - SNR / SNR'),

with x' the less noisy neighbour of x, and z the noise that x and x_0 imply. The ancestral step draws from it at the
denoised x_0; DDIM(eta) scales s by eta. Both take any strides of time.

Sources: Ho et al. 2020, https://arxiv.org/abs/2006.11239; Song, Meng, Ermon 2021, https://arxiv.org/abs/2010.02502;
Heun: Karras et al. 2022, https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from creo.diffusion.solvers.solver import Denoiser, Node, Noise, Solver
from creo.errors import OptionError


def posterior_std(here: Node, there: Node) -> float:
    """s: standard deviation of q(x_there | x_here, x_0): sigma_there sqrt(1 - SNR_here / SNR_there)."""
    ratio = here.alpha * there.sigma / (there.alpha * here.sigma)
    return there.sigma * float(np.sqrt(1 - ratio**2))


@dataclass(frozen=True)
class DDIM(Solver):
    """x' = alpha' x_0 + sqrt(sigma'^2 - std^2) z + std noise, std = eta times that of q(x' | x, x_0).

    Args:
        eta: 0 is deterministic, 1 is DDPM's ancestral sampling with the smaller variance.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise OptionError(f"eta must be in [0, 1]; received {self.eta}")

    def step(
        self, denoise: Denoiser, x: Tensor, plan: tuple[Node, Node], history: deque[Tensor], noise: Noise
    ) -> Tensor:
        here, there = plan
        x0, std = here.call(denoise, x), self.eta * posterior_std(here, there)
        mean = there.alpha * x0 + (there.sigma**2 - std**2) ** 0.5 * here.noise(x, x0)
        return mean + std * noise(x) if std else mean


@dataclass(frozen=True)
class Ancestral(Solver):
    """DDPM's reverse chain, strided by the grid: the mean of q(x' | x, x_0) at the denoised x_0, and noise.

    Args:
        large: variance of q(x | x') (beta_t in DDPM) instead of that of q(x' | x, x_0) (its "beta tilde").
    """

    large: bool = False

    def step(
        self, denoise: Denoiser, x: Tensor, plan: tuple[Node, Node], history: deque[Tensor], noise: Noise
    ) -> Tensor:
        here, there = plan
        x0, small = here.call(denoise, x), posterior_std(here, there)
        mean = there.alpha * x0 + (there.sigma**2 - small**2) ** 0.5 * here.noise(x, x0)
        std = small * here.sigma / there.sigma if self.large else small
        return mean + std * noise(x)


class Heun(Solver):
    """Second order in y = x / alpha over sigma / alpha, as of EDM; two network calls a step."""

    def step(
        self, denoise: Denoiser, x: Tensor, plan: tuple[Node, Node], history: deque[Tensor], noise: Noise
    ) -> Tensor:
        here, there = plan
        first = here.noise(x, here.call(denoise, x))
        step = there.sigma / there.alpha - here.sigma / here.alpha
        ahead = there.alpha * (x / here.alpha + step * first)
        second = there.noise(ahead, there.call(denoise, ahead))
        return there.alpha * (x / here.alpha + step / 2 * (first + second))
