"""Small convolutional networks between images and vectors, for pictures of any size (8 x 8 and 28 x 28 alike).

    encoder  (B, C, H, W) -> 3x3 conv -> [3x3 conv of stride 2] per scale -> affine    (B, outputs)
    decoder  (B, inputs) -> affine -> [upsample to the next size, 3x3 conv] -> 1x1 conv   (B, C, H, W, size)

Sizes are halved, rounding up, until the shorter side is at most `smallest`; the decoder goes back through the same
sizes, so that odd ones need no cropping. Channels double at every halving. There is no batch normalisation: an answer
never depends on the other examples of its batch. A condition's embedding enters every convolution as a bias per
channel.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError


def scales(height: int, width: int, *, smallest: int = 4) -> list[tuple[int, int]]:
    """The sizes an image goes through: (28, 28), (14, 14), (7, 7), (4, 4)."""
    sizes = [(height, width)]
    while min(sizes[-1]) > smallest:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


class ConditionedConv(nn.Module):
    """A 3 x 3 convolution, a bias per channel from a condition, and a non-linearity.

    Args:
        inputs: channels of x.
        outputs: channels of y.
        context: size of the condition's embedding; 0 for none.
        stride: 2 halves the image, rounding up.
        slope: negative slope of the leaky ReLU.
    """

    def __init__(
        self, inputs: int, outputs: int, *, context: int = 0, stride: int = 1, slope: float = 0.1
    ) -> None:
        super().__init__()
        self.conv, self.slope = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), slope
        self.context = nn.Linear(context, outputs, bias=False) if context else None

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        y = self.conv(x)
        if self.context is not None:
            y = y + self.context(e)[:, :, None, None]
        return F.leaky_relu(y, self.slope)


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise OptionError(f"a convolutional network needs images (C, H, W); received shape {shape}")
    return shape[0], shape[1], shape[2]


class ConvEncoder(nn.Module):
    """Images (B, C, H, W) to vectors (B, outputs).

    Args:
        shape: (C, H, W).
        outputs: size of the vectors.
        channels: at full size; doubled at every halving.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, *, channels: int = 32, context: int = 0) -> None:
        super().__init__()
        colours, height, width = _image_shape(shape)
        sizes = scales(height, width)
        widths = [channels * 2**i for i in range(len(sizes))]
        first = ConditionedConv(colours, channels, context=context)
        down = (ConditionedConv(a, b, context=context, stride=2) for a, b in pairwise(widths))
        self.convs = nn.ModuleList([first, *down])
        self.out = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], outputs)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Vectors of the images x, given the embedding e of a condition if there is one."""
        for conv in self.convs:
            x = conv(x, e)
        return self.out(x.flatten(1))


class ConvDecoder(nn.Module):
    """Vectors (B, inputs) to `size` numbers for every pixel, (B, C, H, W, size).

    Args:
        inputs: size of the vectors.
        shape: (C, H, W).
        size: numbers per pixel and colour.
        channels: at full size; doubled at every halving.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(
        self, inputs: int, shape: tuple[int, ...], size: int, *, channels: int = 32, context: int = 0
    ) -> None:
        super().__init__()
        colours, height, width = _image_shape(shape)
        self.sizes = scales(height, width)[::-1]
        widths = [channels * 2**i for i in range(len(self.sizes))][::-1]
        self.start = nn.Linear(inputs, widths[0] * self.sizes[0][0] * self.sizes[0][1])
        ends = [*widths[1:], widths[-1]]
        self.convs = nn.ModuleList(
            ConditionedConv(a, b, context=context) for a, b in zip(widths, ends, strict=True)
        )
        self.out = nn.Conv2d(widths[-1], colours * size, 1)
        self.split = (colours, size)

    def forward(self, z: Tensor, e: Tensor | None = None) -> Tensor:
        """`size` numbers per pixel for the vectors z, given the embedding e of a condition if there is one."""
        x = F.leaky_relu(self.start(z), 0.1).unflatten(1, (-1, *self.sizes[0]))
        for conv, size in zip(self.convs, [*self.sizes[1:], None], strict=True):
            x = conv(x, e)
            if size is not None:
                x = F.interpolate(x, size=size, mode="nearest")
        return self.out(x).unflatten(1, self.split).movedim(2, -1)
