"""Networks between samples and maps of features: one vector for every place of a small grid.

    pictures  encoder (B, C, H, W) -> 3x3 conv -> [3x3 conv of stride 2] n times -> residual blocks -> (B, D, h, w)
              decoder (B, D, h, w) -> residual blocks -> [upsample, 3x3 conv] n times -> 1x1 conv -> (B, C, H, W, size)
    others    perceptrons between (B, *shape) and (B, D, places)

Sizes are halved rounding up and doubled back through the same sizes, so that odd ones need no cropping. There are
`channels` channels on the grid and half as many at every doubling (at least `NARROW`). A residual block is
h + 1x1 conv(f(3x3 conv(f(h)) + context)); a condition's embedding enters every convolution as a bias per channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from creo.nn.conv import ConditionedConv
from creo.nn.mlp import MLP
from creo.nn.shaped import NetworkName

#: Fewest channels at full size, unless the grid has fewer.
NARROW = 16
#: `auto` halves a picture until its shorter side is at most this.
SIDE = 8


def halvings(shape: Sequence[int]) -> int:
    """How often `auto` halves pictures (C, H, W): once if a side has 4 pixels, and on down to `SIDE`."""
    side, count = min(shape[-2:]), 0
    while side > SIDE or (count == 0 and side >= 4):
        side, count = (side + 1) // 2, count + 1
    return count


def wide(shape: Sequence[int]) -> int:
    """Channels on the grid that suit pictures (C, H, W)."""
    return min(64, 8 * min(shape[-2:]))


def sizes(height: int, width: int, times: int) -> list[tuple[int, int]]:
    """The sizes a picture goes through when it is halved `times`, rounding up."""
    found = [(height, width)]
    for _ in range(times):
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def _widths(channels: int, times: int) -> list[int]:
    """Channels from full size down to the grid."""
    return [max(channels // 2 ** (times - i), min(NARROW, channels)) for i in range(times + 1)]


class ResidualBlock(nn.Module):
    """The block of the module docstring.

    Args:
        channels: of h.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, channels: int, *, context: int = 0) -> None:
        super().__init__()
        self.conv = ConditionedConv(channels, channels, context=context)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, channels, h, w) and a condition's embedding (B, context) to the same shape."""
        return h + self.out(self.conv(F.leaky_relu(h, 0.1), e))


class MapEncoder(nn.Module):
    """Pictures (B, C, H, W) to maps (B, outputs, h, w).

    Args:
        shape: (C, H, W).
        outputs: D.
        times: how often the size is halved.
        channels: on the grid.
        blocks: residual blocks there.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, *, times: int, channels: int, blocks: int, context: int = 0
    ) -> None:
        super().__init__()
        widths = _widths(channels, times)
        down = (ConditionedConv(a, b, context=context, stride=2) for a, b in pairwise(widths))
        first = ConditionedConv(shape[0], widths[0], context=context)
        rest = (ResidualBlock(channels, context=context) for _ in range(blocks))
        self.layers = nn.ModuleList([first, *down, *rest])
        self.out = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Maps of the pictures x, given the embedding e of a condition if there is one."""
        for layer in self.layers:
            x = layer(x, e)
        return self.out(x)


class MapDecoder(nn.Module):
    """Maps (B, inputs, h, w) to `size` numbers for every pixel, (B, C, H, W, size).

    Args:
        inputs: D.
        shape: (C, H, W).
        size: numbers per pixel and colour.
        times, channels, blocks, context: as of `MapEncoder`.
    """

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        size: int,
        *,
        times: int,
        channels: int,
        blocks: int,
        context: int = 0,
    ) -> None:
        super().__init__()
        widths = _widths(channels, times)[::-1]
        self.sizes = sizes(shape[1], shape[2], times)[::-1][1:]
        first = ConditionedConv(inputs, channels, context=context)
        self.layers = nn.ModuleList(
            [first, *(ResidualBlock(channels, context=context) for _ in range(blocks))]
        )
        self.up = nn.ModuleList(ConditionedConv(a, b, context=context) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], shape[0] * size, 1)
        self.split = (shape[0], size)

    def forward(self, z: Tensor, e: Tensor | None = None) -> Tensor:
        """`size` numbers per pixel for the maps z, given the embedding e of a condition if there is one."""
        for layer in self.layers:
            z = layer(z, e)
        for layer, size in zip(self.up, self.sizes, strict=True):
            z = layer(F.interpolate(z, size=size, mode="nearest"), e)
        return self.out(z).unflatten(1, self.split).movedim(2, -1)


class FlatEncoder(nn.Module):
    """Samples (B, *shape) to maps (B, outputs, places) by a perceptron."""

    def __init__(self, shape: Sequence[int], outputs: int, places: int, **options: Any) -> None:
        super().__init__()
        self.split = (outputs, places)
        self.inner = MLP(math.prod(shape), outputs * places, **options)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Maps of the samples x."""
        return self.inner(x.flatten(1), e).unflatten(1, self.split)


class FlatDecoder(nn.Module):
    """Maps (B, inputs, places) to `size` numbers for every variable, (B, *shape, size), by a perceptron."""

    def __init__(self, inputs: int, places: int, shape: Sequence[int], size: int, **options: Any) -> None:
        super().__init__()
        self.split = (*shape, size)
        self.inner = MLP(inputs * places, math.prod(shape) * size, **options)

    def forward(self, z: Tensor, e: Tensor | None = None) -> Tensor:
        """`size` numbers per variable for the maps z."""
        return self.inner(z.flatten(1), e).unflatten(1, self.split)


def map_networks(
    shape: tuple[int, ...],
    outputs: int,
    inputs: int,
    size: int,
    *,
    network: NetworkName = "auto",
    downsampling: int = 0,
    channels: int = 0,
    blocks: int = 2,
    places: int = 4,
    hidden: tuple[int, ...] = (256, 256),
    context: int = 0,
) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """An encoder and a decoder that suit samples of a shape, and the grid between them.

    Args:
        shape: of one sample.
        outputs: numbers that the encoder answers for a place.
        inputs: numbers that the decoder is given for a place.
        size: numbers the decoder answers for every variable.
        network: conv (pictures only), mlp, or auto: conv for pictures.
        downsampling: how often pictures are halved; 0: by their size.
        channels: of the convolutional networks on the grid; 0: by the size of the pictures.
        blocks: residual blocks there.
        places, hidden: of the perceptrons.
        context: size of a condition's embedding; 0 for none.
    """
    picture = len(shape) == 3 and shape[0] in (1, 3)
    if network == "mlp" or (network == "auto" and not picture):
        plain: dict[str, Any] = dict(hidden=hidden, context=context)
        encoder = FlatEncoder(shape, outputs, places, **plain)
        return encoder, FlatDecoder(inputs, places, shape, size, **plain), (places,)
    times = downsampling or halvings(shape)
    options: dict[str, Any] = dict(
        times=times, channels=channels or wide(shape), blocks=blocks, context=context
    )
    grid = sizes(shape[1], shape[2], times)[-1]
    return MapEncoder(shape, outputs, **options), MapDecoder(inputs, shape, size, **options), grid
