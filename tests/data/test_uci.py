"""UCI tables: which columns a density can have, published masks, gaps; on files written here."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

import creo
from creo.errors import DataError, OptionError, UnknownName
from creo.spaces import Continuous

ROWS = 400


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, ROWS))
    columns = [a, b, a + 0.01 * b, rng.integers(0, 9, ROWS), np.where(rng.random(ROWS) < 0.06, 5.0, c), c]
    write(
        tmp_path / "uci/regression/airfoil.data.csv.gz",
        [",".join(map(repr, map(float, r))) for r in zip(*columns, strict=True)],
    )
    masks = (np.arange(ROWS)[:, None] % 10 == np.arange(10)).astype(int)
    write(tmp_path / "uci/regression/airfoil.test_mask.csv.gz", [",".join(map(str, r)) for r in masks])
    return tmp_path


def test_repeated_and_copied_columns_are_left_out(folder: Path) -> None:
    data = creo.load_data("uci:airfoil", data_dir=folder)
    assert data.space == Continuous(
        (3,)
    )  # a, b, c: not the near copy, the whole numbers, the column with an atom
    assert "c3, c4, c5" in data.notes[0]


def test_rows_are_split_by_the_published_mask(folder: Path) -> None:
    first, fourth = (creo.load_data("uci:airfoil", data_dir=folder, split=i) for i in (0, 3))
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.normal(size=(3, ROWS))[0]).float()
    torch.testing.assert_close(first.test.x[:, 0], a[0::10])
    torch.testing.assert_close(fourth.test.x[:, 0], a[3::10])
    together = torch.cat([part.x[:, 0] for part in (fourth.train, fourth.valid, fourth.test)])
    torch.testing.assert_close(together.sort().values, a.sort().values)
    assert [len(first.split(s)) for s in ("train", "valid", "test")] == [320, 40, 40]


def test_texts_and_rows_with_gaps_are_left_out(tmp_path: Path) -> None:
    rows = [f"{i / 7},{'' if i == 5 else i**2},{'near' if i % 2 else 'far'}" for i in range(100)]
    write(tmp_path / "uci/california_housing.csv.gz", ["x,y,place", *rows])
    data = creo.load_data("uci:california-housing", data_dir=tmp_path)
    assert data.space == Continuous((2,))
    assert sum(len(data.split(s)) for s in ("train", "valid", "test")) == 99
    assert "place" in data.notes[0]
    assert "1 rows with missing" in data.notes[1]


def test_errors_say_what_to_do(folder: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'kin40k'"):
        creo.load_data("uci:kin40", data_dir=folder)
    with pytest.raises(OptionError, match="0 to 9"):
        creo.load_data("uci:airfoil", data_dir=folder, split=10)
    with pytest.raises(DataError, match=r"put sml\.data\.csv\.gz into"):
        creo.load_data("uci:sml", data_dir=folder)
