r"""Paths from data to noise: x_t = alpha_t x_0 + sigma_t z,  z ~ N(0, I),  t in [0, 1], data at 0, noise at 1.

A path is two functions of time. Everything else follows from them and their derivatives:

    log-SNR              lambda_t = log(alpha_t^2 / sigma_t^2), falling in t
    velocity             dx_t/dt  = alpha'_t x_0 + sigma'_t z
    drift                f_t      = alpha'_t / alpha_t
    squared diffusion    g_t^2    = 2 sigma_t sigma'_t - 2 f_t sigma_t^2 = -sigma_t^2 lambda'_t
    forward SDE          dx = f_t x dt + g_t dw
    reverse SDE          dx = (f_t x - g_t^2 score_t(x)) dt + g_t dw'
    probability flow     dx = (f_t x - g_t^2 score_t(x) / 2) dt

| path                       | alpha                   | sigma                                  | of            |
|----------------------------|-------------------------|----------------------------------------|---------------|
| `VP(b0, b1)`               | exp(-B/2)               | sqrt(1 - exp(-B)), B = b0 t + (b1-b0) t^2/2 | Song 2021 |
| `SubVP(b0, b1)`            | exp(-B/2)               | 1 - exp(-B)                            | Song 2021     |
| `SteppedVP(betas)`         | prod sqrt(1 - beta_i)   | sqrt(1 - alpha^2), at t = i/T          | Ho 2020       |
| `Cosine(s)`                | cos(a)/cos(a_0), a = (t+s)/(1+s) pi/2 | sqrt(1 - alpha^2)        | Nichol 2021   |
| `VE(low, high)`            | 1                       | low (high/low)^t                       | Song 2021     |
| `EDM(low, high, rho)`      | 1                       | (low^(1/rho) + t (high^(1/rho) - low^(1/rho)))^rho | Karras |
| `Linear()`                 | 1 - t                   | t                                      | Liu, Lipman 2023 |
| `Trigonometric()`          | cos(pi t/2)             | sin(pi t/2)                            | Albergo 2023  |

`t_min` and `t_max` bound the times that are trained and integrated, because lambda is infinite at the ends.
Times are floating tensors of any shape; compute in float64 where accuracy matters.

Sources: Ho, Jain, Abbeel 2020, https://arxiv.org/abs/2006.11239; Song et al. 2021, https://arxiv.org/abs/2011.13456;
Nichol, Dhariwal 2021, https://arxiv.org/abs/2102.09672; Karras et al. 2022, https://arxiv.org/abs/2206.00364; Liu,
Gong, Liu 2023, https://arxiv.org/abs/2209.03003; Lipman et al. 2023, https://arxiv.org/abs/2210.02747; Albergo,
Vanden-Eijnden 2023, https://arxiv.org/abs/2209.15571.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.errors import OptionError


class Path(ABC):
    """A subclass gives `__call__`, `derivatives` and `time`; the rest is derived, as in the module docstring."""

    t_min: ClassVar[float] = 1e-3
    t_max: ClassVar[float] = 1.0

    @abstractmethod
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of t's shape."""

    @abstractmethod
    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha'_t, sigma'_t)."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which the log-SNR is lambda: the inverse of `log_snr`."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda_t = 2 log(alpha_t / sigma_t)."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def log_snr_slope(self, t: Tensor) -> Tensor:
        """lambda'_t, negative."""
        (alpha, sigma), (d_alpha, d_sigma) = self(t), self.derivatives(t)
        return 2 * (d_alpha / alpha - d_sigma / sigma)

    def drift(self, t: Tensor) -> Tensor:
        """f_t of the forward SDE."""
        return self.derivatives(t)[0] / self(t)[0]

    def diffusion2(self, t: Tensor) -> Tensor:
        """g_t^2 of the forward SDE."""
        return -self(t)[1].square() * self.log_snr_slope(t)

    def perturb(self, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """x_t of data x0 (B, *) and noise z (B, *) at times t (B,)."""
        alpha, sigma = (columns(a, x0) for a in self(t))
        return alpha * x0 + sigma * z


def columns(t: Tensor, like: Tensor) -> Tensor:
    """One number per example (B,), shaped and typed to multiply a batch (B, *); a scalar stays one."""
    return t.reshape(t.shape + (1,) * (like.ndim - 1 if t.ndim else 0)).to(like.dtype)


class _Decay(Path):
    """Paths with alpha = exp(-B(t)/2); a subclass gives B, beta = B' and B's inverse."""

    t_min: ClassVar[float] = 1e-4

    def integral(self, t: Tensor) -> Tensor:
        """B(t)."""
        raise NotImplementedError

    def rate(self, t: Tensor) -> Tensor:
        """beta(t) = B'(t)."""
        raise NotImplementedError

    def when(self, integral: Tensor) -> Tensor:
        """The time at which B has this value."""
        raise NotImplementedError

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        b = self.integral(t)
        return (-b / 2).exp(), (-torch.expm1(-b)).sqrt()

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (alpha, sigma), beta = self(t), self.rate(t)
        return -beta * alpha / 2, beta * alpha.square() / (2 * sigma)

    def time(self, log_snr: Tensor) -> Tensor:
        return self.when(F.softplus(-log_snr, threshold=1e3))  # 1/SNR = e^B - 1


@dataclass(frozen=True)
class VP(_Decay):
    """Variance preserving with beta rising linearly from `low` to `high` (rates per unit of time)."""

    low: float = 0.1
    high: float = 20.0

    def integral(self, t: Tensor) -> Tensor:
        return self.low * t + (self.high - self.low) * t.square() / 2

    def rate(self, t: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * t

    def when(self, integral: Tensor) -> Tensor:
        return 2 * integral / (self.low + (self.low**2 + 2 * (self.high - self.low) * integral).sqrt())


@dataclass(frozen=True)
class SubVP(VP):
    """Same mean as `VP` with less noise on the way: sigma = 1 - exp(-B)."""

    t_min: ClassVar[float] = 1e-3

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        b = self.integral(t)
        return (-b / 2).exp(), -torch.expm1(-b)

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta = self(t)[0], self.rate(t)
        return -beta * alpha / 2, beta * alpha.square()

    def time(self, log_snr: Tensor) -> Tensor:
        return self.when(2 * torch.asinh((-log_snr / 2).exp() / 2))  # 1/SNR = (2 sinh(B/2))^2


class SteppedVP(_Decay):
    """T published steps x_i = sqrt(1 - beta_i) x_{i-1} + sqrt(beta_i) z, at times t = i/T; B is linear between them.

    Args:
        betas: beta_1 .. beta_T, each in (0, 1); see `linear_betas`, `cosine_betas`.

    Raises:
        OptionError: for other values.
    """

    def __init__(self, betas: Sequence[float] | Tensor) -> None:
        b = torch.as_tensor(betas, dtype=torch.float64)
        if b.ndim != 1 or not len(b) or not bool(((b > 0) & (b < 1)).all()):
            raise OptionError(f"betas must be numbers in (0, 1); received {betas}")
        self.betas, self.steps = b, len(b)
        self.table = torch.cat([b.new_zeros(1), -torch.log1p(-b).cumsum(0)])
        self.t_min = 1 / self.steps  # type: ignore[misc]

    def times(self) -> Tensor:
        """The times 1/T, ..., 1 of the T steps, (T,) float64."""
        return torch.arange(1, self.steps + 1, dtype=torch.float64) / self.steps

    def _segment(self, t: Tensor) -> Tensor:
        # A time within rounding of i/T belongs to the step that ends there.
        return (t * self.steps - 1e-4).floor().long().clamp(0, self.steps - 1)

    def integral(self, t: Tensor) -> Tensor:
        i, table = self._segment(t), self.table.to(t.device)
        return (table[i] + (table[i + 1] - table[i]) * (t.double() * self.steps - i)).to(t.dtype)

    def rate(self, t: Tensor) -> Tensor:
        i, table = self._segment(t), self.table.to(t.device)
        return ((table[i + 1] - table[i]) * self.steps).to(t.dtype)

    def when(self, integral: Tensor) -> Tensor:
        table, b = self.table.to(integral.device), integral.double().contiguous()
        i = (torch.searchsorted(table, b) - 1).clamp(0, self.steps - 1)
        return ((i + (b - table[i]) / (table[i + 1] - table[i])) / self.steps).to(integral.dtype)


def linear_betas(steps: int = 1000, low: float = 0.1, high: float = 20.0) -> Tensor:
    """beta_1 .. beta_T, linear from low/T to high/T: DDPM's 1e-4 .. 0.02 at T = 1000; `VP(low, high)` in the limit."""
    return torch.linspace(low / steps, high / steps, steps, dtype=torch.float64)


def cosine_betas(steps: int = 1000, s: float = 0.008, most: float = 0.999) -> Tensor:
    """beta_i = 1 - alpha^2(i/T) / alpha^2((i-1)/T) of the `Cosine` path, at most `most` (Nichol, Dhariwal, eq. 17)."""
    alpha2 = Cosine(s)(torch.linspace(0, 1, steps + 1, dtype=torch.float64))[0].square()
    return (1 - alpha2[1:] / alpha2[:-1]).clamp(max=most)


@dataclass(frozen=True)
class Cosine(Path):
    """alpha falls like a cosine that starts at the offset `s`; sigma is written without cancellation."""

    s: float = 0.008
    t_max: ClassVar[float] = 0.999

    def _angles(self, t: Tensor) -> tuple[Tensor, float]:
        return (t + self.s) / (1 + self.s) * (math.pi / 2), self.s / (1 + self.s) * (math.pi / 2)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, a0 = self._angles(t)
        sigma2 = (a - a0).sin() * (a + a0).sin()
        return a.cos() / math.cos(a0), sigma2.clamp(min=0).sqrt() / math.cos(a0)

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (alpha, sigma), (a, a0) = self(t), self._angles(t)
        d_alpha = -a.sin() / math.cos(a0) * (math.pi / 2) / (1 + self.s)
        return d_alpha, -alpha * d_alpha / sigma

    def time(self, log_snr: Tensor) -> Tensor:
        a0 = self._angles(log_snr)[1]
        a = (torch.sigmoid(log_snr).sqrt() * math.cos(a0)).acos()
        return a / (math.pi / 2) * (1 + self.s) - self.s


def _require_levels(low: float, high: float) -> None:
    if not 0 < low < high:
        raise OptionError(f"noise levels need 0 < low < high; received low={low}, high={high}")


@dataclass(frozen=True)
class VE(Path):
    """Variance exploding: noise levels `low` to `high`, equally spaced in their logarithm."""

    low: float = 0.01
    high: float = 50.0
    t_min: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        _require_levels(self.low, self.high)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.low * (self.high / self.low) ** t

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), self(t)[1] * math.log(self.high / self.low)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr / 2 - math.log(self.low)) / math.log(self.high / self.low)


@dataclass(frozen=True)
class EDM(Path):
    """Noise levels `low` to `high`, equally spaced in their `rho`-th root."""

    low: float = 0.002
    high: float = 80.0
    rho: float = 7.0
    t_min: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        _require_levels(self.low, self.high)

    def _root(self, t: Tensor) -> tuple[Tensor, float]:
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        return low + t * (high - low), high - low

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self._root(t)[0] ** self.rho

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        root, slope = self._root(t)
        return torch.zeros_like(t), self.rho * slope * root ** (self.rho - 1)

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = self.low ** (1 / self.rho), self.high ** (1 / self.rho)
        return ((-log_snr / (2 * self.rho)).exp() - low) / (high - low)


@dataclass(frozen=True)
class Linear(Path):
    """Straight lines from data to noise: rectified flow, conditional optimal transport."""

    t_max: ClassVar[float] = 0.999

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)


@dataclass(frozen=True)
class Trigonometric(Path):
    """A quarter circle: variance preserving with constant speed."""

    t_max: ClassVar[float] = 0.999

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return (t * (math.pi / 2)).cos(), (t * (math.pi / 2)).sin()

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self(t)
        return -sigma * (math.pi / 2), alpha * (math.pi / 2)

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr / 2).exp().atan() / (math.pi / 2)
