r"""Two stacks of gated causal convolutions: features of every pixel from all pixels before it in raster order.

The vertical stack v sees the rows above, the horizontal stack h what is to the left in its own row and, through a
1 x 1 link, v; together they see a whole half plane, without the blind spot of a single masked stack. With the gate
g(a, b) = tanh(a) sigma(b), a layer is, at row i and column j,

    v' = v + g(V * v[i-r..i, j-r..j+r] + A e)              rows above i only in the first layer
    h' = h + O g(U * h[i, j-r..j] + L v' + S s + B e)      columns left of j only in the first layer

e is the embedding of a condition; the first layer has no residual, and a learned bias per place instead; s is the
output of the layer that mirrors this one (layer n-1-l for the l-th of n), where `shortcuts` are asked for. With
`attention`, blocks of causal attention (`creo.nn.causal_transformer`) stand between the layers: h of a pixel then
takes in h of all pixels before it at any distance, whose number the convolutions alone would have to reach.

Incremental (`begin`, `advance`): the vertical stack of a row and its links are computed once, when the row begins,
from the r rows above kept by each layer; a pixel then costs one small product per layer. All pixels together cost about
one forward pass; the results are those of `forward` up to rounding.

References:
    van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders, https://arxiv.org/abs/1606.05328;
    Chen, Mishra, Rohaninejad, Abbeel (2018), PixelSNAIL, https://arxiv.org/abs/1712.09763 (the attention).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.causal_transformer import CausalBlock, Kept
from creo.nn.dropout import dropout

_HEADS = 2  # of an attention block: few and wide is fastest on a CPU


def gate(x: Tensor) -> Tensor:
    """tanh(a) sigma(b) of the two halves of the channels, (B, 2F, ...) to (B, F, ...)."""
    a, b = x.chunk(2, 1)
    # torch's sigmoid takes a third of its tanh's time on a CPU; in short formats the difference would lose digits
    tanh = torch.tanh(a) if a.dtype.itemsize < 4 else 1 - 2 * torch.sigmoid(-2 * a)
    return tanh * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks.

    Args:
        inputs: channels of v and h.
        width: F, channels of v' and h'.
        kernel: 2 r + 1.
        strict: whether the pixel's own place is excluded (first layer).
        context: size of the condition's embedding; 0 for none.
        shortcut: whether it takes in the output of a mirrored layer.
        dropout: probability of dropping a channel's gate in training.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        kernel: int,
        *,
        strict: bool = False,
        context: int = 0,
        shortcut: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.reach, self.strict, self.dropout = kernel // 2, strict, dropout
        taps = self.reach + (0 if strict else 1)
        self.vertical = nn.Conv2d(inputs, 2 * width, (taps, kernel))
        self.horizontal = nn.Conv2d(inputs, 2 * width, (1, taps))
        self.link = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.shortcut = nn.Conv2d(width, 2 * width, 1, bias=False) if shortcut else None
        self.context = nn.Linear(context, 4 * width, bias=False) if context else None
        self.out = nn.Conv2d(width, width, 1)

    def biases(self, e: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """What the condition adds to the two stacks, (B, 2F, 1, 1) each."""
        if self.context is None:
            return 0.0, 0.0
        a, b = self.context(e)[:, :, None, None].chunk(2, 1)
        return a, b

    def forward(
        self, v: Tensor, h: Tensor, e: Tensor | None, place: Sequence[Tensor | float], s: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """v' and h' for whole images.

        Args:
            v, h: (B, inputs, H, W).
            e: embedding of the condition, (B, context), or None.
            place: what the place adds to the two gates, (2F, H, W) each, or 0.
            s: output of the mirrored layer, or None.
        """
        (height, width), r = v.shape[-2:], self.reach
        above, before = self.biases(e)
        up = self.vertical(F.pad(v, (r, r, r, 0)))[:, :, :height] + place[0] + above
        left = self.horizontal(F.pad(h, (r, 0)))[..., :width] + place[1] + before
        y = gate(up)
        v = y if self.strict else v + y
        left = left + self.link(v)
        if self.shortcut is not None and s is not None:
            left = left + self.shortcut(s)
        y = self.out(dropout(gate(left), self.dropout, self.training))
        return v, y if self.strict else h + y

    def pixel(self, h: Tensor, link: Tensor, s: Tensor | None) -> Tensor:
        """h' of one pixel (B, F), from the taps h (B, inputs, taps), what v' and place give it, and the shortcut."""
        left = F.linear(h.flatten(1), self.horizontal.weight.flatten(1), self.horizontal.bias) + link
        if self.shortcut is not None and s is not None:
            left = left + F.linear(s, self.shortcut.weight.flatten(1))
        y = F.linear(gate(left), self.out.weight.flatten(1), self.out.bias)
        return y if self.strict else h[:, :, -1] + y


class GatedCache(NamedTuple):
    """What an incremental pass has computed so far; its tensors are written in place by `advance`."""

    codes: Tensor  # pixels so far, padded above and on both sides: (B, inputs, H + r, W + 2 r)
    above: tuple[Tensor, ...]  # vertical inputs of each later layer: rows i - r..i, (B, F, r + 1, W)
    links: tuple[Tensor, ...]  # what place, condition and v' add to the row's gates, (B, 2F, W)
    left: tuple[Tensor, ...]  # horizontal inputs of each later layer, padded on the left: (B, F, r + W)
    biases: tuple[tuple[Tensor | float, Tensor | float], ...]  # what the condition adds to each layer
    kept: tuple[Kept | None, ...]  # keys and values of the attention after each layer


class GatedStack(nn.Module):
    """The network of the module docstring: coded images (B, inputs, H, W) to features (B, width, H, W).

    Args:
        inputs: numbers that code one pixel.
        shape: (H, W).
        width: F, channels.
        layers: number of layers, the first of kernel `first`, the others of kernel `kernel`.
        kernel: odd.
        first: odd.
        context: size of the condition's embedding; 0 for none.
        shortcuts: whether the second half of the layers takes in the outputs of the first half.
        attention: blocks of causal attention, spread evenly over the layers, each after one.
        dropout: probability of dropping a channel's gate in training.
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
        shortcuts: bool = False,
        attention: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= attention <= layers:
            raise OptionError(f"attention blocks stand after 0 to {layers} layers; received {attention}")
        self.inputs, self.shape, self.width = inputs, shape, width
        #: for each layer, the layer whose output it takes in by a shortcut, or None
        self.mirror = [layers - 1 - l if shortcuts and l > layers - 1 - l else None for l in range(layers)]
        self.layers: Sequence[GatedLayer] = nn.ModuleList(  # type: ignore[assignment]
            GatedLayer(
                inputs if l == 0 else width,
                width,
                first if l == 0 else kernel,
                strict=l == 0,
                context=context,
                shortcut=self.mirror[l] is not None,
                dropout=dropout,
            )
            for l in range(layers)
        )
        self.place = nn.Parameter(torch.zeros(2, 2 * width, *shape))
        #: layer -> the attention that follows it
        self._after = {(k + 1) * layers // attention - 1: k for k in range(attention)}
        self.attention: Sequence[CausalBlock] = nn.ModuleList(  # type: ignore[assignment]
            CausalBlock(width, math.gcd(width, _HEADS), dropout=dropout) for _ in self._after
        )

    def _block(self, l: int) -> CausalBlock | None:
        """The attention after layer l, if there is one."""
        return self.attention[self._after[l]] if l in self._after else None

    def _places(self, l: int) -> Sequence[Tensor | float]:
        return tuple(self.place) if l == 0 else (0.0, 0.0)

    def forward(self, codes: Tensor, e: Tensor | None = None) -> Tensor:
        """Features of every pixel, from the pixels before it."""
        v = h = codes.contiguous(memory_format=torch.channels_last)  # what convolutions are fastest in
        outputs: list[Tensor] = []
        for l, layer in enumerate(self.layers):
            m = self.mirror[l]
            v, h = layer(v, h, e, self._places(l), None if m is None else outputs[m])
            if (block := self._block(l)) is not None:
                h = block(h.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, self.shape)
            outputs.append(h)
        return h

    def begin(self, batch: int, e: Tensor | None = None) -> GatedCache:
        """The cache before any pixel is known.

        Args:
            batch: B.
            e: embedding of the condition, (B, context), or None.
        """
        (height, width), r = self.shape, self.layers[0].reach
        zeros = self.place.new_zeros
        later, blocks = self.layers[1:], [self._block(l) for l in range(len(self.layers))]
        return GatedCache(
            zeros(batch, self.inputs, height + r, width + 2 * r),
            tuple(zeros(batch, self.width, layer.reach + 1, width) for layer in later),
            tuple(zeros(batch, 2 * self.width, width) for _ in self.layers),
            tuple(zeros(batch, self.width, layer.reach + width) for layer in later),
            tuple(layer.biases(e) for layer in self.layers),
            tuple(None if b is None else b.empty(batch, height * width) for b in blocks),
        )

    def advance(self, cache: GatedCache, i: int, code: Tensor | None) -> Tensor:
        """Take in pixel i-1 and give the features of pixel i, writing into the cache.

        Args:
            cache: from `begin`, after pixels 0..i-1.
            i: index of the pixel in raster order.
            code: code of pixel i-1, (B, inputs); None at i = 0.

        Returns:
            (B, width): what `forward` gives there (without dropout).
        """
        r, width = self.layers[0].reach, self.shape[1]
        if code is not None:
            cache.codes[:, :, r + (i - 1) // width, r + (i - 1) % width] = code
        row, column = divmod(i, width)
        if column == 0:
            self._begin_row(cache, row)
        return self._pixel(cache, row, column)

    def _begin_row(self, cache: GatedCache, row: int) -> None:
        """The vertical stack of a row, and what it adds to the row's horizontal gates."""
        v = cache.codes[:, :, row : row + self.layers[0].reach]
        for l, layer in enumerate(self.layers):
            above, before = cache.biases[l]
            pad = (0, layer.reach) if l else (0, 0)
            y = F.conv2d(v, layer.vertical.weight, layer.vertical.bias, padding=pad)
            places = self._places(l)
            at = [p[:, row : row + 1] if isinstance(p, Tensor) else p for p in places]
            y = gate(y + at[0] + above)
            out = y if l == 0 else v[:, :, -1:] + y
            cache.links[l].copy_((layer.link(out) + at[1] + before).squeeze(2))
            if l + 1 < len(self.layers):
                v = cache.above[l]
                v.copy_(v.roll(-1, 2))
                v[:, :, -1:] = out

    def _pixel(self, cache: GatedCache, row: int, column: int) -> Tensor:
        """The horizontal stack of one pixel."""
        r = self.layers[0].reach
        taps = cache.codes[:, :, r + row, column : column + r]
        outputs: list[Tensor] = []
        for l, layer in enumerate(self.layers):
            if l:
                cache.left[l - 1][:, :, layer.reach + column] = outputs[-1]
                taps = cache.left[l - 1][:, :, column : column + layer.reach + 1]
            m = self.mirror[l]
            link = cache.links[l][:, :, column]
            h = layer.pixel(taps, link, None if m is None else outputs[m])
            block, kept = self._block(l), cache.kept[l]
            if block is not None and kept is not None:
                h = block.advance(h.unsqueeze(1), kept, row * self.shape[1] + column).squeeze(1)
            outputs.append(h)
        return outputs[-1]
