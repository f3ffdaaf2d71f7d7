"""`save_samples`: samples to a file, in the form its suffix names.

| suffix | spaces                               | content                                                      |
|--------|--------------------------------------|--------------------------------------------------------------|
| .png   | all                                  | `sample_picture`                                             |
| .gif   | videos                               | `film.gif_bytes`: they play side by side, given frames first  |
| .npz   | all                                  | arrays `x` and perhaps `c`, which `array:FILE` reads back     |
| .csv   | tables, vectors, scalars, labels     | a line of names, a line for each sample; names of categories |
| .txt   | sequences of symbols, labels         | a line for each sample                                       |

The file is complete or absent: it is written under a temporary name and renamed.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from creo.data.files import replacing
from creo.data.film import gif_bytes
from creo.data.picture import png_bytes, sample_picture, texts
from creo.errors import DataError
from creo.spaces import Categories, Space, Table, Tokens

#: stands between samples of a text whose symbols include the line end
RULE = "-" * 20


def _png(x: Tensor, c: Tensor | None, space: Space, file: IO[bytes]) -> None:
    file.write(png_bytes(sample_picture(x, space, given=c)))


def _gif(x: Tensor, c: Tensor | None, space: Space, file: IO[bytes]) -> None:
    file.write(gif_bytes(x, space, c))


def _npz(x: Tensor, c: Tensor | None, space: Space, file: IO[bytes]) -> None:
    arrays = {"x": x.numpy()} if c is None else {"x": x.numpy(), "c": c.cpu().numpy()}
    np.savez(file, allow_pickle=False, **arrays)


def _csv(x: Tensor, c: Tensor | None, space: Space, file: IO[bytes]) -> None:
    if isinstance(space, Table):
        names, spaces = list(space.names), list(space.column_spaces)
    else:
        names = [f"x{i + 1}" for i in range(space.dims)] if space.shape else ["x"]
        spaces = [space] * space.dims
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    for row in x.reshape(len(x), -1).tolist():
        writer.writerow(_entry(value, column) for value, column in zip(row, spaces, strict=True))
    file.write(text.getvalue().encode())


def _entry(value: float, column: Space) -> str:
    if isinstance(column, Categories):
        return column.names[int(value)] if column.names else str(int(value))
    return str(int(value)) if column.discrete else repr(value)


def _txt(x: Tensor, c: Tensor | None, space: Space, file: IO[bytes]) -> None:
    if isinstance(space, Tokens):
        lines = texts(x, space)
        between = f"\n{RULE}\n" if "\n" in (space.symbols or ()) else "\n"
    else:
        lines, between = [_entry(value, space) for value in x.tolist()], "\n"
    file.write((between.join(lines) + "\n").encode("utf-8", "surrogatepass"))


def _anything(space: Space) -> bool:
    return True


def _row(space: Space) -> bool:
    return len(space.shape) <= 1 and space.kind != "Tokens"


def _video(space: Space) -> bool:
    return space.is_video


def _text(space: Space) -> bool:
    return space.kind in ("Tokens", "Categories")


_FORMATS: dict[
    str, tuple[Callable[[Space], bool], Callable[[Tensor, Tensor | None, Space, IO[bytes]], None]]
] = {
    ".png": (_anything, _png),
    ".gif": (_video, _gif),
    ".npz": (_anything, _npz),
    ".csv": (_row, _csv),
    ".txt": (_text, _txt),
}


def formats(space: Space) -> tuple[str, ...]:
    """The suffixes under which samples of a space can be saved."""
    return tuple(suffix for suffix, (accepts, _) in _FORMATS.items() if accepts(space))


def check_path(path: str | os.PathLike[str], space: Space) -> Path:
    """`path`, if samples of `space` can be saved under it; ask before the samples are drawn.

    Raises:
        DataError: naming the suffixes that will do, or the folder in the way.
    """
    path = Path(path)
    if path.suffix.lower() not in formats(space):
        what = f"suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise DataError(
            f"samples of {space} are saved as {', '.join(formats(space))}; received {what} in {path}"
        )
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it")
    return path


def save_samples(x: Tensor, space: Space, path: str | os.PathLike[str], *, c: Tensor | None = None) -> Path:
    """Write samples to a file and return its path.

    Args:
        x: raw samples, (N, *space.shape).
        space: what one sample is.
        path: the file; its suffix says the form (see the module).
        c: conditions they were drawn for, (N, ...), kept by .npz; .png and .gif show those that are frames.

    Raises:
        DataError: that suffix does not suit the space, there are no samples, or the file cannot be written.
        SpaceError: x is not of the space.
    """
    target = check_path(path, space)
    if len(x) == 0:
        raise DataError(f"no samples to save in {target}")
    x = space.check(x.detach().cpu(), "samples")
    x = x.float() if x.dtype == torch.bfloat16 else x  # numpy has no bfloat16
    try:
        with replacing(target) as file:
            _FORMATS[target.suffix.lower()][1](x, c, space, file)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error
    return target
