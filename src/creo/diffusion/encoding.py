r"""Data and noise as two names of one thing: the probability flow from one to the other and back.

The flow in w = x / sqrt(alpha^2 + sigma^2) (`creo.diffusion.solvers.adaptive`) is invertible. It carries clean data,
scaled to the least noise at t_min, to t_max, where w is standard normal if the data are the model's; the same way back
is a deterministic decoder. Every number of the data has one in the latent: nothing is compressed.

Both ways are integrated by Dormand's and Prince's pair to a tolerance; how far that leads is measured: `Encoding.error`
is the distance of a sample to what is decoded from its own latent.

Source: Song et al. 2021, https://arxiv.org/abs/2011.13456.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.solvers import DORMAND_PRINCE, Denoiser
from creo.diffusion.solvers.adaptive import flow_slope, integrate

#: Tolerance of a step where nothing else is said, in units of the spread of the data.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Encoding:
    """What `encoding` answers.

    Args:
        latent: (B, *shape).
        evaluations: network calls of encoding.
        error: root mean square over entries of decode(encode(x)) - x, in standard deviations of the data, (B,).
    """

    latent: Tensor
    evaluations: int
    error: Tensor


def _ends(path: Path) -> tuple[float, float, float]:
    """log(alpha/sigma) at t_min and t_max, and the share alpha / sqrt(alpha^2 + sigma^2) at t_min."""
    ends = path.log_snr(torch.tensor([path.t_min, path.t_max], dtype=torch.float64)) / 2
    first, last = (float(l) for l in ends)
    return first, last, (1 + math.exp(-2 * first)) ** -0.5


def to_noise(denoise: Denoiser, path: Path, y: Tensor, *, tolerance: float = TOLERANCE) -> Tensor:
    """The latent w of clean data y (B, *) in the units of the diffusion."""
    first, last, share = _ends(path)
    slope = flow_slope(denoise, path)
    return integrate(slope, first, last, share * y, tolerance=tolerance, pair=DORMAND_PRINCE)[0]


def to_data(denoise: Denoiser, path: Path, w: Tensor, *, tolerance: float = TOLERANCE) -> Tensor:
    """The clean data of a latent w (B, *): the inverse of `to_noise`."""
    first, last, share = _ends(path)
    slope = flow_slope(denoise, path)
    return integrate(slope, last, first, w, tolerance=tolerance, pair=DORMAND_PRINCE)[0] / share


class Counted:
    """A denoiser that counts its `calls`."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise, self.calls = denoise, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.denoise(x, t)


def encoded(denoise: Denoiser, path: Path, y: Tensor, *, tolerance: float = TOLERANCE) -> Encoding:
    """The latents of clean data y (B, *), with what they cost and how far the way back misses."""
    counted = Counted(denoise)
    w = to_noise(counted, path, y, tolerance=tolerance)
    again = to_data(denoise, path, w, tolerance=tolerance)
    return Encoding(w, counted.calls, (again - y).flatten(1).square().mean(1).sqrt())
