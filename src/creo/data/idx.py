# ruff: noqa: E501 - one line per file and checksum is the point
"""MNIST and Fashion-MNIST from their publishers' IDX files.

An IDX file is two zero bytes, a type code (8 is uint8), the number of axes, each axis' length as a big-endian uint32,
and the values (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist/); usually compressed by gzip. The last 10000
of the 60000 training pictures are the validation split.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from creo.data.dataset import Data, Split
from creo.data.files import Arrays, Published, cached, obtain
from creo.data.listing import find_data
from creo.data.load import Request
from creo.errors import DataError
from creo.spaces import Categories, Ordinal

VALID = 10_000
_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
_FASHION = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)


def _published(bases: tuple[str, ...], stem: str, axes: int, size: int, sha256: str) -> Published:
    file = f"{stem}-idx{axes}-ubyte.gz"
    return Published(file, size, sha256, tuple(base + file for base in bases))


# fmt: off
#: train images, train labels, test images, test labels
FILES: dict[str, tuple[Published, ...]] = {
    "mnist": (
        _published(_MNIST, "train-images", 3, 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        _published(_MNIST, "train-labels", 1, 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        _published(_MNIST, "t10k-images", 3, 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        _published(_MNIST, "t10k-labels", 1, 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion-mnist": (
        _published(_FASHION, "train-images", 3, 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        _published(_FASHION, "train-labels", 1, 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        _published(_FASHION, "t10k-images", 3, 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        _published(_FASHION, "t10k-labels", 1, 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
}
# fmt: on
LABELS = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}  # fmt: skip


def read_idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The uint8 array of an IDX file, compressed or not.

    Raises:
        DataError: truncated, not gzip though named so, not IDX, or not as long as its header says.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or no gzip file ({error}); delete it and get it again"
        ) from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != 8 or raw[3] < 1 or len(raw) < 4 + 4 * raw[3]:
        raise DataError(f"{path} is not an IDX file of bytes: it starts with {raw[:4].hex(' ') or 'nothing'}")
    shape = struct.unpack(f">{raw[3]}I", raw[4 : 4 + 4 * raw[3]])
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    if len(values) != math.prod(shape):
        raise DataError(f"{path} is truncated or damaged: header says {shape}, {len(values)} values follow")
    return values.reshape(shape)


def _decode(name: str, paths: list[Path]) -> Arrays:
    train_x, train_c, test_x, test_c = (read_idx(path) for path in paths)
    for x, c, path in ((train_x, train_c, paths[0]), (test_x, test_c, paths[2])):
        if x.ndim != 3 or x.shape[1:] != (28, 28) or c.shape != x.shape[:1] or c.max(initial=0) > 9:
            raise DataError(
                f"{path} and its labels are not {name}: pictures {x.shape}, labels {c.shape} up to {c.max()}"
            )
    if len(train_x) <= VALID:
        raise DataError(f"{paths[0]} has only {len(train_x)} pictures; the last {VALID} are for validation")
    return {"train_x": train_x, "train_c": train_c, "test_x": test_x, "test_c": test_c}


def arrays(request: Request, name: str) -> tuple[Arrays, tuple[str, ...]]:
    """The four arrays of `name`, and notes on files that are not the publisher's."""
    paths = obtain(request, name, FILES[name])
    notes = tuple(
        f"{path} has {path.stat().st_size} bytes, the publisher's file {published.size}: it is not the original"
        for path, published in zip(paths, FILES[name], strict=True)
        if path.suffix == ".gz" and path.stat().st_size != published.size
    )
    return cached(name, paths, lambda: _decode(name, paths)), notes


def load(request: Request) -> Data:
    """50000/10000/10000 grey pictures (1, 28, 28) with labels as condition."""
    return grey(request, request.name)


def grey(request: Request, name: str) -> Data:
    """The grey pictures of `name`, which may be asked for under another name."""
    found, notes = arrays(request, name)
    x = {part: torch.from_numpy(found[f"{part}_x"])[:, None] for part in ("train", "test")}
    c = {part: torch.from_numpy(found[f"{part}_c"]).long() for part in ("train", "test")}
    entry = find_data(request.name)
    return Data(
        request.spec,
        Ordinal((1, 28, 28), 256),
        Split(x["train"][:-VALID], c["train"][:-VALID]),
        Split(x["train"][-VALID:], c["train"][-VALID:]),
        Split(x["test"], c["test"]),
        condition=Categories(10, LABELS[name]),
        source=entry.source,
        licence=entry.licence,
        notes=(f"validation: the last {VALID} training pictures", *notes),
    )
