r"""The variational bound of a chain with T steps, with its exact divergences, in nats.

For times t_1 < ... < t_T, the reverse chain p(x_{i-1} | x_i) = N(mu(x_0-hat), v_i) with mu the mean of
q(x_{i-1} | x_i, x_0) gives

    -log p(x_0) <=  KL(q(x_T | x_0) | N(0, alpha_T^2 + sigma_T^2))                          prior
                  + sum_{i=2..T} E KL(q(x_{i-1} | x_i, x_0) | p(x_{i-1} | x_i))             steps
                  - E log p(x_0 | x_1)                                                      reconstruction

    KL_i = D/2 (b_i/v_i - 1 + log(v_i/b_i)) + g_i^2/(2 v_i) |x_0 - x_0-hat(x_i)|^2,
    b_i  = sigma_{i-1}^2 (1 - SNR_i/SNR_{i-1}),     g_i = alpha_{i-1} (1 - SNR_i/SNR_{i-1}).

`small` takes v_i = b_i, so that only the second term is left; `large` takes beta_i = b_i sigma_i^2/sigma_{i-1}^2; other
variances are given as numbers, one per step, or as a function of x_i, entry by entry (learned ones). x_i is drawn from
q(x_i | x_0) for every i: the value is an unbiased estimate of the bound.

Sources: Sohl-Dickstein et al. 2015, https://arxiv.org/abs/1503.03585; Ho, Jain, Abbeel 2020 (eq. 5 to 13),
https://arxiv.org/abs/2006.11239; Kingma et al. 2021, https://arxiv.org/abs/2107.00630.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.solvers import Denoiser, Node, nodes
from creo.diffusion.solvers.one_step import posterior_std
from creo.errors import OptionError

#: log p(x_0 | x_1) of (denoised x_0 (B, ...), standard deviation of x_0 given x_1), (B,) nats.
Reconstruction = Callable[[Tensor, float], Tensor]
#: (x_i (B, ...), node i, node i - 1) to variances (B, ...).
VarianceOf = Callable[[Tensor, Node, Node], Tensor]
Variance = Literal["small", "large"] | Tensor | VarianceOf


@dataclass(frozen=True)
class Bound:
    """The parts of a negative bound, nats: `prior` and `reconstruction` (B,), `steps` (T - 1, B), noisiest first."""

    prior: Tensor
    steps: Tensor
    reconstruction: Tensor

    @property
    def log_prob(self) -> Tensor:
        """The lower bound on log p(x_0), (B,)."""
        return -(self.prior + self.steps.sum(0) + self.reconstruction)


def gaussian_reconstruction(x0: Tensor) -> Reconstruction:
    """log N(x_0; x_0-hat, v) of continuous data x0 (B, ...)."""

    def log_prob(mean: Tensor, std: float) -> Tensor:
        z = (x0 - mean) / std
        return -(z.square() / 2 + math.log(std) + math.log(2 * math.pi) / 2).flatten(1).sum(1)

    return log_prob


def cell_reconstruction(low: Tensor, high: Tensor) -> Callable[[Tensor, float | Tensor], Tensor]:
    """log of N(x_0-hat, v)'s mass between low and high (B, ...), which are infinite at the first and last level."""

    def log_prob(mean: Tensor, std: float | Tensor) -> Tensor:
        a, b = (_standardised(edge, mean, std) for edge in (low, high))
        flip = a > -b  # the difference of two left tails keeps its digits
        a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
        upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        gap = (lower - upper).clamp(max=-1e-7)
        return (upper + torch.log(-torch.expm1(gap))).flatten(1).sum(1)

    return log_prob


def _standardised(edge: Tensor, mean: Tensor, std: float | Tensor) -> Tensor:
    """(edge - mean) / std, of infinite edges without a derivative (which would be 0 times infinity)."""
    infinite = edge.isinf()
    return torch.where(infinite, edge, (edge.masked_fill(infinite, 0) - mean) / std)


def variational_bound(
    denoise: Denoiser,
    path: Path,
    times: Tensor,
    x0: Tensor,
    reconstruction: Reconstruction,
    *,
    variance: Variance = "small",
    last: float | None = None,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Bound:
    """The bound of the module docstring.

    Args:
        denoise: (x (B, *), t ()) to E[x_0 | x_t = x].
        path: of the noising.
        times: t_T, ..., t_1, falling, at least two.
        x0: clean data in the units of the diffusion, (B, *).
        reconstruction: of the data; its deviation is `last`.
        variance: of the reverse steps: small, large, v_T .. v_2 as a tensor (T - 1,), or a function of x.
        last: standard deviation of x_0 given x_1; if not given, sigma_1 / alpha_1, the noise that is left.
        noise: draws standard normal noise like its argument.

    Raises:
        OptionError: if there are not as many variances as steps.
    """
    grid = nodes(path, times)
    if isinstance(variance, Tensor) and len(variance) != len(grid) - 1:
        raise OptionError(f"{len(grid)} times need {len(grid) - 1} variances; received {len(variance)}")
    steps = []
    for i, (here, there) in enumerate(pairwise(grid)):
        x = here.alpha * x0 + here.sigma * noise(x0)
        small, v = posterior_std(here, there) ** 2, _variance(variance, i, x, here, there)
        divergence = step_divergence(x0 - here.call(denoise, x), small, v, there.alpha / there.sigma**2)
        steps.append(divergence.flatten(1).sum(1))
    first = grid[-1]
    denoised = first.call(denoise, first.alpha * x0 + first.sigma * noise(x0))
    rest = -reconstruction(denoised, first.sigma / first.alpha if last is None else last)
    return Bound(_prior(grid[0].alpha, grid[0].sigma, x0), torch.stack(steps), rest)


def step_divergence(error: Tensor, small: float | Tensor, v: float | Tensor, gain: float | Tensor) -> Tensor:
    """KL of a step, entry by entry, in nats.

    Args:
        error: x_0 - x_0-hat, (B, *).
        small: b, the variance of q(x_{i-1} | x_i, x_0).
        v: that of the reverse step.
        gain: g / b = alpha_{i-1} / sigma_{i-1}^2.
    """
    ratio = torch.as_tensor(small / v, dtype=error.dtype, device=error.device)
    return (ratio - 1 - ratio.log()) / 2 + (gain * small) ** 2 / (2 * v) * error.square()


def _variance(variance: Variance, i: int, x: Tensor, here: Node, there: Node) -> float | Tensor:
    """v of the i-th step."""
    if isinstance(variance, Tensor):
        return float(variance[i])
    if callable(variance):
        return variance(x, here, there)
    small = posterior_std(here, there) ** 2
    return small * (here.sigma / there.sigma) ** 2 if variance == "large" else small


def _prior(alpha: float, sigma: float, x0: Tensor) -> Tensor:
    """KL(N(alpha x_0, sigma^2) | N(0, alpha^2 + sigma^2)), (B,)."""
    total = alpha**2 + sigma**2
    spread = sigma**2 / total - 1 - math.log(sigma**2 / total)
    return (x0.square() * (alpha**2 / total)).flatten(1).sum(1) / 2 + x0[0].numel() * spread / 2
