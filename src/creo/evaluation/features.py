r"""Standardised features: every space as vectors in which distances mean something.

| space      | vector of one sample                                                         |
|------------|------------------------------------------------------------------------------|
| Continuous | its coordinates                                                              |
| Ordinal    | its levels scaled to [0, 1]                                                  |
| Tokens     | one-hot symbols by position, and how often each pair of neighbours occurs    |
| Categories | one-hot                                                                      |
| Table      | its columns' vectors side by side                                            |

then, with mean m and standard deviation s of the *training* set per feature, `(f - m) / max(s, floor)`. The floor,
a tenth of the root mean square of s, keeps a pixel that is almost always black from outweighing all others.

An extractor is a callable with a `name` and a content `key` (hash of everything that determines its output): a
number computed from features names both, since it means nothing without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, singledispatch
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from creo.spaces import Categories, Continuous, Ordinal, Space, Table, Tokens

Encoding = Callable[[Tensor], Tensor]
_POSITIONS = 2048  # one-hot features at most; longer texts are described by their pairs alone
_PAIRS = 1024  # buckets of neighbouring pairs at most; more pairs than that share buckets
FLOOR = 0.1


class Extractor(Protocol):
    """Raw data (B, *shape) to features (B, d)."""

    @property
    def name(self) -> str:
        """Short name for tables."""

    @property
    def key(self) -> str:
        """Hash of everything that determines the features."""

    @property
    def costly(self) -> bool:
        """Whether features are worth keeping on disk."""

    def __call__(self, x: Tensor) -> Tensor:
        """Features (B, d), float32."""


@singledispatch
def encoding(space: Space) -> Encoding:
    """The function from raw samples (B, *shape) of a space to vectors (B, d) of the table above."""
    raise NotImplementedError(f"no vectors are defined for {space}")


@encoding.register
def _(space: Continuous) -> Encoding:
    return lambda x: x.flatten(1).float() if space.shape else x[:, None].float()


@encoding.register
def _(space: Ordinal) -> Encoding:
    return lambda x: x.reshape(len(x), -1).float() / (space.levels - 1)


@encoding.register
def _(space: Categories) -> Encoding:
    return lambda x: one_hot(x.long(), space.size).float()


@encoding.register
def _(space: Tokens) -> Encoding:
    buckets = min(space.size**2, _PAIRS)
    positions = space.length * space.size <= _POSITIONS
    return partial(_token_vectors, size=space.size, buckets=buckets, positions=positions)


def _token_vectors(x: Tensor, *, size: int, buckets: int, positions: bool) -> Tensor:
    pair = (x[:, :-1] * size + x[:, 1:]) % buckets
    counts = torch.zeros(len(x), buckets).scatter_add_(1, pair, torch.ones(pair.shape))
    counts = counts / max(1, pair.shape[1])
    return torch.cat([one_hot(x, size).flatten(1).float(), counts], 1) if positions else counts


@encoding.register
def _(space: Table) -> Encoding:
    parts = [encoding(column) for column in space.column_spaces]
    return lambda x: torch.cat([part(x[:, i]) for i, part in enumerate(parts)], 1)


@dataclass(frozen=True)
class Plain:
    """The vectors of the table as they are."""

    space: Space
    name: str
    costly: bool = False

    @property
    def key(self) -> str:
        """Hash of the space."""
        return hashlib.blake2b(repr(self.space).encode(), digest_size=8).hexdigest()

    def __call__(self, x: Tensor) -> Tensor:
        return encoding(self.space)(x.cpu())


@dataclass(frozen=True, eq=False)
class Standardised:
    """`(encoding(x) - mean) / scale`; build it with `Standardised.of`."""

    space: Space
    mean: Tensor
    scale: Tensor
    fitted_on: str
    costly: bool = False

    @classmethod
    def of(cls, space: Space, train: Tensor, *, fitted_on: str = "train") -> Standardised:
        """Mean and scale from raw samples `train` (N, *shape); `fitted_on` names them."""
        f = encoding(space)(train).double()
        deviation = f.std(0, correction=0)
        floor = FLOOR * float(deviation.square().mean().sqrt())
        scale = deviation.clamp_min(floor or 1.0)
        return cls(space, f.mean(0).float(), scale.float(), fitted_on)

    @property
    def name(self) -> str:
        """`standardised`: the table's vectors, centred and scaled by the training set."""
        return "standardised" if self.fitted_on == "train" else f"standardised by {self.fitted_on}"

    @property
    def key(self) -> str:
        """Hash of space, mean and scale."""
        digest = hashlib.blake2b(repr(self.space).encode(), digest_size=8)
        digest.update(self.mean.numpy().tobytes() + self.scale.numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, x: Tensor) -> Tensor:
        return (encoding(self.space)(x.cpu()) - self.mean) / self.scale
