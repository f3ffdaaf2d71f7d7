r"""A condition of any space as a vector (B, width) that networks take in.

| condition            | embedding                                                                       |
|----------------------|---------------------------------------------------------------------------------|
| `Categories(size)`   | a learned vector per label                                                      |
| `Continuous(shape)`  | affine in (c - mean) / std, flattened; mean and std by `initialise`, else 0, 1  |
| `Ordinal(shape, L)`  | affine in 2 c / (L - 1) - 1, flattened                                          |
| `Tokens(length, n)`  | a small text encoder (`text.py`); the symbol spelt "" is a blank                 |
| `Table(columns)`     | sum of the columns' embeddings                                                  |

So a condition is raw data of its space, as everywhere, and never one-hot coded by the caller. (U-Nets keep the pixels
of a condition that is a picture of the sample's size: `beside.py`.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from creo.errors import SpaceError
from creo.nn.text import TextEncoder
from creo.spaces import Categories, Continuous, Ordinal, Space, Table, Tokens


class ConditionEmbedding(nn.Module):
    """Embeds raw conditions; see the module docstring.

    Args:
        space: the space of the condition.
        width: size of the embedding.

    Raises:
        SpaceError: if there is no embedding for this kind of space.
    """

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        if type(space) not in _EMBEDDINGS:
            raise SpaceError(f"no embedding for conditions of {space}; there is one for {_known()}")
        self.space, self.width = space, width
        self.embed = _EMBEDDINGS[type(space)](space, width)

    def forward(self, c: Tensor) -> Tensor:
        """Raw conditions (B, *space.shape) to (B, width)."""
        return self.embed(c)

    def initialise(self, c: Tensor) -> None:
        """Take the scale of continuous conditions from data, (N, *space.shape); a no-op for the others."""
        if isinstance(self.embed, _Standardised | _Columns):
            self.embed.set_scale(c)


class _Labels(nn.Embedding):
    """`nn.Embedding` that takes any integer (and a table's float64) dtype."""

    def __init__(self, space: Categories, width: int) -> None:
        super().__init__(space.size, width)

    def forward(self, c: Tensor) -> Tensor:
        return super().forward(c.long())


class _Standardised(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, space: Continuous, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(space.dims, width)
        self.register_buffer("mean", torch.zeros(space.dims))
        self.register_buffer("std", torch.ones(space.dims))

    def forward(self, c: Tensor) -> Tensor:
        c = c.reshape(len(c), len(self.mean)).to(self.mean.dtype)
        return self.linear((c - self.mean) / self.std)

    def set_scale(self, c: Tensor) -> None:
        c = c.reshape(len(c), len(self.mean)).double()
        std = c.std(0, correction=0)
        self.mean.copy_(c.mean(0))
        self.std.copy_(torch.where(std > 0, std, 1.0))


class _Levels(nn.Module):
    def __init__(self, space: Ordinal, width: int) -> None:
        super().__init__()
        self.middle = (space.levels - 1) / 2
        self.linear = nn.Linear(space.dims, width)

    def forward(self, c: Tensor) -> Tensor:
        c = c.reshape(len(c), self.linear.in_features).to(self.linear.weight.dtype)
        return self.linear(c / self.middle - 1)


def _text(space: Tokens, width: int) -> TextEncoder:
    blank = space.symbols.index("") if space.symbols is not None and "" in space.symbols else None
    return TextEncoder(space.length, space.size, width, blank=blank)


class _Columns(nn.Module):
    def __init__(self, space: Table, width: int) -> None:
        super().__init__()
        self.columns = nn.ModuleList(ConditionEmbedding(s, width) for s in space.column_spaces)

    def forward(self, c: Tensor) -> Tensor:
        return torch.stack([self.columns[i](c[:, i]) for i in range(len(self.columns))]).sum(0)

    def set_scale(self, c: Tensor) -> None:
        for i, column in enumerate(self.columns):
            cast(ConditionEmbedding, column).initialise(c[:, i])


_EMBEDDINGS: dict[type[Space], Callable[..., nn.Module]] = {
    Categories: _Labels,
    Continuous: _Standardised,
    Ordinal: _Levels,
    Tokens: _text,
    Table: _Columns,
}


def _known() -> str:
    return ", ".join(kind.__name__ for kind in _EMBEDDINGS)
