"""A data set: a space, an optional condition, and three splits with random access.

A `Split` holds examples in a *store*: anything with a length that, indexed by a 1-D integer tensor, gives a batch
of raw data. A tensor is a store; so is a memory-mapped array or a folder of pictures decoded on demand. Training
asks for `take(index)` and nothing else, so data that does not fit in memory streams through the same code, in an
order that depends on the seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from creo.errors import DataError
from creo.spaces import Space


class Store(Protocol):
    """Random access to raw examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Tensor:
        """The examples at `index`, (B,), as one batch (B, *shape)."""


class Split:
    """Examples `x` with optional conditions `c`.

    `split[i:j]` and `split[index]` give raw data as a tensor (without conditions); `take` gives both.

    Args:
        x: store of N raw samples.
        c: N conditions, or None.
        name: "train", "valid" or "test".
        transform: applied to every batch of x that is taken (dynamic binarisation, augmentation); may be random.
        c_transform: applied to every batch of c that is taken (captions in other words); may be random.
    """

    def __init__(
        self,
        x: Tensor | Store,
        c: Tensor | None = None,
        *,
        name: str = "",
        transform: Callable[[Tensor], Tensor] | None = None,
        c_transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if c is not None and len(c) != len(x):
            raise DataError(f"{len(x)} examples but {len(c)} conditions in split {name!r}")
        self.store, self.c, self.name = x, c, name
        self.transform, self.c_transform = transform, c_transform
        #: the data set this split belongs to, once it does
        self.parent: Data | None = None

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Tensor:
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index {index} of a split of {len(self)} examples")
            return self.take(torch.tensor([index % len(self)]))[0][0]
        return self.take(torch.arange(len(self))[index])[0]

    def take(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """The examples and conditions at `index` (B,), as (x, c)."""
        x = self.store[index]
        if self.transform is not None:
            x = self.transform(x)
        return x, self.conditions(index)

    def conditions(self, index: Tensor) -> Tensor | None:
        """The conditions at `index` (B,), None if there are none."""
        if self.c is None or self.c_transform is None:
            return None if self.c is None else self.c[index]
        return self.c_transform(self.c[index])

    def head(self, n: int) -> tuple[Tensor, Tensor | None]:
        """The first n examples (all if there are fewer), as (x, c)."""
        return self.take(torch.arange(min(n, len(self))))

    @property
    def x(self) -> Tensor:
        """All examples in memory."""
        return self.take(torch.arange(len(self)))[0]

    @property
    def in_memory(self) -> bool:
        """Whether the store is a tensor."""
        return isinstance(self.store, Tensor)

    def __repr__(self) -> str:
        return f"Split({self.name}, {len(self)} examples)"


@dataclass
class Data:
    """A named data set.

    Args:
        name: the specification `load_data` was given.
        space: what one sample is.
        train, valid, test: the splits.
        condition: the space of the conditions (labels), or None.
        source: where the data comes from.
        licence: under which terms.
        notes: what a reader of the data must know: files skipped, values imputed, how it was split.
        density: the distribution the data were drawn from, when it is known: `density.log_prob(x)` is the truth.
    """

    name: str
    space: Space
    train: Split
    valid: Split
    test: Split
    condition: Space | None = None
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    density: Distribution | None = None

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            split = getattr(self, name)
            split.name, split.parent = name, self
            if len(split) == 0:
                raise DataError(f"{self.name}: the {name} split is empty")
            x, c = split.head(1024)
            self.space.check(x, f"{self.name}.{name}")
            if self.condition is not None and c is not None:
                self.condition.check(c, f"{self.name}.{name} conditions")

    def split(self, name: str) -> Split:
        """The split called train, valid or test."""
        if name not in ("train", "valid", "test"):
            raise DataError(f"no split named {name!r}; there are train, valid and test")
        return getattr(self, name)

    @property
    def content_hash(self) -> str:
        """16 hex digits that change with the space, the sizes, or the first or last 1024 examples of a split."""
        digest = hashlib.blake2b(f"{self.space!r} {self.condition!r}".encode(), digest_size=8)
        for split in (self.train, self.valid, self.test):
            n = len(split)
            index = torch.cat([torch.arange(min(n, 1024)), torch.arange(max(n - 1024, 0), n)])
            digest.update(str(n).encode())
            digest.update(split.store[index].contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        sizes = "/".join(str(len(s)) for s in (self.train, self.valid, self.test))
        return f"Data({self.name}: {self.space}, train/valid/test {sizes})"
