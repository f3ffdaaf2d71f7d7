r"""One multistep method and a table of coordinates: DDIM, LMS, DPM-Solver, DPM-Solver++ and Adams, at any order.

In the coordinates of a row the probability flow reads

    y = x / s,    dy = w(tau) q dtau,    w = 1 (k = 0) or k e^(k tau),

q is interpolated by the polynomial through its last `order` values and integrated exactly,

    y_{n+1} = y_n + sum_j c_j q_{n-j},    c_j = integral of w L_j over [tau_n, tau_{n+1}]    (L_j: Lagrange's basis).

| row              | s                       | q            | tau                   | k         | of            |
|------------------|-------------------------|--------------|-----------------------|-----------|---------------|
| `LMS`            | alpha                   | z            | sigma/alpha           | 0         | Crowson 2022  |
| `DPM`            | alpha                   | z            | log(alpha/sigma)      | -1        | Lu 2022       |
| `DPMPP`          | sigma                   | x_0          | log(alpha/sigma)      | 1         | Lu 2022       |
| `SDE_DPMPP`      | sigma^2/alpha           | x_0          | log(alpha/sigma)      | 2         | same, + noise |
| `VELOCITY_ADAMS` | alpha + sigma           | z - x_0      | sigma/(alpha + sigma) | 0         | flows         |

At order 1 the four deterministic rows are all DDIM. The first steps have the order that their history allows. The
noise of the SDE form has standard deviation sigma sqrt(1 - e^(-2h)), h the step of tau, and its order 1 is DDPM's
ancestral step. All coefficients are computed once per grid, in float64.

Sources: Song, Meng, Ermon 2021 (DDIM), https://arxiv.org/abs/2010.02502; Lu et al. 2022,
https://arxiv.org/abs/2206.00927, https://arxiv.org/abs/2211.01095; LMS: https://github.com/crowsonkb/k-diffusion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.solvers.solver import Denoiser, Node, Noise, Solver, Spacing
from creo.errors import OptionError


@dataclass(frozen=True)
class RowOf:
    """A row of the module docstring's table.

    Args:
        name: of the family.
        scale: s of (alpha, sigma).
        of_x0: how much x_0 is in q.
        of_noise: how much z is in q.
        coordinate: tau of (alpha, sigma).
        k: exponent of the weight w.
        noisy: whether it solves the reverse SDE instead of the probability flow.
    """

    name: str
    scale: Callable[[float, float], float]
    of_x0: float
    of_noise: float
    coordinate: Callable[[float, float], float]
    k: int
    noisy: bool = False


def _half_log_snr(alpha: float, sigma: float) -> float:
    return float(np.log(alpha / sigma))


LMS = RowOf("lms", lambda a, s: a, 0, 1, lambda a, s: s / a, 0)
DPM = RowOf("dpm", lambda a, s: a, 0, 1, _half_log_snr, -1)
DPMPP = RowOf("dpm++", lambda a, s: s, 1, 0, _half_log_snr, 1)
SDE_DPMPP = RowOf("sde-dpm++", lambda a, s: s * s / a, 1, 0, _half_log_snr, 2, noisy=True)
VELOCITY_ADAMS = RowOf("velocity-adams", lambda a, s: a + s, -1, 1, lambda a, s: s / (a + s), 0)
ROWS: Mapping[str, RowOf] = {r.name: r for r in (LMS, DPM, DPMPP, SDE_DPMPP, VELOCITY_ADAMS)}

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def multistep_coefficients(taus: Sequence[float], end: float, k: int, scale: float = 0.0) -> list[float]:
    """c_j: the integral from taus[0] to `end` of w L_j, for nodes taus (newest first); times e^(-k `scale`).

    Gauss-Legendre of 32 points: exact for k = 0, to rounding for the steps of tau that occur.
    """
    half, newest = (end - taus[0]) / 2, taus[0]
    tau = newest + half * (1 + _POINTS)
    weight = half * _WEIGHTS * (k * np.exp(k * (tau - scale)) if k else 1.0)
    out = []
    for j, mine in enumerate(taus):
        basis = np.prod([(tau - other) / (mine - other) for i, other in enumerate(taus) if i != j], axis=0)
        out.append(float((weight * basis).sum()))
    return out


@dataclass(frozen=True)
class _Linear:
    """x_next = keep x + sum_j gains[j] q_j + noise std."""

    here: Node
    keep: float
    gains: list[float]
    std: float


@dataclass(frozen=True)
class Multistep(Solver):
    """Any row at any order; one network call a step.

    Args:
        row: of the table above.
        order: number of network outputs that a step uses.
    """

    row: RowOf = DPMPP
    order: int = 2

    def __post_init__(self) -> None:
        if self.order < 1:
            raise OptionError(f"order must be at least 1; received {self.order}")

    @property
    def spacing(self) -> Spacing:
        """Rows in the log-SNR extrapolate badly over one step of it that is much longer than the last."""
        return "log-snr" if self.row.k else "time"

    def prepare(self, path: Path, grid: Sequence[Node]) -> list[_Linear]:
        taus = [self.row.coordinate(n.alpha, n.sigma) for n in grid]
        return [self._plan(grid, taus, i) for i in range(len(grid) - 1)]

    def _plan(self, grid: Sequence[Node], taus: list[float], i: int) -> _Linear:
        here, there, row = grid[i], grid[i + 1], self.row
        before, after = (row.scale(n.alpha, n.sigma) for n in (here, there))
        # Where the weight is exponential, s e^(k tau) is a power of alpha: nothing large is multiplied by little.
        past = taus[max(0, i + 1 - self.order) : i + 1][::-1]
        factor = after * float(np.exp(row.k * taus[i + 1]))
        gains = [factor * c for c in multistep_coefficients(past, taus[i + 1], row.k, taus[i + 1])]
        std = there.sigma * float(np.sqrt(-np.expm1(2 * (taus[i] - taus[i + 1])))) if row.noisy else 0.0
        return _Linear(here, after / before, gains, std)

    def step(
        self, denoise: Denoiser, x: Tensor, plan: _Linear, history: deque[Tensor], noise: Noise
    ) -> Tensor:
        x0, row = plan.here.call(denoise, x), self.row
        history.appendleft(row.of_x0 * x0 + row.of_noise * plan.here.noise(x, x0) if row.of_noise else x0)
        x = plan.keep * x
        for gain, q in zip(plan.gains, history, strict=False):
            x = x + gain * q
        return x + plan.std * noise(x) if plan.std else x
