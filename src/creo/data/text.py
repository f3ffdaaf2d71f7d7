"""`text:FILE`: a text as sequences of characters, `Tokens(length, size, symbols)`.

The text is split in order, 90/5/5 %, and cut into windows of `length` characters: validation and test windows do not
overlap, so that their log-probabilities add up to that of the text; training windows start every `stride` characters.
The symbols are the distinct characters of the whole file in the order of their code points.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.data.listing import find_data
from creo.data.load import Request
from creo.errors import DataError, OptionError
from creo.spaces import Tokens


def load(request: Request, *, length: int = 64, stride: int | None = None) -> Data:
    """Windows of characters of a UTF-8 text file (also .gz).

    Args:
        request: the file is its target.
        length: characters in one sample.
        stride: distance between the starts of training windows; a quarter of the length by default.
    """
    return text_data(request, _read(request.path()), length=length, stride=stride)


def _read(path: Path) -> str:
    if path.is_dir():
        raise DataError(f"{path} is a folder; text: takes a file")
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or no gzip file ({error})") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}"
        ) from error


def text_data(
    request: Request,
    text: str,
    *,
    length: int,
    stride: int | None,
    sizes: tuple[int, int, int] | None = None,
    **fields: Any,
) -> Data:
    """The windows of a text; see `load`. `sizes`: characters of train, valid and test, where they are given."""
    stride = max(1, length // 4) if stride is None else stride
    if length < 1 or stride < 1:
        raise OptionError(
            f"{request.spec}: length and stride must be at least 1; received {length} and {stride}"
        )
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    symbols, index = np.unique(codes, return_inverse=True)
    if len(symbols) < 2:
        raise DataError(
            f"{request.spec}: the text has {len(symbols)} distinct characters; at least 2 are needed"
        )
    tokens, n = torch.from_numpy(index.astype(np.int64)), len(index)
    given = sizes is not None
    sizes = sizes or (n - 2 * (n // 20), n // 20, n // 20)
    if min(sizes) < length:
        raise DataError(f"{request.spec}: {n} characters are too few for windows of {length}, as the smallest split "
                        f"has {min(sizes)}; give length={max(1, min(sizes))} or a longer text")  # fmt: skip
    parts = tokens.split(list(sizes))
    train, valid, test = (
        Split(_windows(part, length, step))
        for part, step in zip(parts, (stride, length, length), strict=True)
    )
    space = Tokens(length, len(symbols), tuple(map(chr, symbols.tolist())))
    entry = find_data(request.name + ":")
    split = "given" if given else "90/5/5 % in order"
    notes = (f"{n} characters, split {split}; training windows start every {stride}",)
    return Data(
        request.spec,
        space,
        train,
        valid,
        test,
        notes=notes,
        **({"source": entry.source, "licence": entry.licence} | fields),
    )


def _windows(tokens: Tensor, length: int, stride: int) -> Tensor:
    """(N, length), a view: overlapping windows share their memory."""
    return tokens.unfold(0, length, stride)
