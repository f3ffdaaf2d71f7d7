"""Columns of a table: what each one is, and what is missing.

A column is `Ordinal` if its values are exactly the whole numbers 0..k-1 for some k up to 64, `Continuous` if they are
other numbers, and `Categories` with names if they are texts. Missing values are an error that says where they are,
unless the rows that have them are dropped on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from creo.data.splits import few
from creo.errors import DataError
from creo.spaces import Categories, Continuous, Ordinal, Space

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Missing = Literal["error", "drop"]
#: texts that mean "no value", in lower case
NO_VALUE = frozenset({"", "na", "n/a", "nan", "null", "?"})
MOST_LEVELS, MOST_CATEGORIES = 64, 1000


@dataclass(frozen=True)
class Column:
    """Raw values: numbers (float64) or texts, and where there are none.

    Args:
        name: of the column.
        values: (N,) float64 or object array of str; anything where missing.
        missing: (N,) bool.
    """

    name: str
    values: np.ndarray[Any, Any]
    missing: Mask

    def rows(self, keep: Mask) -> Column:
        """The column with only the rows in `keep`."""
        return Column(self.name, self.values[keep], self.missing[keep])

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.values.dtype != object


def parse(name: str, texts: Sequence[str]) -> Column:
    """A column of texts as numbers if all that are there are numbers, else as texts."""
    stripped = [text.strip() for text in texts]
    missing = np.array([text.lower() in NO_VALUE for text in stripped])
    try:
        numbers = np.array([0.0 if gap else float(text) for text, gap in zip(stripped, missing, strict=True)])
        return Column(name, numbers, missing)
    except ValueError:
        return Column(name, np.array(stripped, dtype=object), missing)


def from_values(name: str, values: list[Any], what: str) -> Column:
    """A column of Python values: numbers and booleans, or texts; None and NaN are missing.

    Raises:
        DataError: a value is of another kind (a date, a list).
    """
    missing = np.array([v is None or v != v for v in values])
    there = [v for v in values if v is not None]
    if all(isinstance(v, str) for v in there):
        return parse(name, ["" if v is None else v for v in values])
    try:
        return Column(name, np.array([0.0 if v is None else float(v) for v in values]), missing)
    except (TypeError, ValueError):
        kinds = sorted({type(v).__name__ for v in there})
        raise DataError(f"{what}: column {name!r} holds {', '.join(kinds)}; columns hold numbers or texts: "
                        f"convert it, or leave it out with drop={name}") from None  # fmt: skip


def without_missing(
    columns: list[Column], missing: Missing, what: str
) -> tuple[list[Column], Mask, tuple[str, ...]]:
    """The columns with no value missing, which rows were kept, and notes; rows are counted from 1.

    Raises:
        DataError: values are missing and `missing` is "error", or no row is left.
    """
    n = len(columns[0].values)
    gaps = [c for c in columns if c.missing.any()]
    if not gaps:
        return columns, np.ones(n, bool), ()
    where = "; ".join(f"column {c.name!r} rows {_rows(c.missing)}" for c in gaps)
    total = sum(int(c.missing.sum()) for c in gaps)
    if missing == "error":
        raise DataError(f"{what}: {total} of {n * len(columns)} values are missing: {where}; "
                        "missing=drop leaves those rows out, drop=NAME a column")  # fmt: skip
    keep = ~np.logical_or.reduce([c.missing for c in gaps])
    if not keep.any():
        raise DataError(f"{what}: every row has a missing value: {where}; drop=NAME leaves a column out")
    note = f"{n - int(keep.sum())} of {n} rows left out for missing values: {where}"
    return [c.rows(keep) for c in columns], keep, (note,)


def _rows(mask: Mask) -> str:
    return few([str(i + 1) for i in mask.nonzero()[0].tolist()])


def encode(column: Column, what: str) -> tuple[Space, np.ndarray[Any, np.dtype[np.float64]]]:
    """The column's space, and its values as float64 (levels and categories as their index).

    Raises:
        DataError: a number is infinite, or a column of texts has too many different ones to be categories.
    """
    if not column.numeric:
        return _categories(column, what)
    values = column.values
    if not np.isfinite(values).all():
        raise DataError(f"{what}: column {column.name!r} is infinite in rows {_rows(~np.isfinite(values))}")
    distinct = np.unique(values)
    if 2 <= len(distinct) <= MOST_LEVELS and np.array_equal(distinct, np.arange(len(distinct))):
        return Ordinal((), len(distinct)), values
    return Continuous(()), values


def _categories(column: Column, what: str) -> tuple[Space, np.ndarray[Any, np.dtype[np.float64]]]:
    names, index = np.unique(column.values.astype(str), return_inverse=True)
    if len(names) > MOST_CATEGORIES:
        number = next((i for i, text in enumerate(column.values) if not _is_number(text)), 0)
        raise DataError(
            f"{what}: column {column.name!r} holds {len(names)} different texts (row {number + 1}: "
            f"{column.values[number]!r}); categories are at most {MOST_CATEGORIES}: correct it, or leave it out "
            f"with drop={column.name}"
        )
    return Categories(len(names), tuple(names.tolist())), index.astype(np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def describe(columns: list[Column], spaces: list[Space]) -> tuple[str, ...]:
    """Notes on columns whose densities need care: constant ones, and whole numbers modelled as real ones."""
    real = [c for c, space in zip(columns, spaces, strict=True) if space.kind == "Continuous"]
    constant = [c.name for c in real if (c.values == c.values[0]).all()]
    whole = [c.name for c in real if c.name not in constant and (c.values == np.round(c.values)).all()]
    notes = []
    if constant:
        notes.append(
            f"constant columns (a density has no bound there; drop=NAME leaves one out): {few(constant)}"
        )
    if whole:
        notes.append(f"whole numbers that are not 0..k-1 kept as real numbers: {few(whole)}")
    return tuple(notes)
