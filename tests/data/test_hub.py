"""Hugging Face data sets, offline: written by `save_to_disk` and read through the folder."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import creo
from creo.errors import DataError, MissingExtra, OptionError

datasets = pytest.importorskip("datasets")


def pictures(n: int, start: int = 0) -> Any:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])}
    )
    images = [Image.new("L", (8, 6), start + i) for i in range(n)]
    return datasets.Dataset.from_dict(
        {"image": images, "label": [i % 2 for i in range(n)]}, features=features
    )


def test_pictures_with_labels(tmp_path: Path) -> None:
    pictures(20).save_to_disk(str(tmp_path / "a"))
    for memory in (1.0, 1e-9):
        data = creo.load_data(f"hf:{tmp_path / 'a'}", memory_gib=memory)
        assert data.space == creo.Ordinal((1, 6, 8), 256)
        assert data.condition == creo.Categories(2, ("even", "odd"))
        assert [len(data.split(s)) for s in ("train", "valid", "test")] == [16, 2, 2]
        x, c = data.train.head(16)
        assert torch.equal(x[:, 0, 0, 0].long() % 2, c)
        assert data.source == str(tmp_path / "a")


def test_given_splits_are_kept(tmp_path: Path) -> None:
    parts = {"train": pictures(20), "test": pictures(5, start=100)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "a"))
    data = creo.load_data(f"hf:{tmp_path / 'a'}")
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [18, 2, 5]
    assert data.test.x.flatten(1)[:, 0].tolist() == [100, 101, 102, 103, 104]
    assert data.train.x.max() < 100
    assert any(note.startswith("valid: a tenth") for note in data.notes)


def test_table_with_missing_values(tmp_path: Path) -> None:
    rows = {"a": [i / 3 for i in range(30)], "b": ["x" if i % 2 else "y" for i in range(30)]}
    rows["a"][4] = None
    parts = {
        "train": datasets.Dataset.from_dict(rows).select(range(20)),
        "validation": datasets.Dataset.from_dict(rows).select(range(20, 25)),
        "test": datasets.Dataset.from_dict(rows).select(range(25, 30)),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "a"))
    with pytest.raises(DataError, match="column 'a' rows 5"):
        creo.load_data(f"hf:{tmp_path / 'a'}")
    data = creo.load_data(f"hf:{tmp_path / 'a'}", missing="drop", label="b")
    assert data.space == creo.Table({"a": creo.Continuous(())})
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [19, 5, 5]
    np.testing.assert_allclose(data.test.x[:, 0], [i / 3 for i in range(25, 30)])
    x, c = data.train.head(19)
    assert torch.equal((x[:, 0] * 3).round().long() % 2, 1 - c)  # x, the odd rows, is category 0


def test_text(tmp_path: Path) -> None:
    lines = [f"line number {i} of the text" for i in range(100)]
    datasets.Dataset.from_dict({"text": lines}).save_to_disk(str(tmp_path / "a"))
    data = creo.load_data(f"hf:{tmp_path / 'a'}", length=16)
    first = "".join(data.space.symbols[i] for i in data.train[0].tolist())
    assert first == "\n".join(lines)[:16]
    whole = datasets.Dataset.from_dict({"text": lines})
    parts = {
        "train": whole.select(range(80)),
        "valid": whole.select(range(80, 90)),
        "test": whole.select(range(90, 100)),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "b"))
    data = creo.load_data(f"hf:{tmp_path / 'b'}", length=16)
    assert "".join(data.space.symbols[i] for i in data.test[0].tolist()) == "\n".join(lines[90:])[:16]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was not written by datasets' save_to_disk"):
        creo.load_data(f"hf:{tmp_path}")
    pictures(20).save_to_disk(str(tmp_path / "a"))
    with pytest.raises(OptionError, match="no column 'lable'; did you mean 'label'"):
        creo.load_data(f"hf:{tmp_path / 'a'},label=lable")
    datasets.DatasetDict({"test": pictures(20)}).save_to_disk(str(tmp_path / "b"))
    with pytest.raises(DataError, match="has no split train; it has test"):
        creo.load_data(f"hf:{tmp_path / 'b'}")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"creo\[hub\]"):
        creo.load_data("hf:mnist")
