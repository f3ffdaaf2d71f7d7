r"""How a network sees a value v of 0..levels-1: as the numbers of its code.

    onehot       levels numbers: 1 at v, 0 elsewhere
    thermometer  levels - 1 numbers: the l-th is 1 where v > l, else -1
    scaled       one number: 2 v / (levels - 1) - 1
    learned      width numbers: E[v], a row of a learned table for each level

The first three are fixed (`Coding`), the last is a part of the network (`Learned`). A linear layer on
one-hot codes has a vector for each level, too, but it multiplies levels x outputs for each place that it looks at; a
table multiplies nothing, and what looks at its rows width x outputs. So `learned` is for many levels without an order,
such as the codes of a codebook, where a layer looks at several places at once.

Reference: Bengio, Ducharme, Vincent, Jauvin (2003), A Neural Probabilistic Language Model,
https://jmlr.org/papers/v3/bengio03a.html (the table).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.spaces import Ordinal, Tokens

CodingName = Literal["auto", "thermometer", "onehot", "scaled", "learned"]

#: Up to this many ordered levels, each has its own number in the code and its own parameter in the head.
FEW_LEVELS = 32


class Coding:
    """A fixed code of the module docstring.

    Args:
        name: onehot, thermometer or scaled.
        levels: number of levels.
    """

    def __init__(self, name: str, levels: int) -> None:
        self.name, self.levels = name, levels
        self.size = {"onehot": levels, "thermometer": levels - 1, "scaled": 1}[name]

    @property
    def fixed(self) -> Coding:
        """Itself."""
        return self

    def __call__(self, v: Tensor, dtype: torch.dtype) -> Tensor:
        """Values (*) to codes (*, size)."""
        if self.name == "onehot":
            return F.one_hot(v, self.levels).to(dtype)
        if self.name == "thermometer":
            above = v.unsqueeze(-1) > torch.arange(self.levels - 1, device=v.device)
            return above.to(dtype) * 2 - 1
        return (v.to(dtype) * (2 / (self.levels - 1)) - 1).unsqueeze(-1)


class Learned(nn.Module):
    """The learned code of the module docstring.

    Args:
        levels: number of levels.
        width: numbers of a code.
    """

    name = "learned"

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.levels, self.size = levels, width
        self.table = nn.Parameter(torch.randn(levels, width))

    @property
    def fixed(self) -> Coding:
        """The code without parameters for what looks at one place at a time, and so has a table of its own."""
        return Coding("onehot", self.levels)

    def forward(self, v: Tensor, dtype: torch.dtype) -> Tensor:
        """Values (*) to codes (*, size)."""
        return F.embedding(v, self.table).to(dtype)


def coding_name(space: Ordinal | Tokens, coding: str) -> str:
    """The coding meant by `auto`: onehot for tokens, thermometer for up to 32 levels, scaled above.

    Raises:
        OptionError: a coding by order for symbols that have none.
    """
    if isinstance(space, Tokens):
        if coding not in ("auto", "onehot", "learned"):
            raise OptionError(f"coding {coding!r} needs ordered levels; {space} has symbols without an order")
        return "onehot" if coding == "auto" else coding
    if coding != "auto":
        return coding
    return "thermometer" if space.levels <= FEW_LEVELS else "scaled"


def coding_of(space: Ordinal | Tokens, name: CodingName, levels: int, width: int) -> Coding | Learned:
    """The coding of that name for the values of a space.

    Args:
        space: of what is coded.
        name: see the module docstring; `auto` goes by the space.
        levels: number of levels.
        width: numbers of a learned code.
    """
    chosen = coding_name(space, name)
    return Learned(levels, width) if chosen == "learned" else Coding(chosen, levels)
