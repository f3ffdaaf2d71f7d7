"""Arrays and texts of one's own."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

import creo
from creo.errors import DataError, OptionError, SpaceError

rng = np.random.default_rng(0)


def whole(data: creo.data.Data) -> torch.Tensor:
    return torch.cat([data.split(s).x for s in ("train", "valid", "test")])


def test_real_numbers(tmp_path: Path) -> None:
    x = rng.normal(size=(50, 3))
    np.save(tmp_path / "a.npy", x)
    data = creo.load_data(f"array:{tmp_path / 'a.npy'}")
    assert data.space == creo.Continuous((3,))
    assert "float64 values rounded to float32" in data.notes
    seen = whole(data).numpy()
    np.testing.assert_array_equal(seen[seen[:, 0].argsort()], x[x[:, 0].argsort()].astype(np.float32))


@pytest.mark.parametrize(
    ("array", "space"),
    [
        (np.arange(40).reshape(20, 2) % 5, creo.Ordinal((2,), 5)),
        (rng.integers(0, 256, (20, 6), dtype=np.uint8), creo.Ordinal((6,), 256)),
        (rng.integers(0, 2, (20, 6), dtype=np.uint8), creo.Ordinal((6,), 2)),
        (rng.random((20, 6)) < 0.5, creo.Ordinal((6,), 2)),
        (rng.integers(0, 256, (20, 5, 4), dtype=np.uint8), creo.Ordinal((1, 5, 4), 256)),
        (rng.integers(0, 256, (20, 5, 4, 3), dtype=np.uint8), creo.Ordinal((3, 5, 4), 256)),
        (rng.integers(0, 256, (20, 3, 5, 4), dtype=np.uint8), creo.Ordinal((3, 5, 4), 256)),
    ],
)
@pytest.mark.parametrize("memory_gib", [1.0, 0.0], ids=["memory", "mapped"])
def test_whole_numbers(tmp_path: Path, array: np.ndarray, space: creo.Ordinal, memory_gib: float) -> None:
    np.save(tmp_path / "a.npy", array)
    data = creo.load_data(f"array:{tmp_path / 'a.npy'}", memory_gib=memory_gib)
    assert data.space == space
    assert data.train.in_memory == (memory_gib > 0)
    assert data.train.x.dtype == space.dtype
    assert int(whole(data).long().sum()) == int(array.astype(int).sum())
    index = torch.tensor([5, 1, 5])
    assert torch.equal(data.train[index], data.train.x[index])


def test_pictures_are_moved_not_reshaped(tmp_path: Path) -> None:
    x = rng.integers(0, 256, (4, 5, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", train=x, valid=x[:1], test=x[1:2])
    data = creo.load_data(f"array:{tmp_path / 'a.npz'}")
    np.testing.assert_array_equal(data.train.x.numpy(), x.transpose(0, 3, 1, 2))
    assert any("(C, H, W)" in note for note in data.notes)


def test_conditions_follow_their_examples(tmp_path: Path) -> None:
    x = np.arange(100, dtype=np.float32)[:, None]
    np.savez(tmp_path / "a.npz", x=x, c=np.arange(100) // 10)
    data = creo.load_data(f"array:{tmp_path / 'a.npz'}")
    assert data.condition == creo.Categories(10)
    for name in ("train", "valid", "test"):
        xs, c = data.split(name).head(100)
        assert torch.equal((xs[:, 0] / 10).long(), c)


def test_given_splits(tmp_path: Path) -> None:
    x = np.arange(100, dtype=np.float32)[:, None]
    np.savez(tmp_path / "a.npz", train=x, test=x[:7], train_c=x / 2, test_c=x[:7] / 2)
    data = creo.load_data(f"array:{tmp_path / 'a.npz'}")
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [90, 10, 7]
    assert data.condition == creo.Continuous((1,))
    assert sorted(torch.cat([data.train.x, data.valid.x]).flatten().tolist()) == x.flatten().tolist()
    xs, c = data.valid.head(10)
    assert torch.equal(xs / 2, c)


def test_wrong_arrays(tmp_path: Path) -> None:
    def says(match: str, kind: type[Exception] = DataError, **arrays: np.ndarray) -> None:
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(kind, match=match) as caught:
            creo.load_data(f"array:{tmp_path / 'a.npz'}")
        assert "\n" not in str(caught.value)

    x = np.zeros((20, 2), np.float32)
    holed = x.copy()
    holed[7, 1] = np.nan
    says(r"nan at index \(7, 1\)", x=holed)
    says("array 'X' means nothing here", X=x)
    says("must hold x or train", c=x)
    says("20 examples but 19 conditions", x=x, c=np.zeros(19, int))
    says("the least is -1", x=np.full((20, 2), -1))
    says("labels must be 0..k-1", x=x, c=np.full(20, -1))
    says("values must be numbers", x=np.array(["a"] * 20))
    says("must share shape and kind", train=x, valid=x[:, :1], test=x)
    says("2 usable examples", x=x[:2])
    says("test_c without test", train=x, test_c=x)
    says("conditions are given for train_c only", train=x, test=x, train_c=x)
    np.save(tmp_path / "b.npy", np.full((20, 2), 4))
    with pytest.raises(OptionError, match="levels=3, but the largest value is 4"):
        creo.load_data(f"array:{tmp_path / 'b.npy'},levels=3")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=np.array([{}, []], dtype=object))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match="never unpickled"):
            creo.load_data(f"array:{tmp_path / name}")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_arrays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (np.save if name == "a.npy" else np.savez)(path, np.zeros((100, 3)))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="cannot be read as"):
        creo.load_data(f"array:{path}")
    path.write_bytes(b"<html>")
    with pytest.raises(DataError, match="cannot be read as"):
        creo.load_data(f"array:{path}")


TEXT = "the quick brown fox\njumps over the lazy dög " * 60


def test_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    data = creo.load_data(f"text:{tmp_path / 'a.txt'},length=20,stride=7")
    assert data.space.length == 20
    assert data.space.symbols == tuple(sorted(set(TEXT)))
    read = lambda row: "".join(data.space.symbols[i] for i in row)
    held = len(TEXT) // 20
    train, valid, test = TEXT[: len(TEXT) - 2 * held], TEXT[-2 * held : -held], TEXT[-held:]
    assert [read(row) for row in data.train.x.tolist()] == [
        train[i : i + 20] for i in range(0, len(train) - 19, 7)
    ]
    for name, part in (("valid", valid), ("test", test)):
        assert "".join(read(row) for row in data.split(name).x.tolist()) == part[: len(part) // 20 * 20]
    assert data.train.x.dtype == torch.int64
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert (
        creo.load_data(f"text:{tmp_path / 'a.txt.gz'},length=20,stride=7").content_hash == data.content_hash
    )


def test_wrong_texts(tmp_path: Path) -> None:
    def says(match: str, content: bytes, options: str = "", kind: type[Exception] = DataError) -> None:
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(kind, match=match):
            creo.load_data(f"text:{tmp_path / 'a.txt'}{options}")

    says("0 distinct characters", b"")
    says("1 distinct characters", b"aaaa" * 1000)
    says("too few for windows of 64.*give length=2", b"ab" * 20)
    says("not UTF-8 text: byte 3 is 0xff", b"abc\xff" * 1000)
    says("length and stride must be at least 1", b"ab" * 1000, ",length=0", OptionError)
    with pytest.raises(DataError, match="takes a file"):
        creo.load_data(f"text:{tmp_path}")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    with pytest.raises(DataError, match="truncated or no gzip"):
        creo.load_data(f"text:{tmp_path / 'a.txt.gz'}")


def test_spaces_are_checked(tmp_path: Path) -> None:
    data = creo.load_data("digits")
    with pytest.raises(SpaceError):
        data.space.check(data.train.x + 17)
