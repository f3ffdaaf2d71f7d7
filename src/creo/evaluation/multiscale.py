r"""Which kernel MMD is measured with, and how large the error of the measurement is.

The kernel is the mean of five Gaussian ones, with bandwidths 1/8 to 2 times the median distance between held-out
samples (the median alone is blind to the shape of thin structures); it is the same for every model. The standard
error of the unbiased estimate is that of a two-sample U-statistic: with the witness w(z) = E k(z, x) - E k(z, y) at
every sample,

    Var MMD2 = 4 Var[w(x)] / n + 4 Var[w(y)] / m,

to first order; where the distributions are equal it is on the safe side.

Source: Gretton et al. 2012 (JMLR 13, 723-773).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.kernels import Gaussian, Kernel, median_distance
from creo.errors import DataError

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Multiscale(Kernel):
    """The mean of Gaussian kernels of several bandwidths."""

    bandwidths: tuple[float, ...]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([Gaussian(b)(x, y) for b in self.bandwidths]).mean(0)

    def pairs(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([Gaussian(b).pairs(x, y) for b in self.bandwidths]).mean(0)


def multiscale(features: Tensor) -> Multiscale:
    """The kernel for held-out features (n, d)."""
    try:
        scale = median_distance(features, features[:0])
    except DataError:  # at least half of the pairs coincide: the mean distance still has a scale
        scale = float(torch.nn.functional.pdist(features[:2000].double()).mean()) or 1.0
    return Multiscale(tuple(scale * times for times in SCALES))


def witness(kernel: Kernel, z: Tensor, x: Tensor, y: Tensor, *, block: int = 1024) -> Tensor:
    """mean_j k(z_i, x_j) - mean_j k(z_i, y_j) for every z_i: (n, d) -> (n,)."""
    parts = [kernel(part, x).mean(1) - kernel(part, y).mean(1) for part in z.split(block)]
    return torch.cat(parts).double()


def mmd2_error(kernel: Kernel, x: Tensor, y: Tensor) -> float:
    """Standard error of the unbiased MMD^2 of samples x (n, d) and y (m, d); see the module."""
    variance = sum(4 * witness(kernel, z, x, y).var() / len(z) for z in (x, y))
    return math.sqrt(float(variance))
