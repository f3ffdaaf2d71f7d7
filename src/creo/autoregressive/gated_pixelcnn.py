"""Gated PixelCNN: a vertical and a horizontal stack of gated convolutions (`creo.nn.gated`), no blind spot.

Sizes that suit the space: small images get narrow, shallow networks; `small` and `base` name two sizes for larger ones.

Reference: van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders,
https://arxiv.org/abs/1606.05328.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self, TypeVar

from torch import nn

from creo.autoregressive.coding import Coding, CodingName, Learned, coding_of
from creo.autoregressive.colours import Chained
from creo.autoregressive.made import TableName, table_head
from creo.autoregressive.pixels import PixelModel, grid, images
from creo.nn.gated import GatedStack
from creo.spaces import Ordinal, Space

Net = TypeVar("Net", bound=nn.Module)


class Size(NamedTuple):
    """Channels, layers, side of the first convolution, and the dropout that suits the data such images come with."""

    width: int
    layers: int
    first: int
    dropout: float


SIZES = {
    "tiny": Size(16, 2, 7, 0.1),
    "digits": Size(64, 4, 5, 0.5),
    "small": Size(32, 8, 7, 0.0),
    "base": Size(128, 15, 7, 0.1),
}

SizeName = Literal["auto", "tiny", "digits", "small", "base"]


def size_by_space(space: Ordinal) -> Literal["tiny", "digits", "small"]:
    """tiny up to 36 pixels of at most 64 levels (codes of pictures have more), digits up to 144 pixels, else small."""
    _, height, columns = grid(space)
    if height * columns <= 36 and space.levels <= 64:
        return "tiny"
    return "digits" if height * columns <= 144 else "small"


def size_of(
    space: Ordinal,
    name: SizeName,
    *,
    width: int = 0,
    layers: int = 0,
    first: int | None = None,
    dropout: float | None = None,
    widen: int = 1,
) -> Size:
    """A named size with what was said otherwise.

    Args:
        space: Ordinal images.
        name: `auto` is `size_by_space`.
        width, layers: 0: those of the size, the width times `widen`.
        first, dropout: None: those of the size.
        widen: what the network needs more channels by.
    """
    if name == "auto":
        name = size_by_space(space)
    size = SIZES[name]
    return Size(
        width or widen * size.width,
        layers or size.layers,
        size.first if first is None else first,
        size.dropout if dropout is None else dropout,
    )


def stack_of(
    network: Callable[..., Net],
    space: Ordinal,
    condition: Space | None,
    coding: Coding | Learned,
    size: Size,
    kernel: int,
    **options: Any,
) -> Net:
    """A causal network of a size for the images of a space.

    Args:
        network: its class.
        space, condition: of the model.
        coding: how the network sees a value.
        size: of the network.
        kernel: side of its convolutions but the first.
        **options: what this class of network takes besides.
    """
    channels, height, columns = grid(space)
    return network(
        channels * coding.size,
        (height, columns),
        width=size.width,
        layers=size.layers,
        kernel=kernel,
        first=size.first,
        context=0 if condition is None else size.width,
        dropout=size.dropout,
        **options,
    )


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
        attention: int = 0,
        coding: CodingName = "auto",
        head: TableName = "auto",
        components: int = 5,
        dropout: float | None = None,
        drop: float = 0.0,
    ) -> Self:
        """A Gated PixelCNN that suits the space.

        Args:
            space: Ordinal images.
            condition: what it is conditioned on, or None.
            size: width and layers by name; auto goes by the number of pixels and levels.
            width: channels; 0: those of the size.
            layers: number of layers; 0: those of the size.
            kernel: side of the convolutions, odd.
            first: side of the first convolution, odd; None: that of the size.
            attention: blocks of causal attention between the layers (PixelSNAIL's).
            coding: how the network sees a channel; see MADE (levels without an order want learned or onehot).
            head: how the network gives the probabilities of the levels; see MADE.
            components: logistics in the mixture of the logistic head.
            dropout: probability of dropping a unit in training; None: that of the size.
            drop: share of training images whose condition is hidden, for classifier-free guidance.
        """
        space = images(space)
        of_size = size_of(space, size, width=width, layers=layers, first=first, dropout=dropout)
        table = table_head(space, head, components)
        code = coding_of(space, coding, table.levels, of_size.width)
        network = stack_of(GatedStack, space, condition, code, of_size, kernel, attention=attention)
        colours = Chained(of_size.width, grid(space)[0], code.fixed, table, dropout=of_size.dropout)
        return cls(space, network, code, colours, condition=condition, width=of_size.width, drop=drop)
