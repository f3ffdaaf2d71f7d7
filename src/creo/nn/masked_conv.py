r"""Convolutions whose kernel is masked to what comes before in raster order, and the residual network made of them.

    mask A   rows above, and columns left of the centre in the centre's row         (first layer)
    mask B   the same and the centre                                               (all others)

Stacked, 3 x 3 kernels of type B have a blind spot: what lies above and to the right, beyond one column per row, never
reaches a pixel. The gated stacks of `creo.nn.gated` have none; a large first kernel makes it smaller here.

    block      y = x + W_3 relu(M relu(W_1 relu(x)))         1 x 1 to half the channels, masked, 1 x 1 back

Masks multiply a copy of the weights, never the weights themselves. Incremental (`begin`, `advance`): each masked
layer keeps the r rows above; what they contribute to a row is one convolution when the row begins, and a pixel then
needs the taps to its left alone.

Reference: van den Oord, Kalchbrenner, Kavukcuoglu (2016), Pixel Recurrent Neural Networks,
https://arxiv.org/abs/1601.06759.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowCache(NamedTuple):
    """Inputs of one masked convolution so far, and what the rows above give the present one; written in place."""

    rows: Tensor  # (B, inputs, r + 1, r + W), padded on the left; the last row is the present one
    pending: Tensor  # (B, outputs, W)


class MaskedConv2d(nn.Conv2d):
    """A convolution of images (B, inputs, H, W) that sees only what comes before, to (B, outputs, H, W).

    Args:
        inputs: channels of x.
        outputs: channels of y.
        kernel: side, odd.
        centre: whether the pixel's own place is seen (mask B) or not (mask A).
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, centre: bool) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.reach, self.taps = kernel // 2, kernel // 2 + int(centre)
        mask = torch.zeros(kernel, kernel)
        mask[: self.reach], mask[self.reach, : self.taps] = 1.0, 1.0
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():
            self.weight.mul_(mask * (mask.numel() / mask.sum()).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

    def begin(self, batch: int, width: int) -> RowCache:
        """The cache before any pixel is known, for images of this width."""
        zeros, r = self.weight.new_zeros, self.reach
        return RowCache(
            zeros(batch, self.in_channels, r + 1, r + width), zeros(batch, self.out_channels, width)
        )

    def put(self, cache: RowCache, column: int, x: Tensor) -> None:
        """The input (B, inputs) of a pixel of the present row."""
        cache.rows[:, :, -1, self.reach + column] = x

    def begin_row(self, cache: RowCache) -> None:
        """The present row becomes the one above."""
        r = self.reach
        cache.rows.copy_(cache.rows.roll(-1, 2))
        cache.rows[:, :, -1] = 0.0
        above = F.conv2d(cache.rows[:, :, :r, r:], self.weight[:, :, :r], self.bias, padding=(0, r))
        cache.pending.copy_(above.squeeze(2))

    def pixel(self, cache: RowCache, column: int) -> Tensor:
        """The output (B, outputs) of a pixel of the present row, whose taps have been put."""
        taps = cache.rows[:, :, -1, column : column + self.taps].flatten(1)
        weight = self.weight[:, :, self.reach, : self.taps].flatten(1)
        return cache.pending[:, :, column] + F.linear(taps, weight)


class MaskedBlock(nn.Module):
    """The residual block of the module docstring.

    Args:
        width: channels.
        kernel: side of the masked convolution.
        context: size of a condition's embedding, added before the masked convolution; 0 for none.
        dropout: probability of dropping a channel in training.
    """

    def __init__(self, width: int, kernel: int, *, context: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        inner, self.dropout = max(width // 2, 1), dropout
        self.down = nn.Conv2d(width, inner, 1)
        self.conv = MaskedConv2d(inner, inner, kernel, centre=True)
        self.up = nn.Conv2d(inner, width, 1)
        self.context = nn.Linear(context, inner, bias=False) if context else None

    def bias(self, e: Tensor | None) -> Tensor | float:
        """What the condition adds, (B, inner, 1, 1)."""
        return 0.0 if self.context is None else self.context(e)[:, :, None, None]

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        y = self.conv(F.relu(self.down(F.relu(x)) + self.bias(e)))
        return x + self.up(F.dropout(F.relu(y), self.dropout, self.training))

    def pixel(self, cache: RowCache, column: int, x: Tensor, bias: Tensor | float) -> Tensor:
        """The output (B, width) of a pixel of the present row from its input and what the condition adds."""
        bias = bias.flatten(1) if isinstance(bias, Tensor) else bias
        self.conv.put(cache, column, F.relu(_pointwise(self.down, F.relu(x)) + bias))
        return x + _pointwise(self.up, F.relu(self.conv.pixel(cache, column)))


def _pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1 x 1 convolution of one pixel (B, channels)."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)


class MaskedCache(NamedTuple):
    """What an incremental pass has computed so far."""

    first: RowCache
    blocks: tuple[RowCache, ...]
    biases: tuple[Tensor | float, ...]


class MaskedConvNet(nn.Module):
    """Mask A, then residual blocks of mask B: coded images (B, inputs, H, W) to features (B, width, H, W).

    Args:
        inputs: numbers that code one pixel.
        shape: (H, W).
        width: channels.
        layers: number of masked convolutions, the first of kernel `first`, the others of kernel `kernel`.
        kernel, first: odd.
        context: size of the condition's embedding; 0 for none.
        dropout: probability of dropping a channel in training.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int],
        *,
        width: int,
        layers: int,
        kernel: int = 3,
        first: int = 7,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.first = MaskedConv2d(inputs, width, first, centre=False)
        self.blocks: Sequence[MaskedBlock] = nn.ModuleList(  # type: ignore[assignment]
            MaskedBlock(width, kernel, context=context, dropout=dropout) for _ in range(layers - 1)
        )
        self.place = nn.Parameter(torch.zeros(width, *shape))

    def forward(self, codes: Tensor, e: Tensor | None = None) -> Tensor:
        """Features of every pixel, from pixels before it."""
        x = self.first(codes) + self.place
        for block in self.blocks:
            x = block(x, e)
        return x

    def begin(self, batch: int, e: Tensor | None = None) -> MaskedCache:
        """The cache before any pixel is known; e is the condition's embedding (B, context), or None."""
        width = self.shape[1]
        blocks = tuple(block.conv.begin(batch, width) for block in self.blocks)
        return MaskedCache(
            self.first.begin(batch, width), blocks, tuple(block.bias(e) for block in self.blocks)
        )

    def advance(self, cache: MaskedCache, i: int, code: Tensor | None) -> Tensor:
        """Take in the code (B, inputs) of pixel i-1 (None at i = 0), give the features (B, width) of pixel i."""
        row, column = divmod(i, self.shape[1])
        if code is not None:
            self.first.put(cache.first, (i - 1) % self.shape[1], code)
        if column == 0:
            self._begin_row(cache)
        x = self.first.pixel(cache.first, column) + self.place[:, row, column]
        for block, rows, bias in zip(self.blocks, cache.blocks, cache.biases, strict=True):
            x = block.pixel(rows, column, x, bias)
        return x

    def _begin_row(self, cache: MaskedCache) -> None:
        self.first.begin_row(cache.first)
        for block, rows in zip(self.blocks, cache.blocks, strict=True):
            block.conv.begin_row(rows)
