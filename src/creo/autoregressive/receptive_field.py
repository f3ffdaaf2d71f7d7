r"""The empirical receptive field of a pixel: how strongly its distribution depends on each other pixel, by gradient.

    R[u, v] = mean over images and random directions r of  sum_k | d (r . f[i, j]) / d code[k, u, v] |

f[i, j] are the features that the model turns into the distribution of pixel (i, j), code what the network sees. R is
exactly 0 where there is no path: at the pixel itself, at those after it, and in the blind spot of a masked stack.

Reference: Luo, Li, Urtasun, Zemel (2016), https://arxiv.org/abs/1701.04128.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from creo.autoregressive.pixels import PixelModel
from creo.errors import OptionError

if TYPE_CHECKING:
    from PIL.Image import Image


def receptive_field(
    model: PixelModel, pixel: tuple[int, int], x: Tensor | None = None, c: Tensor | None = None
) -> Tensor:
    """R of the module docstring, (H, W).

    Args:
        model: a pixel model; its parameters get no gradient.
        pixel: (row, column).
        x: raw images to average over, (B, *space.shape); None: 8 of uniform noise.
        c: their conditions, (B, *condition.shape), or None.

    Raises:
        OptionError: the pixel is not in the image.
    """
    height, width = model.space.shape[-2:]
    row, column = pixel
    if not (0 <= row < height and 0 <= column < width):
        raise OptionError(f"pixel must lie in an image of {height} x {width}; received {pixel}")
    if x is None:
        levels = model.coding.levels
        x = torch.randint(levels, (8, *model.space.shape), device=model.device).to(model.space.dtype)
    model.check_batch(x, c)
    with torch.enable_grad():
        codes = model.codes(x).requires_grad_()
        features = model.network(codes, model.embed(c))[:, :, row, column]
        (gradient,) = torch.autograd.grad((features * torch.randn_like(features)).sum(), codes)
    return gradient.abs().sum(1).mean(0)


def receptive_field_picture(field: Tensor, pixel: tuple[int, int], *, cell: int = 0) -> Image:
    """A receptive field as a picture: white where there is no influence, dark where it is strong, the pixel red.

    Args:
        field: from `receptive_field`, (H, W).
        pixel: (row, column).
        cell: side of a pixel in the picture; 0: such that the picture is about 320 wide.
    """
    import numpy as np
    from PIL import Image

    strength = field.detach().cpu().double()
    seen = strength > 0
    shade = (strength / strength.max().clamp(min=1e-300)).clamp(min=1e-6).log10() / 6 + 1  # six decades
    ink = torch.where(seen, 0.15 + 0.85 * shade, torch.zeros_like(shade))
    colour = torch.stack([1 - 0.9 * ink, 1 - 0.8 * ink, 1 - 0.55 * ink], -1)
    colour[pixel] = torch.tensor([0.85, 0.1, 0.1], dtype=colour.dtype)
    cell = cell or max(1, math.ceil(320 / field.shape[1]))
    pixels = (255 * colour).round().to(torch.uint8).numpy()
    return Image.fromarray(np.kron(pixels, np.ones((cell, cell, 1), dtype=np.uint8)))
