r"""Networks for a space: a perceptron, a U-Net or a transformer over patches, told the noise level.

    network(x (B, *shape), log(sigma/alpha) (B,) or (1,), context (B, width) or None) -> (B, *shape)

A condition that is a picture as high and wide as the sample is shown to a U-Net pixel by pixel (`creo.nn.beside`).

A `Widened` network sees more and says more: it is built for `copies` times as many channels (entries, of vectors), is
given x and functions of x, and answers with several arrays of x's shape,

    outputs = inner([x, f_2(x), ..., f_copies(x)])         (B, copies C, *) -> heads of (B, C, *)

Functions are x itself, or the Fourier features sin(2^n pi x), cos(2^n pi x) that let a network see fine differences of
levels (Kingma et al. 2021, https://arxiv.org/abs/2107.00630, appendix C).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn import ConditionEmbedding
from creo.nn.beside import Beside, PixelEmbedding, fits_beside
from creo.nn.dit import DiT
from creo.nn.time import TimeMLP
from creo.nn.unet import UNet
from creo.spaces import Space

#: Shorter side from which images get a U-Net.
UNET_FROM = 16

NetworkName = Literal["auto", "mlp", "unet", "dit"]


def is_unet(shape: tuple[int, ...], name: NetworkName) -> bool:
    """Whether the network of that name for samples of a shape is a U-Net."""
    return name == "unet" or (name == "auto" and len(shape) == 3 and min(shape[1:]) >= UNET_FROM)


def embedding_for(
    condition: Space | None, shape: tuple[int, ...], name: NetworkName = "auto", *, width: int
) -> ConditionEmbedding | None:
    """How the network of that name is told a condition: None of none, its pixels where a U-Net can lay them beside.

    Args:
        condition: its space, or None.
        shape: of one sample.
        name: of the network.
        width: of the embedding, where it is a vector.
    """
    if condition is None:
        return None
    keeps = is_unet(shape, name) and fits_beside(condition, shape)
    return PixelEmbedding(condition) if keeps else ConditionEmbedding(condition, width)


def network_for(
    shape: tuple[int, ...],
    name: NetworkName = "auto",
    *,
    hidden: tuple[int, ...] = (96, 96, 96),
    channels: int = 32,
    blocks: int = 1,
    patch: int = 1,
    context: int = 0,
    copies: int = 1,
    beside: tuple[int, ...] | None = None,
) -> nn.Module:
    """A network for samples of a shape.

    Args:
        shape: of one sample, (D,) or (C, H, W).
        name: mlp, unet or dit (both of images and videos only); auto is unet from 16 x 16 pixels.
        hidden: units of the perceptron's hidden layers.
        channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
        blocks: of the U-Net per size; a DiT has four times as many.
        patch: side of the squares of pixels taken as one.
        context: size of a condition's embedding; 0 for none.
        copies: how many times as many channels it takes and gives; see `Widened`.
        beside: shape of a condition whose pixels a U-Net sees beside the sample's instead of a context.
    """
    wide = (copies * shape[0], *shape[1:]) if shape else shape
    if is_unet(shape, name) and beside is not None:
        both = (wide[0] + beside[0], *shape[1:])
        return Beside(UNet(both, channels=channels, blocks=blocks, patch=patch, outputs=wide[0]), beside)
    if is_unet(shape, name):
        return UNet(wide, channels=channels, blocks=blocks, context=context, patch=patch)
    if name == "dit":
        return DiT(wide, patch=patch, width=4 * channels, layers=4 * blocks, context=context)
    return TimeMLP(wide, hidden=hidden, context=context)


def told_network(
    shape: tuple[int, ...],
    condition: Space | None,
    name: NetworkName = "auto",
    *,
    width: int,
    hidden: tuple[int, ...] = (96, 96, 96),
    channels: int = 32,
    blocks: int = 1,
    patch: int = 1,
    copies: int = 1,
) -> tuple[nn.Module, ConditionEmbedding | None]:
    """`network_for` and `embedding_for` together: a network and how it is told a condition; arguments as there."""
    embedding = embedding_for(condition, shape, name, width=width)
    network = network_for(
        shape,
        name,
        hidden=hidden,
        channels=channels,
        blocks=blocks,
        patch=patch,
        context=0 if embedding is None else embedding.width,
        copies=copies,
        beside=embedding.space.shape if isinstance(embedding, PixelEmbedding) else None,
    )
    return network, embedding


class Widened(nn.Module):
    """The network of the module docstring.

    Args:
        inner: of `copies` times as many channels as x has.
        copies: odd with Fourier features: one and two per frequency.
        heads: arrays of x's shape that are answered, at most `copies`.
        lowest: n of the lowest frequency 2^n pi of the Fourier features; None for copies of x instead.

    Raises:
        OptionError: more heads than copies, or an even number of copies with Fourier features.
    """

    def __init__(self, inner: nn.Module, copies: int, *, heads: int, lowest: int | None = None) -> None:
        super().__init__()
        if not 1 <= heads <= copies or (lowest is not None and copies % 2 == 0):
            raise OptionError(
                "a widened network has at most as many heads as copies, an odd number of them with Fourier "
                f"features; received heads={heads}, copies={copies}, lowest={lowest}"
            )
        self.inner, self.copies, self.heads, self.lowest = inner, copies, heads, lowest

    def seen(self, x: Tensor) -> Tensor:
        """x and its functions, (B, copies C, *)."""
        if self.lowest is None:
            return torch.cat([x] * self.copies, 1)
        waves = [x * (2 ** (self.lowest + n) * math.pi) for n in range(self.copies // 2)]
        return torch.cat([x, *(w.sin() for w in waves), *(w.cos() for w in waves)], 1)

    def forward(self, x: Tensor, u: Tensor, e: Tensor | None = None) -> Tensor:
        """All heads side by side, (B, heads C, *): `chunk(heads, 1)` takes them apart."""
        out: Tensor = self.inner(self.seen(x), u, e)
        return out[:, : self.heads * x.shape[1]]
