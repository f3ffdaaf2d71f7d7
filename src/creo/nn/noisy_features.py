r"""Noisy samples and their noise level to a few numbers: what a classifier of noisy samples is made of.

    vectors   a perceptron that is told the level in every hidden layer
    images    3x3 convolutions that halve the image, told the level as a bias per channel, then an affine map

The last layer starts at 0, so that at first all classes are equally probable. Source of the idea to tell a classifier
the noise level: Dhariwal, Nichol 2021, https://arxiv.org/abs/2105.05233.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from creo.nn.conv import ConvEncoder
from creo.nn.mlp import MLP
from creo.nn.time import TimeEmbedding

#: Shorter side from which images go through convolutions.
CONVOLVE_FROM = 16


class NoisyFeatures(nn.Module):
    """Samples (B, *shape) and noise levels u = log(sigma / alpha), (B,) or (1,), to numbers (B, outputs).

    Args:
        shape: of one sample.
        outputs: how many numbers.
        hidden: widths of the perceptron's hidden layers.
        channels: of the convolutions at full size.
        width: of the level's embedding.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        hidden: tuple[int, ...] = (128, 128),
        channels: int = 16,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.image = len(shape) == 3 and min(shape[1:]) >= CONVOLVE_FROM
        self.inner: ConvEncoder | MLP = (
            ConvEncoder(shape, outputs, channels=channels, context=width)
            if self.image
            else MLP(math.prod(shape), outputs, hidden=hidden, context=width)
        )
        nn.init.zeros_(self.inner.out.weight)
        nn.init.zeros_(self.inner.out.bias)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Numbers (B, outputs)."""
        return self.inner(x if self.image else x.flatten(1), self.time(u))
