r"""Glow: a multi-scale flow of images.

    one scale   squeeze -> (ActNorm per channel -> 1 x 1 convolution -> channel coupling) x layers
    scales      one scale -> split off half the channels -> next scale -> ... -> noise

Each scale works at half the resolution; what is split off is Gaussian given the rest. Images have even sides.

`realnvp` with `multiscale=True` is the same ladder with checkerboard and channel couplings instead of convolutions
between them.

Source: Kingma, Dhariwal 2018, https://arxiv.org/abs/1807.03039.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.flows.convolution import ChannelCoupling, Invertible1x1
from creo.flows.coupling import Affine
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.flows.multiscale import Squeeze, multiscale
from creo.flows.standardise import ActNorm, location_and_scale
from creo.spaces import Space


class ChannelNorm(ActNorm):
    """`ActNorm` with one mean and scale per channel.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__((channels, 1, 1))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """To zero mean and unit variance."""
        y, log_det = super().forward(x, e)
        return y, log_det * (x.shape[2] * x.shape[3])

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Back."""
        x, log_det = super().inverse(y, e)
        return x, log_det * (y.shape[2] * y.shape[3])

    @torch.no_grad()
    def initialise(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Take mean and std of every channel over images and pixels."""
        mean, std = location_and_scale(x.movedim(1, -1).flatten(0, -2))
        self.mean.copy_(mean[:, None, None])
        self.log_std.copy_(std.log()[:, None, None])
        return self.forward(x, e)[0]


class Glow(Flow):
    """Normal noise through a multi-scale flow with 1 x 1 convolutions; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        scales: int = 3,
        layers: int = 4,
        hidden: int = 32,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        bound: float = 1.0,
    ) -> Self:
        """Glow for images.

        Args:
            space: Continuous or Ordinal, images (C, H, W) of even height and width.
            condition: any space, or None.
            scales: at most this many; fewer where the sides cannot be halved as often.
            layers: couplings per scale.
            hidden: channels of the couplings' networks.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            bound: limit of a coupling's log-scale.
        """
        if layers < 1:
            raise OptionError(f"layers must be at least 1; received {layers}")

        def stack(context: int) -> list[Layer]:
            def scale(shape: tuple[int, ...]) -> list[Layer]:
                channels = 4 * shape[0]
                steps: list[Layer] = [Squeeze()]
                for i in range(layers):
                    coupling = ChannelCoupling(
                        channels, hidden=hidden, elementwise=Affine(bound), context=context, swap=bool(i % 2)
                    )
                    steps += [ChannelNorm(channels), Invertible1x1(channels), coupling]
                return steps

            return multiscale(space.shape, scales, scale)

        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise)
