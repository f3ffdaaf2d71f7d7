"""PixelCNN: one stack of masked convolutions over pixels (`creo.nn.masked_conv`), with its blind spot.

Kept for what it teaches: `gated-pixelcnn` has no blind spot and learns faster. `receptive_field` shows the difference.

Reference: van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks,
https://arxiv.org/abs/1601.06759.
"""

from __future__ import annotations

from typing import Self

from creo.autoregressive.coding import CodingName, coding_of
from creo.autoregressive.colours import Chained
from creo.autoregressive.gated_pixelcnn import SizeName, size_of, stack_of
from creo.autoregressive.made import TableName, table_head
from creo.autoregressive.pixels import PixelModel, grid, images
from creo.nn.masked_conv import MaskedConvNet
from creo.spaces import Space


class PixelCNN(PixelModel):
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
        coding: CodingName = "auto",
        head: TableName = "auto",
        components: int = 5,
        dropout: float | None = None,
        drop: float = 0.0,
    ) -> Self:
        """A PixelCNN that suits the space.

        Args:
            space: Ordinal images.
            condition: what it is conditioned on, or None.
            size: width and layers by name; auto goes by the number of pixels and levels.
            width: channels between blocks (half of them inside); 0: twice those of the size.
            layers: masked convolutions; 0: those of the size.
            kernel: side of the masked convolutions, odd.
            first: side of the first one, odd; None: that of the size.
            coding: how the network sees a channel; see MADE (levels without an order want learned or onehot).
            head: how the network gives the probabilities of the levels; see MADE.
            components: logistics in the mixture of the logistic head.
            dropout: probability of dropping a unit in training; None: that of the size.
            drop: share of training images whose condition is hidden, for classifier-free guidance.
        """
        space = images(space)
        of_size = size_of(space, size, width=width, layers=layers, first=first, dropout=dropout, widen=2)
        table = table_head(space, head, components)
        code = coding_of(space, coding, table.levels, of_size.width)
        network = stack_of(MaskedConvNet, space, condition, code, of_size, kernel)
        colours = Chained(of_size.width, grid(space)[0], code.fixed, table, dropout=of_size.dropout)
        return cls(space, network, code, colours, condition=condition, width=of_size.width, drop=drop)
