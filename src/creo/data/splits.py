"""Splits of one's own data: 80/10/10 % at random with a fixed seed, so that every run sees the same three sets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from creo.data.dataset import Data, Split, Store
from creo.data.listing import find_data
from creo.data.load import Request
from creo.errors import DataError
from creo.spaces import Space

SEED = 0
NOTE = "split 80/10/10 % at random, seed 0"


class Subset:
    """The examples of a store at `index`, without copying them."""

    def __init__(self, store: Store, index: Tensor) -> None:
        self.store, self.index = store, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.store[self.index[index]]


def random_split(n: int, what: str, held_out: tuple[float, ...] = (0.1, 0.1)) -> tuple[Tensor, ...]:
    """Disjoint sorted index sets: the rest first, then one of at least 1 for every fraction held out.

    Raises:
        DataError: there are too few examples to give every set one.
    """
    if n <= len(held_out):
        raise DataError(
            f"{what} has {n} usable examples; at least {len(held_out) + 1} are needed to split it"
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(SEED))
    sizes = [max(1, int(n * fraction)) for fraction in held_out]
    parts = order.split([n - sum(sizes), *sizes])
    return tuple(part.sort().values for part in parts)


def keep_only(index: tuple[Tensor, ...] | None, keep: Tensor) -> tuple[Tensor, ...] | None:
    """`index` into N examples as an index into those of them that `keep`, (N,) bool, says are kept."""
    if index is None:
        return None
    place = keep.long().cumsum(0) - 1
    return tuple(place[i[keep[i]]] for i in index)


def own_data(
    request: Request,
    space: Space,
    x: Tensor | Store,
    c: Tensor | None = None,
    *,
    condition: Space | None = None,
    notes: tuple[str, ...] = (),
    index: tuple[Tensor, ...] | None = None,
    **fields: Any,
) -> Data:
    """The `Data` of examples that came in one piece, split at random unless `index` says how."""
    entry = find_data(request.name + ":")
    if index is None:
        index = random_split(len(x), request.spec)
        notes = (*notes, NOTE)

    def part(i: Tensor) -> Split:
        return Split(x[i] if isinstance(x, Tensor) else Subset(x, i), None if c is None else c[i])

    train, valid, test = map(part, index)
    return Data(request.spec, space, train, valid, test, condition=condition, notes=notes,
                **({"source": entry.source, "licence": entry.licence} | fields))  # fmt: skip


def few(items: list[str], shown: int = 5) -> str:
    """`a, b, c and 4 more`."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")
