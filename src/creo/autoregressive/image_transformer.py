"""Image transformer: a decoder-only transformer over pixels in raster order (`creo.nn.causal_transformer`).

One place per pixel, learned positions of rows and columns, keys and values kept when generating. Every pixel sees all
those before it at any distance, at a cost that grows with the square of the number of pixels.

References:
    Parmar et al. (2018), Image Transformer, https://arxiv.org/abs/1802.05751;
    Chen et al. (2020), Generative Pretraining from Pixels, https://proceedings.mlr.press/v119/chen20s.html.
"""

from __future__ import annotations

from typing import Literal, Self

from creo.autoregressive.coding import CodingName, coding_of
from creo.autoregressive.colours import Chained
from creo.autoregressive.gated_pixelcnn import size_by_space
from creo.autoregressive.made import TableName, table_head
from creo.autoregressive.pixels import PixelModel, grid, images
from creo.model import TrainingDefaults
from creo.nn.causal_transformer import CausalTransformer
from creo.spaces import Space

#: size -> (width, blocks, heads)
SIZES = {"tiny": (16, 2, 2), "digits": (64, 4, 4), "small": (128, 6, 4), "base": (256, 12, 8)}


class ImageTransformer(PixelModel):
    """See the module docstring, and `PixelModel` for what it answers."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        size: Literal["auto", "tiny", "digits", "small", "base"] = "auto",
        width: int = 0,
        layers: int = 0,
        heads: int = 0,
        coding: CodingName = "auto",
        head: TableName = "auto",
        components: int = 5,
        dropout: float = 0.1,
        drop: float = 0.0,
    ) -> Self:
        """An image transformer that suits the space.

        Args:
            space: Ordinal images.
            condition: what it is conditioned on, or None.
            size: width, layers and heads by name; auto goes by the number of pixels and levels.
            width: of the features, a multiple of heads; 0: that of the size.
            layers: number of blocks; 0: that of the size.
            heads: attention heads; 0: that of the size.
            coding: how the network sees a channel; see MADE (levels without an order want learned or onehot).
            head: how the network gives the probabilities of the levels; see MADE.
            components: logistics in the mixture of the logistic head.
            dropout: probability of dropping what a residual branch adds, in training.
            drop: share of training images whose condition is hidden, for classifier-free guidance.
        """
        space = images(space)
        channels, height, columns = grid(space)
        of_size = SIZES[size_by_space(space) if size == "auto" else size]
        width, layers, heads = width or of_size[0], layers or of_size[1], heads or of_size[2]
        table = table_head(space, head, components)
        code = coding_of(space, coding, table.levels, width)
        network = CausalTransformer(
            channels * code.size,
            (height, columns),
            width=width,
            layers=layers,
            heads=heads,
            context=0 if condition is None else width,
            dropout=dropout,
        )
        colours = Chained(width, channels, code.fixed, table, dropout=dropout)
        return cls(space, network, code, colours, condition=condition, width=width, drop=drop)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=64, lr=1e-3, weight_decay=0.05, clip=1.0, ema=0.995, warmup=200)
