r"""Stochastic interpolants: bridges between two distributions, and the flow and the diffusions that follow them.

    x_t = alpha_t x_0 + beta_t x_1 + gamma_t z,     (x_0, x_1) ~ a coupling,  z ~ N(0, I),
    alpha_0 = beta_1 = 1,  alpha_1 = beta_0 = gamma_0 = gamma_1 = 0.

The marginals p_t are carried, both ways, by

    flow         dx = b dt,                                      b = v + gamma' eta
    diffusions   dx = (b +- eps score) dt + sqrt(2 eps) dw       (+ for t rising, - for t falling), any eps(t) >= 0
    v = E[alpha' x_0 + beta' x_1 | x_t],   eta = E[z | x_t],   score = -eta / gamma,

and both expectations are regressions. With eps = kappa gamma the coefficients are smooth up to the ends, as they are
here in the clock t = 2 theta / pi, in which a Brownian bridge's deviation sqrt(s (1 - s)) is sin theta cos theta:

| interpolant          | alpha         | beta          | gamma                         | of                      |
|----------------------|---------------|---------------|-------------------------------|-------------------------|
| `Straight(noise)`    | cos^2 theta   | sin^2 theta   | noise sin theta cos theta     | lines; Brownian bridges |
| `Quarter(noise)`     | cos theta     | sin theta     | noise sin theta cos theta     | arcs                    |

`Straight(s)` on pairs from the entropic plan with regularisation 2 s^2 is the Schroedinger bridge whose reference is
Brownian motion of variance s^2 (Tong et al. 2024, prop. 3.4); its diffusion is eps = s gamma, at any other eps the
marginals are the same.

Sources: Albergo, Boffi, Vanden-Eijnden 2023, https://arxiv.org/abs/2303.08797; Tong et al. 2024,
https://arxiv.org/abs/2302.00482.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from creo.diffusion.solvers import multistep_coefficients
from creo.errors import OptionError

#: (alpha, beta, gamma) or their derivatives, each of t's shape.
Coefficients = tuple[Tensor, Tensor, Tensor]
#: (x (B, ...), t float) to how fast several quantities change with t.
Field = Callable[[tuple[Tensor, ...], float], tuple[Tensor, ...]]
ORDER = 4


@dataclass(frozen=True)
class Interpolant(ABC):
    """A subclass gives the mean's coefficients; gamma is noise sin(theta) cos(theta).

    Args:
        noise: of the bridge between its ends; 0 for none.

    Raises:
        OptionError: negative noise.
    """

    noise: float = 1.0

    def __post_init__(self) -> None:
        if self.noise < 0:
            raise OptionError(f"the noise of a bridge is at least 0; received {self.noise}")

    @abstractmethod
    def mean(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, beta)."""

    @abstractmethod
    def mean_slopes(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Their derivatives in theta."""

    def __call__(self, t: Tensor) -> Coefficients:
        """(alpha_t, beta_t, gamma_t)."""
        theta = t * (math.pi / 2)
        return *self.mean(theta), self.noise / 2 * (2 * theta).sin()

    def derivatives(self, t: Tensor) -> Coefficients:
        """(alpha'_t, beta'_t, gamma'_t)."""
        theta = t * (math.pi / 2)
        slopes = *self.mean_slopes(theta), self.noise * (2 * theta).cos()
        return tuple(s * (math.pi / 2) for s in slopes)  # type: ignore[return-value]


class Straight(Interpolant):
    """Straight lines between the ends."""

    def mean(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return theta.cos().square(), theta.sin().square()

    def mean_slopes(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return -(2 * theta).sin(), (2 * theta).sin()


class Quarter(Interpolant):
    """Quarters of ellipses around the origin."""

    def mean(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return theta.cos(), theta.sin()

    def mean_slopes(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return -theta.sin(), theta.cos()


def integrate(
    field: Field, state: tuple[Tensor, ...], *, start: float, end: float, steps: int
) -> tuple[Tensor, ...]:
    """Carry a state along a field from t = start to end by Adams' method, with short steps at both ends.

    Args:
        field: how fast each part of the state changes.
        state: tensors.
        start: 0 or 1.
        end: the other one.
        steps: calls of the field.

    Raises:
        OptionError: if there is no step.
    """
    if steps < 1:
        raise OptionError(f"at least 1 step; received {steps}")
    share = [math.sin(math.pi * i / (2 * steps)) ** 2 for i in range(steps + 1)]
    times = [start + (end - start) * s for s in share]
    history: deque[tuple[Tensor, ...]] = deque(maxlen=ORDER)
    for i in range(steps):
        history.appendleft(field(state, times[i]))
        gains = multistep_coefficients(times[max(0, i + 1 - ORDER) : i + 1][::-1], times[i + 1], 0)
        for gain, slopes in zip(gains, history, strict=True):
            state = tuple(s + gain * d for s, d in zip(state, slopes, strict=True))
    return state


def diffuse(
    heads: Callable[[Tensor, float], tuple[Tensor, Tensor]],
    interpolant: Interpolant,
    x: Tensor,
    *,
    start: float,
    end: float,
    steps: int,
    kappa: float,
) -> Tensor:
    """Carry x of (B, ...) along the diffusion with eps = (pi/2) kappa gamma by Euler-Maruyama; the noise ends with t.

    Args:
        heads: (x, t) to (v, eta).
        interpolant: of the bridge.
        x: at t = start.
        start: 0 or 1.
        end: the other one.
        steps: calls of the heads.
        kappa: amount of noise, at least 0; of a Schroedinger bridge its own `noise`.
    """
    times = torch.linspace(start, end, steps + 1, dtype=torch.float64)
    for t, after in pairwise(times):
        h, (_, _, gamma), (_, _, d_gamma) = after - t, interpolant(t), interpolant.derivatives(t)
        v, eta = heads(x, float(t))
        drift = v * float(h) + eta * float(h * d_gamma - h.abs() * kappa * math.pi / 2)
        x = x + drift + torch.randn_like(x) * float((math.pi * kappa * gamma * h.abs()).clamp_min(0).sqrt())
    return x
