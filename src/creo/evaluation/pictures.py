"""Pictures of samples as PNG files in memory: a few of what can be looked at one by one, many of what cannot."""

from __future__ import annotations

import torch
from torch import Tensor

from creo.data.picture import png_bytes, sample_picture
from creo.spaces import Space

Extent = tuple[float, float, float, float]
_ONE_BY_ONE = {"image": 36, "text": 12}
_MANY = 2000


def looked_at(space: Space) -> str:
    """`image` or `text` where single samples can be looked at, else empty (points, tables, labels)."""
    if space.is_grid or (len(space.shape) == 2 and space.kind == "Ordinal"):
        return "image"
    return "text" if space.kind == "Tokens" else ""


def extent_of(x: Tensor, space: Space) -> Extent | None:
    """A square around nearly all points (N, 2), so that several pictures show the same part of the plane."""
    if space.shape != (2,) or space.discrete:
        return None
    edges = torch.tensor([0.002, 0.998], dtype=torch.float64)
    low, high = torch.quantile(x[:100_000].double(), edges, dim=0)
    half = float((high - low).max()) * 0.575 or 1.0
    a, b = ((low + high) / 2).tolist()
    return a - half, a + half, b - half, b + half


def picture(x: Tensor, space: Space, extent: Extent | None = None) -> bytes:
    """Samples (N, *shape) as a PNG file."""
    n = _ONE_BY_ONE.get(looked_at(space), _MANY)
    return png_bytes(sample_picture(x[:n], space, extent=extent))


def pair_picture(a: Tensor, b: Tensor, space: Space) -> bytes | None:
    """Samples a beside their neighbours b, two pairs in a row; None where single samples cannot be looked at."""
    if not looked_at(space) or not len(a):
        return None
    pairs = torch.stack([a, b], 1).flatten(0, 1)
    return png_bytes(sample_picture(pairs, space, columns=4))
