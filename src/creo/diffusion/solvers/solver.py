"""What a solver is: steps of a denoiser along a grid of times that falls from noise to data.

A denoiser maps (x (B, *), t ()) to E[x_0 | x_t = x]. What a step needs of path and grid is computed once per grid, in
float64 (`prepare`), so that a `step` is a few lines of arithmetic around its network calls. Solvers that add noise take
it from a source, (B, *) to standard normal (B, *): see `noise` for other ones than torch's generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.errors import OptionError

Denoiser = Callable[[Tensor, Tensor], Tensor]
Record = Callable[[Tensor], None]
Noise = Callable[[Tensor], Tensor]
Spacing = Literal["time", "log-snr"]


@dataclass(frozen=True)
class Node:
    """A path at one time of a grid; plain numbers, and the time as a tensor for the network."""

    t: Tensor
    alpha: float
    sigma: float

    def noise(self, x: Tensor, x0: Tensor) -> Tensor:
        """z implied by x and the denoised x0."""
        return (x - self.alpha * x0) / self.sigma

    def call(self, denoise: Denoiser, x: Tensor) -> Tensor:
        """The denoised x."""
        return denoise(x, self.t.to(x.device, x.dtype))


def nodes(path: Path, times: Tensor) -> list[Node]:
    """The path at all times of a grid, in float64.

    Raises:
        OptionError: unless the times fall strictly, and there are at least two.
    """
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
        raise OptionError(f"a solver needs at least two times that fall from noise to data; received {times}")
    times = times.double()
    alpha, sigma = path(times)
    return [Node(*n) for n in zip(times, alpha.tolist(), sigma.tolist(), strict=True)]


class Solver(ABC):
    """A subclass gives `step`; see `Multistep` for one that keeps a history."""

    #: Whether it chooses its own steps between the times of a grid, of which two are enough then.
    adaptive: ClassVar[bool] = False

    @property
    def spacing(self) -> Spacing:
        """The grid that suits it: equal steps of the path's time, or of the log-SNR."""
        return "time"

    def prepare(self, path: Path, grid: Sequence[Node]) -> Sequence[Any]:
        """What the steps need, computed once per grid: an entry per step."""
        return list(pairwise(grid))

    @abstractmethod
    def step(self, denoise: Denoiser, x: Tensor, plan: Any, history: deque[Tensor], noise: Noise) -> Tensor:
        """From x at one time of the grid to the next, with its entry of `prepare` and a history of its own."""

    @torch.no_grad()
    def __call__(
        self,
        denoise: Denoiser,
        path: Path,
        times: Tensor,
        x: Tensor,
        *,
        noise: Noise = torch.randn_like,
        record: Record | None = None,
    ) -> Tensor:
        """Carry x from times[0] to times[-1].

        Args:
            denoise: (x (B, *), t ()) to E[x_0 | x_t = x].
            path: of the noising.
            times: falling, (N + 1,).
            x: at times[0], (B, *).
            noise: draws standard normal noise like its argument.
            record: called with x at every time of the grid, the first included.
        """
        history: deque[Tensor] = deque(maxlen=64)
        for plan in self.prepare(path, nodes(path, times)):
            if record is not None:
                record(x)
            x = self.step(denoise, x, plan, history, noise)
        if record is not None:
            record(x)
        return x


def time_grid(path: Path, steps: int, *, spacing: Spacing = "time") -> Tensor:
    """`steps` times from t_max down to t_min, float64.

    Args:
        path: whose range is divided.
        steps: number of times; each costs a network call (the last one is for the final denoising).
        spacing: equal steps of `time` or of the `log-snr`.

    Raises:
        OptionError: fewer than two, or another spacing.
    """
    if steps < 2 or spacing not in ("time", "log-snr"):
        raise OptionError(
            f"a grid has at least 2 times, spaced by time or log-snr; received steps={steps}, spacing={spacing!r}"
        )
    ends = torch.tensor([path.t_max, path.t_min], dtype=torch.float64)
    u = torch.linspace(0, 1, steps, dtype=torch.float64)
    if spacing == "time":
        return (ends[0] + u * (ends[1] - ends[0])).clamp(ends[1], ends[0])
    low, high = path.log_snr(ends)
    return path.time(low + u * (high - low)).clamp(ends[1], ends[0])
