"""`table:FILE`: rows of numbers and texts from .csv, .csv.gz or .parquet, as a `Table`.

Columns are inferred as `creo.data.columns` says. The separator of a .csv is the one of `, ; tab |` that occurs most in
its first line; without a line of names (all fields of the first line are numbers) columns are called c1, c2, ...
"""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from creo.data.columns import Column, Missing, describe, encode, from_values, parse, without_missing
from creo.data.dataset import Data
from creo.data.load import Request
from creo.data.splits import keep_only, own_data
from creo.errors import DataError, MissingExtra, OptionError, suggestion
from creo.spaces import Categories, Continuous, Ordinal, Space, Table

As = Literal["table", "vector"]


def load(
    request: Request,
    *,
    missing: Missing = "error",
    drop: tuple[str, ...] = (),
    label: str | None = None,
    space: As = "table",
) -> Data:
    """A table of one's own.

    Args:
        request: the file is its target.
        missing: what to do where values are missing: "error", or "drop" the rows.
        drop: names of columns to leave out.
        label: the column that is the condition rather than a part of the sample.
        space: "table", or "vector": Continuous((D,)), when all columns are numbers.
    """
    return table_data(request, read(request.path()), missing=missing, drop=drop, label=label, space=space)


def read(path: Path) -> list[Column]:
    """The columns of a .csv, .csv.gz or .parquet file.

    Raises:
        DataError: unreadable, empty, ragged, or of another suffix. MissingExtra: .parquet without pyarrow.
    """
    suffixes = "".join(path.suffixes[-2:]).lower()
    if suffixes.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        return _read_csv(path)
    if suffixes.endswith((".parquet", ".pq")):
        return _read_parquet(path)
    raise DataError(
        f"{path}: a table is a .csv, .csv.gz, .tsv or .parquet file; received {path.suffix or 'no suffix'}"
    )


def _read_csv(path: Path) -> list[Column]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else open(path, encoding="utf-8-sig", newline="") as file
        ):
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t|", key=first.count)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or no gzip file ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    return _columns(path, rows)


def _columns(path: Path, rows: list[tuple[int, list[str]]]) -> list[Column]:
    if not rows:
        raise DataError(f"{path} is empty")
    _, head = rows[0]
    for line, row in rows:
        if len(row) != len(head):
            raise DataError(f"{path} line {line} has {len(row)} fields, the first line {len(head)}")
    headless = parse("", head).numeric
    names = [f"c{i + 1}" for i in range(len(head))] if headless else [name.strip() for name in head]
    _check_names(path, names)
    body = [row for _, row in (rows if headless else rows[1:])]
    if not body:
        raise DataError(f"{path} has a line of names but no rows")
    return [parse(name, texts) for name, texts in zip(names, zip(*body, strict=True), strict=True)]


def _check_names(path: Path, names: list[str]) -> None:
    unnamed = [i + 1 for i, name in enumerate(names) if not name]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if unnamed or repeated:
        wrong = f"columns {unnamed} have no name" if unnamed else f"names of columns repeat: {repeated}"
        raise DataError(f"{path}: {wrong}; give every column a name of its own in the first line")


def _read_parquet(path: Path) -> list[Column]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra(f"reading {path.name}", "table") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from error
    if not table.num_rows:
        raise DataError(f"{path} has no rows")
    _check_names(path, table.column_names)
    return [from_values(name, table[name].to_pylist(), str(path)) for name in table.column_names]


def table_data(
    request: Request,
    columns: list[Column],
    *,
    missing: Missing,
    drop: tuple[str, ...],
    label: str | None,
    space: As,
    index: tuple[Tensor, ...] | None = None,
    notes: tuple[str, ...] = (),
    **fields: Any,
) -> Data:
    """The `Data` of columns; see `load`."""
    what = request.spec
    names = [c.name for c in columns]
    for name in (*drop, *([label] if label is not None else [])):
        if name not in names:
            raise OptionError(f"{what}: no column {name!r}{suggestion(name, names)}")
    columns = [c for c in columns if c.name not in drop]
    if not columns:
        raise DataError(f"{what}: no column is left")
    columns, kept, found_notes = without_missing(columns, missing, what)
    spaces, values = zip(*(encode(c, what) for c in columns), strict=True)
    parts = {c.name: (s, v) for c, s, v in zip(columns, spaces, values, strict=True)}
    condition, c = _condition(*parts.pop(label)) if label in parts else (None, None)
    if not parts:
        raise DataError(f"{what}: no column is left")
    notes += found_notes + describe(columns, list(spaces))
    x = torch.from_numpy(np.stack([v for _, v in parts.values()], 1))
    found: Space = Table(tuple((name, s) for name, (s, _) in parts.items()))
    if space == "vector":
        found, x = _vector(parts, what), x.float()
    return own_data(
        request,
        found,
        x,
        c,
        condition=condition,
        notes=notes,
        index=keep_only(index, torch.from_numpy(kept)),
        **fields,
    )


def _condition(space: Space, values: np.ndarray[Any, Any]) -> tuple[Space, Tensor]:
    if isinstance(space, Ordinal):
        return Categories(space.levels), torch.from_numpy(values).long()
    return space, torch.from_numpy(values).to(space.dtype)


def _vector(parts: dict[str, tuple[Space, Any]], what: str) -> Space:
    texts = [name for name, (s, _) in parts.items() if s.kind == "Categories"]
    if texts:
        raise DataError(f"{what}: space=vector needs numbers only; columns of texts: {', '.join(texts)}")
    return Continuous((len(parts),))
