r"""Solvers that add noise: the reverse SDE, its correctors, EDM's churn, Langevin and its annealing.

Sources: Song et al. 2021, https://arxiv.org/abs/2011.13456 (Euler-Maruyama, predictor-corrector); Karras et al. 2022,
https://arxiv.org/abs/2206.00364 (churn); Song, Ermon 2019, https://arxiv.org/abs/1907.05600 (annealed Langevin).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.solvers.one_step import Heun
from creo.diffusion.solvers.solver import Denoiser, Node, Noise, Solver


@dataclass(frozen=True)
class Churn(Solver):
    """EDM's stochastic sampler: raise the noise level by a factor, then a step of Heun down to the next one.

    Args:
        churn: total amount; the level is raised by min(churn / steps, sqrt(2) - 1) of itself.
        noise: factor on the standard deviation of the noise added.
    """

    churn: float = 40.0
    noise: float = 1.003

    def prepare(self, path: Path, grid: Sequence[Node]) -> list[tuple[Node, Node, float, float]]:
        more = 1 + min(self.churn / (len(grid) - 1), 2**0.5 - 1)
        top = float(path.log_snr(torch.tensor(path.t_max, dtype=torch.float64)))
        return [self._plan(path, a, b, more, top) for a, b in pairwise(grid)]

    def _plan(
        self, path: Path, here: Node, there: Node, more: float, top: float
    ) -> tuple[Node, Node, float, float]:
        level = max(2 * float(np.log(here.alpha / here.sigma)) - 2 * float(np.log(more)), top)
        t = path.time(torch.tensor(level, dtype=torch.float64)).clamp(float(here.t), path.t_max)
        alpha, sigma = (float(k) for k in path(t))
        keep = alpha / here.alpha
        return Node(t, alpha, sigma), there, keep, max(sigma**2 - (keep * here.sigma) ** 2, 0.0) ** 0.5

    def step(self, denoise: Denoiser, x: Tensor, plan: Any, history: deque[Tensor], noise: Noise) -> Tensor:
        here, there, keep, std = plan
        x = keep * x + self.noise * std * noise(x)
        return Heun().step(denoise, x, (here, there), history, noise)


@dataclass(frozen=True)
class _SDE:
    here: Node
    there: Node
    dt: float
    drift: float
    g2: float


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """Euler's method on the reverse SDE, dx = (f x - g^2 score) dt + g dw'.

    Args:
        corrections: Langevin steps after every step (predictor-corrector).
        snr: their signal-to-noise ratio: step = 2 (snr sigma)^2. (Where |score| is as large as it is on average,
            sqrt(D) / sigma, this is 2 (snr |noise| / |score|)^2, without dependence on the rest of the batch.)
    """

    corrections: int = 0
    snr: float = 0.16

    def prepare(self, path: Path, grid: Sequence[Node]) -> list[_SDE]:
        t = torch.stack([n.t for n in grid])
        drift, g2 = path.drift(t).tolist(), path.diffusion2(t).tolist()
        pairs = zip(grid, grid[1:], drift, g2, strict=False)
        return [_SDE(a, b, float(a.t - b.t), f, g) for a, b, f, g in pairs]

    def step(self, denoise: Denoiser, x: Tensor, plan: _SDE, history: deque[Tensor], noise: Noise) -> Tensor:
        score = -plan.here.noise(x, plan.here.call(denoise, x)) / plan.here.sigma
        x = x - plan.dt * (plan.drift * x - plan.g2 * score)
        x = x + (plan.g2 * plan.dt) ** 0.5 * noise(x)
        for _ in range(self.corrections):
            x = _correct(denoise, x, plan.there, self.snr, noise)
        return x


def _correct(denoise: Denoiser, x: Tensor, at: Node, snr: float, noise: Noise) -> Tensor:
    step = 2 * (snr * at.sigma) ** 2
    return langevin(
        lambda y: -at.noise(y, at.call(denoise, y)) / at.sigma, x, step=step, steps=1, noise=noise
    )


def langevin(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    step: float,
    steps: int,
    noise: Noise = torch.randn_like,
) -> Tensor:
    """Unadjusted Langevin: x <- x + step score(x) + sqrt(2 step) noise, `steps` times.

    Args:
        score: gradient of the log-density, (B, *) to (B, *).
        x: where to start, (B, *).
        step: its bias is of this order.
        steps: how many.
        noise: draws standard normal noise like its argument.
    """
    for _ in range(steps):
        x = x + step * score(x) + (2 * step) ** 0.5 * noise(x)
    return x


@dataclass(frozen=True)
class AnnealedLangevin(Solver):
    """Langevin steps at every noise level of the grid, step size in proportion to sigma^2 (NCSN).

    Args:
        steps: at each level.
        size: step of a level, in units of sigma^2.
    """

    steps: int = 5
    size: float = 0.1

    def step(
        self, denoise: Denoiser, x: Tensor, plan: tuple[Node, Node], history: deque[Tensor], noise: Noise
    ) -> Tensor:
        here, there = plan
        x = x * (there.alpha / here.alpha)

        def score(y: Tensor) -> Tensor:
            return -there.noise(y, there.call(denoise, y)) / there.sigma

        return langevin(score, x, step=self.size * there.sigma**2, steps=self.steps, noise=noise)
