r"""U-Net: an image and a noise level to an image of the same size, at several scales with skips between them.

    x -> 3x3 conv -> [blocks at full size, halve] ... [blocks at the smallest size] ... [double, blocks] -> 3x3 conv

A block is  h + conv(f(norm(conv(f(norm(h))) (1 + scale) + shift)))  with scale and shift from the noise level and the
condition, followed, at small sizes, by self-attention over the pixels. Blocks and the last convolution end in zeros, so
that the network starts as the zero map. Sizes are halved rounding up and doubled back through the same sizes.

Attention has one head: at a few hundred pixels, many narrow heads cost several times as much and a fused kernel's
backward pass is slower than the plain product, which is therefore used up to `PLAIN` pixels.

In training on a processor that multiplies bfloat16 itself, convolutions and products compute in it (weights, their
gradients and statistics stay float32); in evaluation mode the network is float32, so that samplers and likelihoods do
not see rounding. `precision` says otherwise.

Sources: Ronneberger, Fischer, Brox 2015, https://arxiv.org/abs/1505.04597; Ho, Jain, Abbeel 2020,
https://arxiv.org/abs/2006.11239; scale and shift: Dhariwal, Nichol 2021, https://arxiv.org/abs/2105.05233.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.conv import scales
from creo.nn.group_norm import Norm
from creo.nn.time import TimeEmbedding

#: Number of pixels up to which attention is a plain softmax of products.
PLAIN = 1024


Precision = Literal["auto", "float32", "bfloat16"]


@functools.cache
def multiplies_bfloat16(device: str) -> bool:
    """Whether a kind of device has instructions that multiply bfloat16 numbers (emulation would be slower)."""
    known = torch.cpu.get_capabilities() if device == "cpu" else {}
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Attention(nn.Module):
    """h + out(softmax(q k' / sqrt(C)) v) over the pixels of normalised h, one head.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = Norm(channels, silu=False), nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        pixels = self.qkv(self.norm(h)).flatten(2).transpose(1, 2)
        q, k, v = pixels.chunk(3, -1)
        if q.shape[1] <= PLAIN:
            share = (q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)
            y = share.softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return h + self.out(y.transpose(1, 2).unflatten(2, h.shape[2:]))


class Block(nn.Module):
    """The block of the module docstring.

    Args:
        inputs: channels of h.
        outputs: channels of the answer.
        context: size of the vector that scale and shift come from.
        attend: whether attention follows.
        dropout: probability of dropping an activation before the second convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, *, context: int, attend: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulate = nn.Linear(context, 2 * outputs)
        self.norm2, self.conv2 = Norm(outputs), _zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs) if attend else nn.Identity()
        self.dropout = dropout

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """(B, inputs, H, W) and context vectors (B, context) to (B, outputs, H, W)."""
        y = self.norm2(self.conv1(self.norm1(h)), self.modulate(e))
        y = self.conv2(F.dropout(y, self.dropout, self.training))
        return self.attention(self.skip(h) + y)


class UNet(nn.Module):
    """The network of the module docstring.

    Args:
        shape: (C, H, W).
        channels: at full size.
        multipliers: of the channels at each halving, the last one repeated.
        blocks: per size, going down (going up has one more, for the skip of the way in).
        attend: largest side at which blocks attend, 0 for never, or a tuple of the very sides. The middle attends if
            any block does.
        smallest: sizes are halved until the shorter side is at most this.
        context: size of a condition's embedding; 0 for none.
        dropout: probability of dropping an activation in training.
        patch: side of the squares of pixels that become channels on the way in and pixels again on the way out, which
            makes everything between about patch^2 times as cheap; divides the sides of the image.
        outputs: channels of the answer; None: as many as come in.
        precision: of products in training: float32, bfloat16, or auto (see above).
        channels_last: lay images out channels last, which convolutions on most CPUs and GPUs prefer.

    Raises:
        OptionError: if the shape is not an image's.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        channels: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        attend: int | tuple[int, ...] = 16,
        smallest: int = 8,
        context: int = 0,
        dropout: float = 0.0,
        patch: int = 1,
        outputs: int | None = None,
        precision: Precision = "auto",
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise OptionError(f"a U-Net needs images (C, H, W); received shape {shape}")
        if patch < 1 or shape[1] % patch or shape[2] % patch:
            raise OptionError(f"patch must divide the sides of the image {shape}; received {patch}")
        self.patch, colours, answers = patch, shape[0] * patch**2, (outputs or shape[0]) * patch**2
        self.sizes, self.layout = (
            scales(shape[1] // patch, shape[2] // patch, smallest=smallest),
            channels_last,
        )
        self.precision: Precision = precision
        widths = [channels * multipliers[min(i, len(multipliers) - 1)] for i in range(len(self.sizes))]
        sides = attend if isinstance(attend, tuple) else range(1, attend + 1)
        attends = [min(size) in sides for size in self.sizes]
        width = 4 * channels
        self.time = TimeEmbedding(width, context=context)

        def block(a: int, b: int, attend: bool) -> Block:
            return Block(a, b, context=width, attend=attend, dropout=dropout)

        self.start = nn.Conv2d(colours, channels, 3, padding=1)
        self.down, self.shrink, kept, now = nn.ModuleList(), nn.ModuleList(), [channels], channels
        for level, wide in enumerate(widths):
            self.down.append(
                nn.ModuleList(block(now if i == 0 else wide, wide, attends[level]) for i in range(blocks))
            )
            kept += [wide] * blocks
            now = wide
            if level + 1 < len(widths):
                self.shrink.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                kept.append(now)
        self.middle = block(now, now, any(attends))
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            row = nn.ModuleList()
            for _ in range(blocks + 1):
                row.append(block(now + kept.pop(), widths[level], attends[level]))
                now = widths[level]
            self.up.append(row)
            if level:
                self.grow.append(nn.Conv2d(now, now, 3, padding=1))
        self.norm, self.out = Norm(now), _zero(nn.Conv2d(now, answers, 3, padding=1))
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, u: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, C, H, W) of noisy images x, noise levels u (B,) and a condition's embedding (B, context)."""
        half = self.precision == "bfloat16" or (
            self.precision == "auto" and multiplies_bfloat16(x.device.type)
        )
        if not (half and self.training):
            return self._forward(x, self.time(u, e))
        with torch.autocast(x.device.type, torch.bfloat16):
            return self._forward(x, self.time(u, e)).to(x.dtype)

    def _forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x
        h = self.start(x.contiguous(memory_format=torch.channels_last) if self.layout else x)
        kept = [h]
        for level, row in enumerate(self.down):
            for block in row:  # type: ignore[attr-defined]
                h = block(h, context)
                kept.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
                kept.append(h)
        h = self.middle(h, context)
        for level, row in enumerate(self.up):
            for block in row:  # type: ignore[attr-defined]
                h = block(torch.cat([h, kept.pop()], 1), context)
            if level < len(self.grow):
                h = self.grow[level](F.interpolate(h, size=self.sizes[-2 - level], mode="nearest"))
        y = self.out(self.norm(h))
        return F.pixel_shuffle(y, self.patch) if self.patch > 1 else y
