r"""The probability flow with steps chosen by their error: embedded Runge-Kutta pairs.

In w = x / sqrt(alpha^2 + sigma^2), over l = log(alpha / sigma), with k = alpha / sqrt(alpha^2 + sigma^2), the flow

    dw/dl = k (x_0(w) - k w)

is bounded at both ends and of about unit size. A step of length h takes slopes s_i at l + c_i h, w + h sum_j a_ij s_j;
two weightings of the same slopes differ by an estimate of its error,

    w' = w + h sum_i b_i s_i,     error = rms of h sum_i e_i s_i / (tolerance (1 + max(|w|, |w'|))),    e = b - b~

A step with error <= 1 is taken; the next one is 0.9 error^(-1/q) as long, within [0.2, 5] and at most `LONGEST`, q the
order of the better weighting. The last slope of a step is the first of the next one.

All samples of a batch step together, and the worst one decides: each meets the tolerance, but how far below it one
comes depends on the others.

| pair               | orders | network calls a step |
|--------------------|--------|----------------------|
| `BOGACKI_SHAMPINE` | 3 (2)  | 3                    |
| `DORMAND_PRINCE`   | 5 (4)  | 6                    |

Sources: Bogacki, Shampine 1989, https://doi.org/10.1016/0893-9659(89)90079-7; Dormand, Prince 1980,
https://doi.org/10.1016/0771-050X(80)90013-3; in sampling: Song et al. 2021, https://arxiv.org/abs/2011.13456.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.solvers.solver import Denoiser, Node, Noise, Solver
from creo.errors import NonFinite, OptionError

Slope = Callable[[float, Tensor], Tensor]


@dataclass(frozen=True)
class Pair:
    """An embedded pair whose last slope is that of the point it arrives at (so that a's last row is b).

    Args:
        order: of the better weighting.
        c: where slopes are taken, as shares of the step.
        a: weights of the slopes before, a row for each slope.
        e: better weighting minus the other one.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    e: tuple[float, ...]


BOGACKI_SHAMPINE = Pair(
    3,
    (0, 1 / 2, 3 / 4, 1),
    ((), (1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (-5 / 72, 1 / 12, 1 / 9, -1 / 8),
)
DORMAND_PRINCE = Pair(
    5,
    (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)

#: Slopes after which integration gives up.
MOST = 5000
#: The first step, as a share of the whole way, and the longest one: estimates of longer ones miss what data do between.
FIRST, LONGEST = 0.05, 2.0


def integrate(
    slope: Slope,
    start: float,
    end: float,
    w: Tensor,
    *,
    tolerance: float,
    pair: Pair,
    step: float | None = None,
) -> tuple[Tensor, float]:
    """Carry w along dw/dl = slope(l, w) from l = start to end, in either direction.

    Args:
        slope: (l, w (B, *)) to (B, *).
        start: l at which w is.
        end: l where to arrive.
        w: (B, *).
        tolerance: of the error of a step, relative to 1 + |w|.
        pair: whose steps are taken.
        step: length of the first step; None: a share of the way.

    Returns:
        w at the end, and the length that the next step would have had.

    Raises:
        NonFinite: a slope is not a number. OptionError: the tolerance is not met in `MOST` slopes.
    """
    l, way = start, math.copysign(1.0, end - start)
    h = FIRST * abs(end - start) if step is None else step
    first, left = slope(l, w), MOST // (len(pair.c) - 1)
    while way * (end - l) > 1e-12 * abs(end - start):
        last = h >= abs(end - l)
        now = abs(end - l) if last else h
        there, slopes = _step(slope, l, way * now, w, first, pair)
        error = _error(slopes, now, w, there, pair, tolerance)
        if error <= 1:
            l, w, first = (end if last else l + way * now), there, slopes[-1]
        grow = min(5.0, max(0.2, 0.9 * error ** (-1 / pair.order))) if error else 5.0
        h = min(now * grow, LONGEST)
        left -= 1
        if left < 0:
            raise OptionError(f"tolerance {tolerance} is not met in {MOST} slopes: take a larger one")
    return w, h


def _step(
    slope: Slope, l: float, h: float, w: Tensor, first: Tensor, pair: Pair
) -> tuple[Tensor, list[Tensor]]:
    """Where a step arrives, and its slopes."""
    slopes, there = [first], w
    for c, row in zip(pair.c[1:], pair.a[1:], strict=True):
        there = w + h * sum(a * s for a, s in zip(row, slopes, strict=True) if a)
        slopes.append(slope(l + c * h, there))
    return there, slopes


def _error(
    slopes: Sequence[Tensor], h: float, w: Tensor, there: Tensor, pair: Pair, tolerance: float
) -> float:
    """The worst sample's error in units of what is tolerated."""
    difference = h * torch.stack([e * s for e, s in zip(pair.e, slopes, strict=True) if e]).sum(0)
    share = difference / (tolerance * (1 + torch.maximum(w.abs(), there.abs())))
    error = float(share.flatten(1).square().mean(1).sqrt().max())
    if not math.isfinite(error):
        raise NonFinite("the denoiser's answer is not a number: look at the network, or at x")
    return error


def flow_slope(denoise: Denoiser, path: Path) -> Slope:
    """dw/dl of the module docstring."""

    def slope(l: float, w: Tensor) -> Tensor:
        t = path.time(torch.tensor(2 * l, dtype=torch.float64)).clamp(path.t_min, path.t_max)
        alpha, sigma = (float(k) for k in path(t))
        norm = math.hypot(alpha, sigma)
        k = alpha / norm
        return k * (Node(t, alpha, sigma).call(denoise, norm * w) - k * w)

    return slope


@dataclass(frozen=True)
class Adaptive(Solver):
    """The flow from time to time of a grid, with as many steps between as the tolerance asks for.

    Args:
        tolerance: of the error of a step, in units of the spread of x.
        pair: whose steps are taken.
    """

    adaptive: ClassVar[bool] = True
    tolerance: float = 1e-3
    pair: Pair = BOGACKI_SHAMPINE

    def __post_init__(self) -> None:
        if not 1e-12 <= self.tolerance < 1:
            raise OptionError(f"tolerance is in [1e-12, 1); received {self.tolerance}")

    def prepare(self, path: Path, grid: Sequence[Node]) -> list[tuple[Path, Node, Node]]:
        return [(path, here, there) for here, there in pairwise(grid)]

    def step(
        self,
        denoise: Denoiser,
        x: Tensor,
        plan: tuple[Path, Node, Node],
        history: deque[Tensor],
        noise: Noise,
    ) -> Tensor:
        path, here, there = plan
        start, end = (math.log(n.alpha / n.sigma) for n in (here, there))
        w, h = integrate(
            flow_slope(denoise, path), start, end, x / math.hypot(here.alpha, here.sigma),
            tolerance=self.tolerance, pair=self.pair, step=float(history[0]) if history else None,
        )  # fmt: skip
        history.appendleft(torch.tensor(h))
        return w * math.hypot(there.alpha, there.sigma)
