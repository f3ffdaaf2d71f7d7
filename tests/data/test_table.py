"""Tables: inference of columns, missing values, ragged rows, parquet, labels."""

from __future__ import annotations

import builtins
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import creo
from creo.errors import DataError, MissingExtra, OptionError

ROWS = [f"{1.5 * i},{i % 3},{'red' if i % 2 else 'blue'},{i % 4 + 3}" for i in range(40)]
TEXT = "\n".join(["size,level,colour,grade", *ROWS]) + "\n"


def write(tmp_path: Path, text: str, name: str = "a.csv") -> str:
    raw = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return f"table:{tmp_path / name}"


def everything(data: creo.data.Data) -> np.ndarray:
    x = torch.cat([data.split(s).x for s in ("train", "valid", "test")]).numpy()
    return x[np.lexsort(x.T[::-1])]


def check_columns(data: creo.data.Data) -> None:
    assert data.space == creo.Table({
        "size": creo.Continuous(()), "level": creo.Ordinal((), 3),
        "colour": creo.Categories(2, ("blue", "red")), "grade": creo.Continuous(()),
    })  # fmt: skip
    truth = np.array([[1.5 * i, i % 3, i % 2, i % 4 + 3] for i in range(40)])
    np.testing.assert_array_equal(everything(data), truth)
    assert data.train.x.dtype == torch.float64
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [32, 4, 4]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_columns(tmp_path: Path, name: str) -> None:
    data = creo.load_data(write(tmp_path, TEXT, name))
    check_columns(data)
    assert "whole numbers that are not 0..k-1 kept as real numbers: grade" in data.notes


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separators_and_byte_order_mark(tmp_path: Path, separator: str) -> None:
    check_columns(creo.load_data(write(tmp_path, "\ufeff" + TEXT.replace(",", separator))))


def test_without_names(tmp_path: Path) -> None:
    data = creo.load_data(write(tmp_path, "\n".join(f"{i},{-i}" for i in range(80))))
    assert data.space.names == ("c1", "c2")
    assert len(everything(data)) == 80


def test_parquet_and_quoted_fields(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "size": [1.5 * i for i in range(40)], "level": [i % 3 for i in range(40)],
        "colour": ["red" if i % 2 else "blue" for i in range(40)], "grade": [i % 4 + 3 for i in range(40)],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    check_columns(creo.load_data(f"table:{tmp_path / 'a.parquet'}"))
    quoted = TEXT.replace("red", '"red"').replace("blue", '"blue"')
    check_columns(creo.load_data(write(tmp_path, quoted)))
    pq.write_table(
        pa.table({"a": [1.0, None, 3.0, 4.0], "b": [True, False, True, None]}), tmp_path / "b.parquet"
    )
    with pytest.raises(DataError, match=r"2 of 8 values are missing: column 'a' rows 2; column 'b' rows 4"):
        creo.load_data(f"table:{tmp_path / 'b.parquet'}")
    import datetime

    pq.write_table(pa.table({"day": [datetime.date(2020, 1, 1)] * 4}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="column 'day' holds date"):
        creo.load_data(f"table:{tmp_path / 'c.parquet'}")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        creo.load_data(f"table:{tmp_path / 'd.parquet'}")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").touch()
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"creo\[table\]"):
        creo.load_data(f"table:{tmp_path / 'a.parquet'}")


def test_missing_values(tmp_path: Path) -> None:
    rows = list(ROWS)
    rows[4], rows[9] = "NaN,1,red,3", "1.0,1,?,"
    spec = write(tmp_path, "\n".join(["size,level,colour,grade", *rows]))
    with pytest.raises(DataError) as caught:
        creo.load_data(spec)
    assert str(caught.value).endswith(
        "3 of 160 values are missing: column 'size' rows 5; column 'colour' rows 10; column 'grade' rows 10; "
        "missing=drop leaves those rows out, drop=NAME a column"
    )
    data = creo.load_data(spec, missing="drop")
    assert len(everything(data)) == 38
    assert data.notes[0].startswith("2 of 40 rows left out for missing values: column 'size' rows 5;")
    assert len(everything(creo.load_data(f"{spec},drop=size+colour+grade"))) == 40


def test_label_is_the_condition(tmp_path: Path) -> None:
    spec = write(tmp_path, TEXT)
    data = creo.load_data(f"{spec},label=colour")
    assert data.space.names == ("size", "level", "grade")
    assert data.condition == creo.Categories(2, ("blue", "red"))
    x, c = data.train.head(100)
    assert torch.equal((x[:, 0] / 1.5 % 2).long(), c)
    assert creo.load_data(spec, label="level").condition == creo.Categories(3)
    assert creo.load_data(spec, label="size").condition == creo.Continuous(())


def test_vector(tmp_path: Path) -> None:
    spec = write(tmp_path, TEXT)
    data = creo.load_data(f"{spec},space=vector,drop=colour")
    assert data.space == creo.Continuous((3,))
    assert data.train.x.dtype == torch.float32
    with pytest.raises(DataError, match="columns of texts: colour"):
        creo.load_data(spec, space="vector")


def test_constant_columns_are_noted(tmp_path: Path) -> None:
    data = creo.load_data(write(tmp_path, "a,b\n" + "\n".join(f"{i / 7},2.5" for i in range(20))))
    assert any("constant" in note and "b" in note for note in data.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n4,5\n", "line 3 has 1 fields, the first line 2"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 fields"),
        ("a,a\nx,2\n3,4\n", r"names of columns repeat: \['a'\]"),
        ("a,\nx,2\n3,4\n", "have no name"),
        ("a,b\n1,2\n3,inf\n4,5\n6,7\n", "column 'b' is infinite in rows 2"),
        ("a,b\n,2\n3,\n", "missing"),
        ("a,b\n1,2\n3,4\n", "2 usable examples; at least 3"),
        ("id\n" + "\n".join(f"name{i}" for i in range(1100)), "1100 different texts"),
        ("v\n" + "\n".join(map(str, range(1100))) + "\nx12", r"row 1101: 'x12'"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        creo.load_data(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_other_errors(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT.encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="truncated or no gzip"):
        creo.load_data(f"table:{tmp_path / 'cut.csv.gz'}")
    (tmp_path / "latin.csv").write_bytes("a,b\ncafé,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        creo.load_data(f"table:{tmp_path / 'latin.csv'}")
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"received \.xlsx"):
        creo.load_data(f"table:{tmp_path / 'a.xlsx'}")
    spec = write(tmp_path, TEXT)
    with pytest.raises(OptionError, match="no column 'color'; did you mean 'colour'"):
        creo.load_data(f"{spec},drop=color")
    with pytest.raises(DataError, match="no column is left"):
        creo.load_data(f"{spec},drop=size+level+colour+grade")
    with pytest.raises(DataError, match="no column is left"):
        creo.load_data(f"{spec},drop=size+level+colour,label=grade")
    both = "a,b\n1,\n,2\n3,\n"
    with pytest.raises(DataError, match="every row has a missing value"):
        creo.load_data(write(tmp_path, both), missing="drop")
