r"""Elementwise affine layers whose scale comes from data.

    y = (x - mean) / std                 log_det = -sum log std

`Standardise` holds mean and std as constants: it makes a model independent of the units of its data. `ActNorm` holds
the same two as parameters that start at the values of the data and are then trained; between couplings it keeps
activations in range without the noise of batch statistics.

Constant entries have no scale: their std is set to `MIN_STD` of the largest (1 if all are constant).

Source: Kingma, Dhariwal 2018 (Glow, section 3.1), https://arxiv.org/abs/1807.03039.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.flows.layer import Layer

MIN_STD = 1e-3


def location_and_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the batch, each of one sample's shape, std guarded as said above."""
    variance, mean = torch.var_mean(x, 0, correction=0)
    std = variance.sqrt()
    largest = std.max()
    return mean, std.clamp_min(float(MIN_STD * largest)) if largest > 0 else torch.ones_like(std)


class Standardise(Layer):
    """(x - mean) / std with the mean and std of the training data.

    Args:
        shape: of one sample.
    """

    mean: Tensor
    log_std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("log_std", torch.zeros(shape))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """To zero mean and unit variance."""
        return (x - self.mean) * (-self.log_std).exp(), -self.log_std.sum().expand(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Back to the data's units."""
        return torch.addcmul(self.mean, y, self.log_std.exp()), self.log_std.sum().expand(len(y))

    @torch.no_grad()
    def initialise(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Take mean and std from data (N, *shape)."""
        mean, std = location_and_scale(x)
        self.mean.copy_(mean)
        self.log_std.copy_(std.log())
        return self.forward(x, e)[0]


class ActNorm(Standardise):
    """`Standardise` whose mean and std are trained."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        del self.mean, self.log_std
        self.mean = nn.Parameter(torch.zeros(shape))
        self.log_std = nn.Parameter(torch.zeros(shape))
