"""MNIST-like IDX files, the binarised variants and CIFAR-10, on files written here; the real MNIST where it is."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import creo
from creo.data import idx
from creo.data.binarised import binarise
from creo.data.idx import read_idx
from creo.errors import DataError
from creo.model import seeded

REAL = os.environ.get("CREO_DATA")
rng = np.random.default_rng(0)
TRAIN_X = np.zeros((10_020, 28, 28), np.uint8)
TRAIN_X[:40] = rng.integers(0, 256, (40, 28, 28))
TRAIN_X[-1] = 200
TRAIN_C = rng.integers(0, 10, 10_020, dtype=np.uint8)
TEST_X, TEST_C = TRAIN_X[:30], TRAIN_C[:30]


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mnist").mkdir()
    for published, array in zip(idx.FILES["mnist"], (TRAIN_X, TRAIN_C, TEST_X, TEST_C), strict=True):
        (tmp_path / "mnist" / published.file).write_bytes(gzip.compress(idx_bytes(array), 1))
    return tmp_path


def test_mnist(folder: Path) -> None:
    data = creo.load_data("mnist", data_dir=folder)
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [20, 10_000, 30]
    assert data.space == creo.Ordinal((1, 28, 28), 256)
    x, c = data.valid.take(torch.tensor([0, 9_999]))
    np.testing.assert_array_equal(x[:, 0].numpy(), TRAIN_X[[20, 10_019]])
    np.testing.assert_array_equal(c.numpy(), TRAIN_C[[20, 10_019]])
    assert any("not the original" in note for note in data.notes)
    again = creo.load_data("mnist", data_dir=folder / "mnist")
    assert again.content_hash == data.content_hash


def test_unpacked_files_will_do(folder: Path) -> None:
    for path in list((folder / "mnist").iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(creo.load_data("mnist", data_dir=folder).test) == 30


def test_binarised(folder: Path) -> None:
    dynamic = creo.load_data("mnist-binary", data_dir=folder)
    fixed = creo.load_data("mnist-binary-fixed", data_dir=folder)
    grey = creo.load_data("mnist", data_dir=folder)
    for data in (dynamic, fixed):
        assert data.space == creo.Ordinal((1, 28, 28), 2)
        assert torch.equal(data.valid[:100], data.valid[:100])
        assert data.valid[:].max() == 1
        assert torch.equal(data.train.c, grey.train.c)
    assert torch.equal(dynamic.valid.x, fixed.valid.x)
    assert torch.equal(fixed.train.x, fixed.train.x)
    lit = grey.valid.x.flatten(1).any(1).nonzero()[0]
    some = grey.valid[lit]
    assert not torch.equal(binarise(some), binarise(some))
    assert dynamic.content_hash != fixed.content_hash


def test_binarise_has_the_right_probabilities() -> None:
    """Counts of ones against Binomial(n, grey/255) at six standard errors; 0 and 255 exactly."""
    n, grey = 20_000, torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8)
    with seeded(0):
        ones = binarise(grey.expand(n, -1)).double().sum(0)
    p = grey.double() / 255
    assert ((ones - n * p).abs() <= 6 * (n * p * (1 - p)).sqrt()).all()
    assert ones[0] == 0
    assert ones[-1] == n


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(idx_bytes(TEST_X))[:-100], "truncated or no gzip"),
        (b"<html>not found</html>", "truncated or no gzip"),
        (gzip.compress(b"<html>not found</html>"), "not an IDX file"),
        (gzip.compress(b""), "not an IDX file"),
        (gzip.compress(idx_bytes(TEST_X)[:-5]), "header says"),
        (gzip.compress(idx_bytes(TEST_C)), "are not mnist"),
    ],
    ids=["truncated", "html", "gzipped-html", "empty", "short", "labels-as-pictures"],
)
def test_wrong_files(folder: Path, content: bytes, says: str) -> None:
    path = folder / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        creo.load_data("mnist", data_dir=folder)
    assert "t10k-images" in str(caught.value)


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tuple(
        idx.Published(p.file, p.size, p.sha256, ("http://127.0.0.1:1/",)) for p in idx.FILES["mnist"]
    )
    monkeypatch.setitem(idx.FILES, "mnist", gone)
    with pytest.raises(DataError) as caught:
        creo.load_data("mnist-binary", data_dir=tmp_path)
    assert all(p.file in str(caught.value) for p in gone)
    assert str(tmp_path / "mnist") in str(caught.value)


def test_another_sets_folder_does_not_pass_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tuple(idx.Published(p.file, p.size, p.sha256, ()) for p in idx.FILES["fashion-mnist"])
    monkeypatch.setitem(idx.FILES, "fashion-mnist", gone)
    with pytest.raises(DataError, match="put train-images-idx3-ubyte.gz"):
        creo.load_data("fashion-mnist", data_dir=folder / "mnist")


def cifar_archive(path: Path, *, names: tuple[str, ...], n: int = 1100, label: int = 3) -> np.ndarray:
    pictures = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
    records = np.concatenate([np.full((n, 1), label, np.uint8), pictures], 1).tobytes()
    path.parent.mkdir()
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name in names:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(records)
            archive.addfile(info, io.BytesIO(records))
    return pictures.reshape(n, 3, 32, 32)


def test_cifar_archive(tmp_path: Path) -> None:
    from creo.data.cifar import ARCHIVE, MEMBERS

    pictures = cifar_archive(tmp_path / "cifar10" / ARCHIVE.file, names=MEMBERS)
    data = creo.load_data("cifar10", data_dir=tmp_path)
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [500, 5000, 1100]
    np.testing.assert_array_equal(data.test.x.numpy(), pictures)
    assert data.condition.names[int(data.test.c[0])] == "cat"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("members", "lacks data_batch_5.bin, test_batch.bin"),
        ("label", "label 11 in record 0"),
        ("cut", "truncated"),
    ],
)
def test_wrong_cifar_archives(tmp_path: Path, damage: str, says: str) -> None:
    from creo.data.cifar import ARCHIVE, MEMBERS

    path = tmp_path / "cifar10" / ARCHIVE.file
    cifar_archive(
        path,
        names=MEMBERS[:4] if damage == "members" else MEMBERS,
        n=20,
        label=11 if damage == "label" else 1,
    )
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataError, match=says):
        creo.load_data("cifar10", data_dir=tmp_path)


def test_a_part_of_cifar_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    images = rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar10" / "some.npz", images=images, labels=np.arange(50) % 10)
    data = creo.load_data("cifar10", data_dir=tmp_path)
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [40, 5, 5]
    assert "only a part of CIFAR-10: 50 pictures" in data.notes[0]
    np.testing.assert_array_equal(data.train[0].permute(1, 2, 0).numpy(), images[0])


@pytest.mark.skipif(not REAL or not (Path(REAL) / "mnist").is_dir(), reason="$CREO_DATA has no mnist")
def test_the_real_mnist_loads_in_under_a_second_once_decoded() -> None:
    creo.load_data("mnist", data_dir=REAL)
    times = []
    for _ in range(3):  # the best of three, as other work on the machine is no fault of ours
        start = time.perf_counter()
        data = creo.load_data("mnist", data_dir=REAL)
        times.append(time.perf_counter() - start)
    assert min(times) < 1
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [50_000, 10_000, 10_000]
    assert read_idx(Path(REAL) / "mnist" / "t10k-labels-idx1-ubyte.gz")[:5].tolist() == [7, 2, 1, 0, 4]
    assert len(data.notes) == 1
