"""PixelCNN++: gated stacks with shortcuts and dropout, and a mixture of logistics that couples the channels.

The second half of the layers takes in the outputs of the first half, mirrored; the distribution of a pixel is
`creo.distributions.coupled_logistic`, so that the channels share one set of features and the output layer stays small
at any number of levels. Where the paper's network halves the image between groups of layers, this one keeps its size,
which lets it sample through the row cache of `creo.nn.gated`.

Reference: Salimans, Karpathy, Chen, Kingma (2017), https://arxiv.org/abs/1701.05517.
"""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from creo.autoregressive.coding import Coding, coding_name
from creo.autoregressive.colours import Colours
from creo.autoregressive.gated_pixelcnn import SizeName, size_of, stack_of
from creo.autoregressive.pixels import PixelModel, grid, images
from creo.distributions.coupled_logistic import CoupledLogistics
from creo.nn.gated import GatedStack
from creo.spaces import Space


class CoupledColours(Colours):
    """Channels of a pixel as a mixture of coupled logistics, whose parameters are affine in the features.

    Args:
        features: F.
        head: the mixture.
    """

    def __init__(self, features: int, head: CoupledLogistics) -> None:
        super().__init__()
        self.head, self.out = head, nn.Linear(features, head.size)

    def table(self, features: Tensor, earlier: Tensor) -> Tensor:
        return self.head.table(self.out(F.elu(features)), earlier)

    def log_prob(self, features: Tensor, x: Tensor) -> Tensor:
        return self.head.log_prob(self.out(F.elu(features)), x)


class PixelCNNpp(PixelModel):
    """See the module docstring, and `PixelModel` for what it answers."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        size: SizeName = "auto",
        width: int = 0,
        layers: int = 0,
        kernel: int = 3,
        first: int | None = None,
        components: int = 10,
        dropout: float | None = None,
        drop: float = 0.0,
    ) -> Self:
        """A PixelCNN++ that suits the space.

        Args:
            space: Ordinal images.
            condition: what it is conditioned on, or None.
            size: width and layers by name; auto goes by the number of pixels and levels.
            width: channels; 0: those of the size.
            layers: number of layers; 0: those of the size.
            kernel: side of the convolutions, odd.
            first: side of the first convolution, odd; None: that of the size.
            components: logistics in the mixture.
            dropout: probability of dropping a unit in training; None: that of the size.
            drop: share of training images whose condition is hidden, for classifier-free guidance.
        """
        space = images(space)
        of_size = size_of(space, size, width=width, layers=layers, first=first, dropout=dropout)
        coding = Coding(coding_name(space, "auto"), space.levels)
        network = stack_of(GatedStack, space, condition, coding, of_size, kernel, shortcuts=True)
        colours = CoupledColours(of_size.width, CoupledLogistics(space.levels, grid(space)[0], components))
        return cls(space, network, coding, colours, condition=condition, width=of_size.width, drop=drop)
