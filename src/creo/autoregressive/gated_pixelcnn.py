"""Gated PixelCNN: a vertical and a horizontal stack of gated convolutions (`creo.nn.gated`), no blind spot.

Sizes that suit the space: small images get narrow, shallow networks; `small` and `base` name two sizes for larger ones.

Reference: van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders,
https://arxiv.org/abs/1606.05328.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from creo.autoregressive.colours import Chained
from creo.autoregressive.made import Coding, TableName, coding_name, table_head
from creo.autoregressive.pixels import PixelModel, grid, images
from creo.nn.gated import GatedStack
from creo.spaces import Space


class Size(NamedTuple):
    """Channels, layers, side of the first convolution, and the dropout that suits the data such images come with."""

    width: int
    layers: int
    first: int
    dropout: float


SIZES = {
    "tiny": Size(16, 2, 7, 0.1),
    "digits": Size(64, 4, 5, 0.5),
    "small": Size(64, 8, 7, 0.1),
    "base": Size(128, 15, 7, 0.1),
}

SizeName = Literal["auto", "tiny", "digits", "small", "base"]


def size_of(space: Space, name: SizeName) -> Size:
    """A named size; `auto` goes by the number of pixels: tiny up to 36, digits up to 144, else small."""
    if name == "auto":
        _, height, width = grid(space)
        name = "tiny" if height * width <= 36 else "digits" if height * width <= 144 else "small"
    return SIZES[name]


class GatedPixelCNN(PixelModel):
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
        head: TableName = "auto",
        components: int = 5,
        dropout: float | None = None,
        drop: float = 0.0,
    ) -> Self:
        """A Gated PixelCNN that suits the space.

        Args:
            space: Ordinal images.
            condition: what it is conditioned on, or None.
            size: width and layers by name; auto goes by the number of pixels.
            width: channels; 0: those of the size.
            layers: number of layers; 0: those of the size.
            kernel: side of the convolutions, odd.
            first: side of the first convolution, odd; None: that of the size.
            head: how the network gives the probabilities of the levels; see MADE.
            components: logistics in the mixture of the logistic head.
            dropout: probability of dropping a unit in training; None: that of the size.
            drop: share of training images whose condition is hidden, for classifier-free guidance.
        """
        space = images(space)
        channels, height, columns = grid(space)
        of_size = size_of(space, size)
        width, layers = width or of_size.width, layers or of_size.layers
        dropout = of_size.dropout if dropout is None else dropout
        table = table_head(space, head, components)
        coding = Coding(coding_name(space, "auto"), table.levels)
        network = GatedStack(
            channels * coding.size,
            (height, columns),
            width=width,
            layers=layers,
            kernel=kernel,
            first=first or of_size.first,
            context=0 if condition is None else width,
            dropout=dropout,
        )
        colours = Chained(width, channels, coding, table, dropout=dropout)
        return cls(space, network, coding, colours, condition=condition, width=width, drop=drop)
