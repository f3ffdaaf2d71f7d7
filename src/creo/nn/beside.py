r"""Conditions that are pictures of the sample's own size, pixel by pixel: frames before it, a coarse version, a part.

A vector would lose where things are, so the condition's pixels are channels beside the sample's:

    network(x, u, e) = inner([x, e as pictures], u)

`PixelEmbedding` is to such a network what `ConditionEmbedding` is to others: it answers (B, width) vectors, all pixels
of the standardised condition one after another.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.nn.embedding import ConditionEmbedding
from creo.spaces import Space


def fits_beside(condition: Space | None, shape: tuple[int, ...]) -> bool:
    """Whether a condition is a picture or video as high and wide as samples of this shape."""
    return condition is not None and condition.is_grid and condition.shape[1:] == shape[1:]


class PixelEmbedding(ConditionEmbedding):
    """Every pixel of conditions of zero mean and unit variance, flattened: `width` is their number.

    Args:
        space: of the condition, Continuous or Ordinal.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, space: Space) -> None:
        nn.Module.__init__(self)
        self.space, self.width = space, space.dims
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def forward(self, c: Tensor) -> Tensor:
        """Raw conditions (B, *space.shape) to (B, width)."""
        return (c.flatten(1).to(self.mean.dtype) - self.mean) / self.std

    def initialise(self, c: Tensor) -> None:
        """Take mean and standard deviation of all pixels from data, (N, *space.shape)."""
        std, mean = torch.std_mean(c.double(), correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1.0))


class Beside(nn.Module):
    """The network of the module docstring.

    Args:
        inner: (x (B, C + K, H, W), u) to (B, C, H, W).
        shape: of the condition, (K, H, W).
    """

    def __init__(self, inner: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.shape = inner, shape

    def forward(self, x: Tensor, u: Tensor, e: Tensor) -> Tensor:
        """(B, C, H, W) of noisy images x, noise levels u (B,) and a condition's pixels (B, K H W)."""
        return self.inner(torch.cat([x, e.view(-1, *self.shape).to(x.dtype)], 1), u)
