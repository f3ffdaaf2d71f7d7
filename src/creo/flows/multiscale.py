r"""Multi-scale flows of images: squeeze, split, and the ladder of both.

    Squeeze   (C, H, W) -> (4 C, H/2, W/2), every 2 x 2 block of pixels becomes channels; log_det 0
    Split     x = (a, b) by channels;  y = (flow(a), (b - m(a)) exp(-s(a))),  flattened and joined;  log_det adds up

    ladder    squeeze, layers, split(squeeze, layers, split(...)), as often as the sides can be halved

`Split` sends half of the entries to the noise early, through a Gaussian whose mean and scale are functions of the
half that stays: nothing is lost, and later layers work on half as much.

Sources: RealNVP, https://arxiv.org/abs/1605.08803 (sections 3.6, 3.7); learned mean and scale: Glow,
https://arxiv.org/abs/1807.03039.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError, SpaceError
from creo.flows.coupling import Affine
from creo.flows.layer import Compose, Layer


class Squeeze(Layer):
    """Space to channels; see the module docstring. Height and width must be even."""

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Blocks of pixels to channels."""
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Channels to blocks of pixels."""
        return F.pixel_shuffle(y, 2), y.new_zeros(len(y))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(4 C, H/2, W/2)."""
        channels, height, width = shape
        if height % 2 or width % 2:
            raise OptionError(f"squeeze needs even height and width; received {shape}")
        return 4 * channels, height // 2, width // 2


class Reshape(Layer):
    """Another shape for the same entries.

    Args:
        before: of one sample.
        after: with as many entries.
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        if math.prod(before) != math.prod(after):
            raise OptionError(f"{before} and {after} have different numbers of entries")
        self.before, self.after = before, after

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """To the new shape."""
        return x.reshape(-1, *self.after), x.new_zeros(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """To the old one."""
        return y.reshape(-1, *self.before), y.new_zeros(len(y))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The new one."""
        return self.after


class Split(Layer):
    """Factor out half of the channels; the output is flat.

    Args:
        shape: (C, H, W), C even.
        flow: layers for the half that stays.
        bound: limit of the log-scale s.
    """

    def __init__(self, shape: tuple[int, ...], flow: Layer, *, bound: float = 1.0) -> None:
        super().__init__()
        channels, height, width = shape
        if channels % 2:
            raise OptionError(f"split needs an even number of channels; received {shape}")
        self.kept, self.staying = channels // 2, channels // 2 * height * width
        self.flow, self.gaussian = flow, Affine(bound)
        self.after = flow.output_shape((self.kept, height, width))
        self.network = nn.Conv2d(self.kept, 2 * self.kept, 3, padding=1)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)  # type: ignore[arg-type]

    def _answers(self, a: Tensor) -> Tensor:
        """Raw log-scale and shift of the entries that leave, (B, 2, n)."""
        return self.network(a).to(a.dtype).unflatten(1, (2, self.kept)).flatten(2)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Half to noise by a Gaussian, half through the flow."""
        a, b = x.chunk(2, 1)
        b, log_slope = self.gaussian.inverse(b.flatten(1), self._answers(a))
        a, log_det = self.flow.forward(a, e)
        return torch.cat([a.flatten(1), b], 1), log_det + log_slope.sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The half that stayed first, then the other given it."""
        a, b = y[:, : self.staying], y[:, self.staying :]
        a, log_det = self.flow.inverse(a.reshape(-1, *self.after), e)
        b, log_slope = self.gaussian.forward(b, self._answers(a))
        return torch.cat([a, b.reshape_as(a)], 1), log_det + log_slope.sum(1)

    def initialise(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """The layers inside, with the half that arrives there."""
        self.flow.initialise(x.chunk(2, 1)[0], e)
        return self.forward(x, e)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Flat."""
        return (math.prod(shape),)


#: The layers of one scale with the squeeze among them, given the shape before it.
Scale = Callable[[tuple[int, ...]], list[Layer]]


def multiscale(shape: tuple[int, ...], scales: int, scale: Scale) -> list[Layer]:
    """One scale, split, the next scale, and so on: as often as the sides can be halved, at most `scales` times."""
    if len(shape) != 3 or shape[1] % 2 or shape[2] % 2:
        raise SpaceError(
            f"a multi-scale flow needs images (C, H, W) of even height and width; received shape {shape}"
        )
    if scales < 1:
        raise OptionError(f"scales must be at least 1; received {scales}")
    return [*_ladder(shape, scales, scale), Reshape((math.prod(shape),), shape)]


def _ladder(shape: tuple[int, ...], scales: int, scale: Scale) -> list[Layer]:
    """The layers from (C, H, W) to flat noise."""
    layers = scale(shape)
    channels, height, width = inside = Compose(layers).output_shape(shape)
    if scales == 1 or height % 2 or width % 2:
        return [*layers, Reshape(inside, (math.prod(inside),))]
    half = (channels // 2, height, width)
    return [*layers, Split(inside, Compose(_ladder(half, scales - 1, scale)))]


def channel_mask(shape: tuple[int, ...], index: int) -> Tensor:
    """Keeps the first half of the channels at even indices and the second at odd ones, (C, H, W)."""
    first = torch.arange(shape[0]) < (shape[0] + 1) // 2
    return (first ^ bool(index % 2))[:, None, None].expand(shape)
