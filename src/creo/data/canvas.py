r"""Small pictures laid on a larger canvas: scaled about their corner and moved, by bilinear interpolation.

    canvas[y, x] = picture((y - top) / scale, (x - left) / scale),   0 outside of the picture

with pixel centres as points. At scale 1 a picture moved by a fraction of a pixel is shared among four pixels each, so
that, as long as it stays inside, its ink (the sum) is kept and its centre of mass moves by exactly that fraction, up
to the rounding to levels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Pictures interpolated at once, so that large sets do not need large memory.
CHUNK = 4096


def lay(pictures: Tensor, canvas: tuple[int, int], corner: Tensor, scale: Tensor | None = None) -> Tensor:
    """Pictures on empty canvases.

    Args:
        pictures: levels, uint8 (N, h, w).
        canvas: (H, W).
        corner: where each picture's upper left corner goes, (N, 2) as (top, left) in pixels, not necessarily whole.
        scale: enlargement of each, (N,); 1 if not given.

    Returns:
        Levels, uint8 (N, H, W).
    """
    sizes = torch.ones(len(pictures)) if scale is None else scale
    parts = zip(pictures.split(CHUNK), corner.split(CHUNK), sizes.split(CHUNK), strict=True)
    return torch.cat([_lay(x, at, size, canvas) for x, at, size in parts])


def _lay(pictures: Tensor, corner: Tensor, scale: Tensor, canvas: tuple[int, int]) -> Tensor:
    """`lay` of a few, by the affine map from canvas to picture in grid_sample's coordinates, -1 to 1 edge to edge."""
    h, w = pictures.shape[1:]
    place = corner.double()[:, [1, 0]]
    ours, theirs = torch.tensor([w, h]).double(), torch.tensor(canvas[::-1]).double()
    stretch = theirs / ours / scale.double()[:, None]
    shift = (theirs - 2 * place) / (ours * scale.double()[:, None]) - 1
    maps = torch.cat([torch.diag_embed(stretch), shift[:, :, None]], 2)
    grid = F.affine_grid(maps, [len(pictures), 1, *canvas], align_corners=False)
    laid = F.grid_sample(pictures[:, None].double(), grid, "bilinear", "zeros", align_corners=False)
    return laid[:, 0].round().to(torch.uint8)
