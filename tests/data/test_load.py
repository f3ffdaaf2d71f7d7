"""Specifications, options, the catalogue, and errors of names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import creo
from creo.data import Data, Split, catalogue
from creo.data.load import _parse, options_of
from creo.errors import DataError, OptionError, UnknownName


def test_listing_imports_no_torch() -> None:
    code = "import sys, creo.data; print(len(creo.data.catalogue())); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(catalogue()) >= 21


def test_every_entry_has_a_loader_and_says_everything() -> None:
    for name, entry in catalogue().items():
        assert callable(entry.loader())
        assert all([entry.space, entry.splits, entry.size, entry.licence, entry.source, entry.summary]), name
        assert all(p.kind is p.KEYWORD_ONLY for p in options_of(name).values())


def test_listed_space_and_splits_are_true() -> None:
    for name in ("digits", "moons", "25-gaussians"):
        data, entry = creo.load_data(name), catalogue()[name]
        assert entry.space.replace("levels=", "") in repr(data.space).replace("shape=", "").replace(
            "levels=", ""
        )
        assert entry.splits == "/".join(str(len(data.split(s))) for s in ("train", "valid", "test"))


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("digits", ("digits", None, {})),
        ("images:a,b/c,size=32,mode=grey", ("images", "a,b/c", {"size": "32", "mode": "grey"})),
        ("text:C:/x.txt", ("text", "C:/x.txt", {})),
        ("table:a=b.csv,drop=x+y", ("table", "a=b.csv", {"drop": "x+y"})),
    ],
)
def test_parse(spec: str, parsed: tuple) -> None:
    assert _parse(spec) == parsed


@pytest.mark.parametrize(
    ("spec", "kind", "says"),
    [
        ("digit", UnknownName, "did you mean 'digits'"),
        ("fashion_mnist", UnknownName, "fashion-mnist"),
        ("image:x", UnknownName, "did you mean 'images'"),
        ("images", UnknownName, "images:FOLDER"),
        ("images:", DataError, "needs a target"),
        ("table:nowhere.csv", DataError, "no such file or folder: nowhere.csv"),
        ("digits,size=3", OptionError, "no option 'size'; it has none"),
        ("images:x,sise=3", OptionError, "did you mean 'size'"),
        ("images:x,size=big", OptionError, "size must be int or left out; received 'big'"),
        ("images:x,mode=green", OptionError, "one of 'auto', 'grey', 'rgb'"),
    ],
)
def test_wrong_specifications(spec: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=".*") as caught:
        creo.load_data(spec)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_folder() -> None:
    with pytest.raises(DataError, match="not a folder"):
        creo.load_data("digits", data_dir="/no/such/folder")


def test_name_is_the_whole_specification(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, np.arange(60).reshape(20, 3) % 4)
    data = creo.load_data(f"array:{file}", levels=7)
    assert data.name == f"array:{file},levels=7"
    again = creo.load_data(data.name)
    assert again.space == data.space == creo.Ordinal((3,), 7)
    assert again.content_hash == data.content_hash


def test_targets_are_found_below_data_dir_and_creo_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 3), np.float32))
    assert len(creo.load_data("array:a.npy", data_dir=tmp_path).train) == 16
    monkeypatch.setenv("CREO_DATA", str(tmp_path))
    assert len(creo.load_data("array:a.npy").train) == 16


def test_data_passes_through() -> None:
    data = creo.load_data("digits")
    assert creo.load_data(data) is data


def test_digits() -> None:
    data = creo.load_data("digits")
    assert data.space == creo.Ordinal((1, 8, 8), 17)
    assert data.condition == creo.Categories(10, tuple("0123456789"))
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [1000, 350, 447]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, c = data.test.take(torch.arange(447))
    np.testing.assert_array_equal(x.flatten(1).numpy(), images[1350:])
    np.testing.assert_array_equal(c.numpy(), labels[1350:])
    assert x.dtype == torch.uint8
    assert x.max() == 16


def test_split_and_data() -> None:
    x, c = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    data = Data("a", creo.Continuous((2,)), Split(x, c), Split(x[:2], c[:2]), Split(x[2:], c[2:]),
                condition=creo.Categories(6))  # fmt: skip
    assert data.train.in_memory
    assert data.train.parent is data
    assert data.split("valid") is data.valid
    assert torch.equal(data.train[1], x[1])
    assert torch.equal(data.train[-1], x[5])
    assert torch.equal(data.train[1:3], x[1:3])
    assert torch.equal(data.train[[4, 0]], x[[4, 0]])
    taken = data.train.take(torch.tensor([3, 3]))
    assert torch.equal(taken[0], x[[3, 3]])
    assert torch.equal(taken[1], c[[3, 3]])
    assert [len(part) for part in data.train.head(100)] == [6, 6]
    with pytest.raises(IndexError):
        data.train[6]
    with pytest.raises(DataError, match="no split"):
        data.split("validation")
    with pytest.raises(DataError, match="6 examples but 5 conditions"):
        Split(x, c[:5])
    with pytest.raises(DataError, match="test split is empty"):
        Data("a", creo.Continuous((2,)), Split(x), Split(x), Split(x[:0]))
    with pytest.raises(creo.errors.SpaceError, match=r"NaN .* at index \(0, 1\)"):
        Data("a", creo.Continuous((2,)), Split(x), Split(torch.tensor([[0, torch.nan]])), Split(x))


def test_content_hash_sees_values_sizes_and_space() -> None:
    def hash_of(x: torch.Tensor, space: creo.Ordinal = creo.Ordinal((2,), 9)) -> str:
        return Data("a", space, Split(x), Split(x[:1]), Split(x[:1])).content_hash

    x = torch.randint(0, 8, (3000, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[-1, 0] += 1
    fewer = torch.cat([x[:1500], x[1501:]])
    variants = [hash_of(x), hash_of(changed), hash_of(fewer), hash_of(x, creo.Ordinal((2,), 10))]
    assert len(set(variants)) == 4
    assert hash_of(x.clone()) == variants[0]
