r"""What a network predicts, as a row (a, b): output = a x_0 + b z.

Together with x_t = alpha x_0 + sigma z this is a 2 x 2 system,

    [ alpha  sigma ] [ x_0 ]   [ x_t    ]              x_0 = (b x_t - sigma output) / det
    [   a      b   ] [  z  ] = [ output ]              z   = (alpha output - a x_t) / det,     det = alpha b - sigma a,

whose solution gives everything: denoised x_0, noise z, score = -z / sigma, velocity = alpha' x_0 + sigma' z. Its
entries are linear in the output, so the rule holds for conditional expectations too (Tweedie's formula included).

| prediction   | row (a, b)                                     | det             | of                               |
|--------------|------------------------------------------------|-----------------|----------------------------------|
| `DATA`       | (1, 0)                                         | -sigma          | the clean sample                 |
| `NOISE`      | (0, 1)                                         | alpha           | Ho et al. 2020                   |
| `SCORE`      | (0, -1/sigma)                                  | -alpha/sigma    | Song, Ermon 2019                 |
| `V`          | (-sigma, alpha)                                | alpha^2+sigma^2 | Salimans, Ho 2022                |
| `VELOCITY`   | (alpha', sigma')                               | alpha sigma' - sigma alpha' | Lipman et al. 2023   |
| `F`          | ((1 - k alpha)/m, -k sigma/m)                  | -sigma/m        | Karras et al. 2022               |

with k = alpha/(alpha^2 + sigma^2) and m = sigma/sqrt(alpha^2 + sigma^2), the best linear denoiser of data of unit
variance and its error: x_0 = k x_t + m F. On variance-preserving paths F = -v.

Sources: https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/1907.05600, https://arxiv.org/abs/2202.00512,
https://arxiv.org/abs/2210.02747, https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.diffusion.paths import Path, columns

Row = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Prediction:
    """A kind of output.

    Args:
        name: shown and looked up.
        row: (path, t) to (a, b), each of t's shape.
    """

    name: str
    row: Callable[[Path, Tensor], Row]

    def target(self, path: Path, t: Tensor, x0: Tensor, z: Tensor) -> Tensor:
        """What the output should be for clean data x0 (B, *), noise z (B, *) and times t (B,)."""
        a, b = (columns(r, x0) for r in self.row(path, t))
        return a * x0 + b * z

    def determinant(self, path: Path, t: Tensor) -> Tensor:
        """alpha b - sigma a, of t's shape; its zeros are the times at which the output says nothing about x_0."""
        (alpha, sigma), (a, b) = path(t), self.row(path, t)
        return alpha * b - sigma * a

    def solve(self, path: Path, t: Tensor, x: Tensor, output: Tensor) -> Solution:
        """Everything an output (B, *) at x_t = x (B, *) implies.

        Args:
            path: of the noising.
            t: times (B,), or one for all.
            x: noisy samples.
            output: of this kind.
        """
        (alpha, sigma), (a, b) = path(t), self.row(path, t)
        det = alpha * b - sigma * a
        of_x, of_out = (columns(k, x) for k in (b / det, -sigma / det))
        return Solution(path, t, x, of_x * x + of_out * output)


@dataclass(frozen=True)
class Solution:
    """A denoised sample `x0` at (x, t) and what it implies; all (B, *).

    `noise` and `score` are written through x0 alone, so that the four are consistent by construction.
    """

    path: Path
    t: Tensor
    x: Tensor
    x0: Tensor

    @property
    def noise(self) -> Tensor:
        """z = (x - alpha x_0) / sigma."""
        alpha, sigma = (columns(k, self.x) for k in self.path(self.t))
        return (self.x - alpha * self.x0) / sigma

    @property
    def score(self) -> Tensor:
        """-z / sigma: the gradient of log p_t."""
        return -self.noise / columns(self.path(self.t)[1], self.x)

    @property
    def velocity(self) -> Tensor:
        """alpha' x_0 + sigma' z: the probability flow."""
        d_alpha, d_sigma = (columns(k, self.x) for k in self.path.derivatives(self.t))
        return d_alpha * self.x0 + d_sigma * self.noise

    def output(self, prediction: Prediction) -> Tensor:
        """The same, as an output of another kind."""
        return prediction.target(self.path, self.t, self.x0, self.noise)


def _v(path: Path, t: Tensor) -> Row:
    alpha, sigma = path(t)
    return -sigma, alpha


def _score(path: Path, t: Tensor) -> Row:
    return torch.zeros_like(t), -1 / path(t)[1]


def _f(path: Path, t: Tensor) -> Row:
    alpha, sigma = path(t)
    norm = (alpha.square() + sigma.square()).sqrt()
    return sigma / norm, -alpha / norm  # (1 - k alpha)/m and -k sigma/m, without cancellation


DATA = Prediction("data", lambda path, t: (torch.ones_like(t), torch.zeros_like(t)))
NOISE = Prediction("noise", lambda path, t: (torch.zeros_like(t), torch.ones_like(t)))
SCORE = Prediction("score", _score)
V = Prediction("v", _v)
VELOCITY = Prediction("velocity", lambda path, t: path.derivatives(t))
F = Prediction("F", _f)

PREDICTIONS: Mapping[str, Prediction] = {p.name: p for p in (DATA, NOISE, SCORE, V, VELOCITY, F)}
