"""`uci:NAME`: continuous columns of tables from the UCI collection, for density estimation.

| name                                         | rows          | split                              |
|----------------------------------------------|---------------|------------------------------------|
| `airfoil`, `concrete`, `kin40k`, `sml`       | 1030 to 40000 | one of ten published test masks    |
| `california-housing`, `wine-red`, `wine-white` | 1599 to 20640 | 80/10/10 % at random             |

A density has no bound on a column whose values repeat, nor where one column is a linear function of another; so, as
Papamakarios, Pavlakou, Murray (2017, section 4.2, https://arxiv.org/abs/1705.07057) do, columns are left out in which
one value fills more than `REPEATED` of the rows, and the later of two whose correlation exceeds `CORRELATED`. Columns
of texts and rows with gaps are left out too. Values stay in the units of the file: models standardise by themselves.

Files are those of https://github.com/treforevans/uci_datasets (`NAME.data.csv.gz`, `NAME.test_mask.csv.gz`, columns
mean-centred, ten masks; Evans, Nair 2018), and `california_housing.csv.gz`, `winequality_red.csv.gz`,
`winequality_white.csv.gz`, in a folder `uci` or `uci/regression`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from creo.data.columns import Column
from creo.data.dataset import Data
from creo.data.files import places
from creo.data.load import Request
from creo.data.splits import few, own_data, random_split
from creo.data.table import read
from creo.errors import DataError, OptionError, UnknownName, suggestion
from creo.spaces import Continuous

REPEATED, CORRELATED = 0.04, 0.98
MASKED = ("airfoil", "concrete", "kin40k", "sml")
FILES = {name: f"{name}.data.csv.gz" for name in MASKED} | {
    "california-housing": "california_housing.csv.gz",
    "wine-red": "winequality_red.csv.gz",
    "wine-white": "winequality_white.csv.gz",
}
LICENCE = "CC BY 4.0 (kin40k: Delve, see the source)"
SOURCE = "UCI Machine Learning Repository, https://archive.ics.uci.edu"


def load(request: Request, *, split: int = 0) -> Data:
    """The continuous columns of a table.

    Args:
        request: the table's name is its target.
        split: which of the ten published test masks, 0 to 9 (tables that have them).
    """
    name = request.target
    if name not in FILES:
        raise UnknownName(f"no table named {name!r} in uci:{suggestion(name, FILES)}")
    if not 0 <= split <= 9:
        raise OptionError(f"{request.spec}: split is 0 to 9; received {split}")
    columns = read(_file(request, FILES[name]))
    whole = ~np.logical_or.reduce([column.missing for column in columns])
    columns = [column.rows(whole) for column in columns]
    index = _published(request, name, split) if name in MASKED else None
    kept = continuous_columns(columns)
    if not kept:
        raise DataError(
            f"{request.spec}: no column is left; in each one some value fills more than {REPEATED:.0%}"
        )
    left = [column.name for column in columns if column not in kept]
    notes = [f"{len(left)} discrete or repeated columns left out: {few(left, 30)}"] * bool(left)
    notes += [f"{int((~whole).sum())} rows with missing values left out"] * (not whole.all())
    notes += [f"published test mask {split}; validation: a ninth of the other rows, at random"] * bool(index)
    x = torch.from_numpy(np.stack([column.values for column in kept], 1)).float()
    return own_data(request, Continuous((len(kept),)), x, index=index, notes=tuple(notes),
                    licence=LICENCE, source=SOURCE)  # fmt: skip


def continuous_columns(columns: list[Column]) -> list[Column]:
    """The numeric columns that a density can have; see the module docstring."""
    kept: list[Column] = []
    for column in columns:
        if column.numeric and np.unique(column.values, return_counts=True)[1].max() <= REPEATED * len(
            column.values
        ):
            copies = [abs(np.corrcoef(column.values, other.values)[0, 1]) > CORRELATED for other in kept]
            kept += [] if any(copies) else [column]
    return kept


def _file(request: Request, file: str) -> Path:
    folders = [folder / sub for folder in places(request, "uci") for sub in ("", "regression")]
    for path in (folder / file for folder in folders):
        if path.is_file():
            return path
    raise DataError(f"{request.spec}: put {file} into {' or '.join(map(str, folders[::2]))}")


def _published(request: Request, name: str, split: int) -> tuple[Tensor, ...]:
    """Training, validation and test rows."""
    path = _file(request, f"{name}.test_mask.csv.gz")
    mask = torch.from_numpy(read(path)[split].values).bool()
    rest, test = (~mask).nonzero().squeeze(1), mask.nonzero().squeeze(1)
    train, valid = random_split(len(rest), request.spec, (1 / 9,))
    return rest[train], rest[valid], test
