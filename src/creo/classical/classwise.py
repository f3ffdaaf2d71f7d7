"""Models with one fitted part per class: which rows belong to which class.

A model without a condition has one class and all rows are in it.
"""

from __future__ import annotations

from torch import Tensor

from creo.errors import SpaceError
from creo.spaces import Categories, Space


def number_of_classes(condition: Space | None, what: str) -> int:
    """1 without a condition, the number of labels for Categories.

    Raises:
        SpaceError: for any other condition.
    """
    if condition is None:
        return 1
    if not isinstance(condition, Categories):
        raise SpaceError(
            f"{what} has one part per class and so is conditioned on Categories only; received {condition}"
        )
    return condition.size


def class_rows(c: Tensor | None, n: int, classes: int) -> list[Tensor | slice]:
    """For every class, how to index its rows in a batch of n."""
    if c is None:
        return [slice(0, n)]
    return [(c == k).nonzero().squeeze(1) for k in range(classes)]


def class_of(c: Tensor | None) -> Tensor | int:
    """Index of the class of every row, or 0 (the only one) without conditions."""
    return 0 if c is None else c.long()
