"""CIFAR-10 from the publisher's binary archive: 60000 colour photographs of 32 x 32 in ten classes.

`cifar-10-binary.tar.gz` holds files of records: one byte of label, then 3072 bytes of pixels as (3, 32, 32)
(Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html). The last 5000 training pictures are the validation
split. Where only an `.npz` with `images` (N, 32, 32, 3) and `labels` (N,) is at hand, that part is used, and
`Data.notes` says so.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from creo.data.dataset import Data, Split
from creo.data.files import Arrays, Published, cached, find, obtain, places
from creo.data.listing import find_data
from creo.data.load import Request
from creo.errors import DataError
from creo.spaces import Categories, Ordinal

NAME, VALID, RECORD = "cifar10", 5000, 1 + 3072
ARCHIVE = Published(
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
MEMBERS = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _records(raw: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 3, 32, 32) and labels (N,) of one file of records."""
    if not raw or len(raw) % RECORD:
        raise DataError(
            f"{where} is truncated or no CIFAR-10 file: {len(raw)} bytes, not a multiple of {RECORD}"
        )
    rows = np.frombuffer(raw, np.uint8).reshape(-1, RECORD)
    if rows[:, 0].max() > 9:
        raise DataError(
            f"{where} is no CIFAR-10 file: label {rows[:, 0].max()} in record {rows[:, 0].argmax()}"
        )
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def _decode_archive(path: Path) -> Arrays:
    try:
        with tarfile.open(path, "r:gz") as archive:
            files = {Path(m.name).name: archive.extractfile(m) for m in archive if m.isfile()}
            missing = [m for m in MEMBERS if m not in files]
            if missing:
                raise DataError(
                    f"{path} lacks {', '.join(missing)}; get {ARCHIVE.file} from {ARCHIVE.urls[0]}"
                )
            parts = [_records(file.read(), f"{m} in {path}") for m in MEMBERS if (file := files[m])]
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); delete it and get it again") from error
    *train, test = parts
    x, c = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return {"train_x": x, "train_c": c, "test_x": test[0], "test_c": test[1]}


def _decode_part(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, c = archive["images"], archive["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no archive of images and labels ({error})") from error
    if x.ndim != 4 or x.shape[1:] != (32, 32, 3) or x.dtype != np.uint8 or c.shape != x.shape[:1]:
        raise DataError(
            f"{path}: images must be uint8 (N, 32, 32, 3) with N labels; received {x.shape}, {c.shape}"
        )
    return {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2)), "c": c}


def _part(request: Request) -> Path | None:
    """An `.npz` in the data set's own folder, where there is no archive."""
    return next((path for folder in places(request, NAME) for path in sorted(folder.glob("*.npz"))), None)


def load(request: Request) -> Data:
    """45000/5000/10000 pictures (3, 32, 32) with labels; fewer if only a part is at hand (see `notes`)."""
    archive, part = find(request, NAME, ARCHIVE), _part(request)
    if archive is None and part is not None:
        return _from_part(request, part)
    path = archive or obtain(request, NAME, [ARCHIVE])[0]
    found = cached(NAME, [path], lambda: _decode_archive(path))
    x, c = torch.from_numpy(found["train_x"]), torch.from_numpy(found["train_c"]).long()
    test = Split(torch.from_numpy(found["test_x"]), torch.from_numpy(found["test_c"]).long())
    return _data(request, Split(x[:-VALID], c[:-VALID]), Split(x[-VALID:], c[-VALID:]), test,
                 f"validation: the last {VALID} training pictures")  # fmt: skip


def _from_part(request: Request, path: Path) -> Data:
    found = cached(NAME, [path], lambda: _decode_part(path))
    x, c = torch.from_numpy(found["x"]), torch.from_numpy(found["c"]).long()
    n = len(x)
    cut = (slice(0, n - 2 * (n // 10)), slice(n - 2 * (n // 10), n - n // 10), slice(n - n // 10, n))
    train, valid, test = (Split(x[s], c[s]) for s in cut)
    return _data(request, train, valid, test,
                 f"only a part of CIFAR-10: {n} pictures from {path}, split 80/10/10 in order, so numbers are not "
                 f"comparable with published ones; put {ARCHIVE.file} beside it for all 60000")  # fmt: skip


def _data(request: Request, train: Split, valid: Split, test: Split, note: str) -> Data:
    entry = find_data(request.name)
    return Data(request.spec, Ordinal((3, 32, 32), 256), train, valid, test, condition=Categories(10, CLASSES),
                source=entry.source, licence=entry.licence, notes=(note,))  # fmt: skip
