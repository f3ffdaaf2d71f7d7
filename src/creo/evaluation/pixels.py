"""Pictures as networks want them: (B, C, H, W) in [0, 1], in batches, without gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from creo.errors import SpaceError
from creo.spaces import Space

BATCH = 256


def picture_shape(space: Space, what: str) -> tuple[int, int, int]:
    """(C, H, W) of a space of pictures with levels.

    Raises:
        SpaceError: it is another space.
    """
    if space.kind != "Ordinal" or not space.is_image:
        raise SpaceError(
            f"features {what} are of pictures, Ordinal (C, H, W) with 1 or 3 colours; received {space}"
        )
    channels, height, width = space.shape
    return channels, height, width


def unit(x: Tensor, space: Space) -> Tensor:
    """Levels 0..levels-1 of an Ordinal space as numbers in [0, 1]."""
    return x.float() / (space.levels - 1)  # type: ignore[attr-defined]


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], x: Tensor, *, batch: int = BATCH) -> Tensor:
    """The network's answers for x, some rows at a time."""
    return torch.cat([network(part) for part in x.split(batch)])
