"""Samples made elsewhere: a folder of pictures, or an array, as raw data of a space.

Pictures must have the size of the data's; grey and colour are converted. An `.npz` holds one array, or one called `x`
or `arr_0`; an `.npy` is one. Arrays of pictures may have their colours last, and grey ones may lack the axis.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from creo.errors import DataError, SpaceError
from creo.spaces import Space

_PREFERRED = ("x", "arr_0", "samples")


def read_samples(path: str | Path, space: Space) -> Tensor:
    """Raw samples (n, *space.shape) from a folder or file.

    Raises:
        DataError: nothing there, unreadable, or fewer than 2 samples. SpaceError: they are not of the space.
    """
    path = Path(path)
    if path.is_dir():
        x = _pictures(path, space)
    elif path.suffix in (".npz", ".npy"):
        x = _in_space(_array(path), space, str(path))
    else:
        what = f"{path.suffix or 'no suffix'}" if path.exists() else "nothing there"
        raise DataError(f"{path}: samples are a folder of pictures, an .npz or an .npy; received {what}")
    if len(x) < 2:
        raise DataError(f"{path} holds {len(x)} samples; at least 2 are needed")
    return space.check(x, str(path))


def _pictures(folder: Path, space: Space) -> Tensor:
    from PIL import Image, UnidentifiedImageError

    from creo.data.images import to_array

    if space.kind != "Ordinal" or not space.is_image or space.levels != 256:  # type: ignore[attr-defined]
        raise SpaceError(
            f"{folder}: pictures have 256 levels; the data are {space}: give an .npz of raw samples"
        )
    channels, height, width = space.shape
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in suffixes)
    if not files:
        raise DataError(f"{folder} is empty: no picture in it")
    found = []
    for file in files:
        try:
            with Image.open(file) as image:
                if image.size != (width, height):
                    w, h = image.size
                    raise SpaceError(
                        f"{file} is {w} x {h}; the data are {width} x {height}: resize one or the other"
                    )
                found.append(to_array(image, (channels, height, width)))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise DataError(f"{file} cannot be read: {error}") from None
    return torch.from_numpy(np.stack(found))


def _array(path: Path) -> np.ndarray[Any, Any]:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = [n for n in _PREFERRED if n in loaded.files] or loaded.files
            if len(names) != 1 and names[:1] != ["x"]:
                raise DataError(f"{path} holds {', '.join(loaded.files) or 'nothing'}; call the samples x")
            return loaded[names[0]]
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _in_space(a: np.ndarray[Any, Any], space: Space, what: str) -> Tensor:
    """An array as a batch of the space: axes in its order, its dtype; values are checked by the caller."""
    if a.dtype.kind not in "fiub":
        raise DataError(f"{what}: samples must be numbers; received {a.dtype}")
    if a.ndim == 0:
        raise SpaceError(f"{what}: samples must have shape (n, ...); received a single number")
    shape = tuple(a.shape[1:])
    if len(space.shape) == 3 and shape != space.shape and shape == (*space.shape[1:], space.shape[0]):
        a = np.moveaxis(a, -1, 1)
    elif (
        len(space.shape) == 3
        and shape != space.shape
        and math.prod(shape) == space.dims
        and space.shape[0] == 1
    ):
        a = a.reshape(len(a), *space.shape) if shape == space.shape[1:] else a
    x = torch.from_numpy(np.ascontiguousarray(a))
    floating = space.dtype.is_floating_point
    if x.is_floating_point() and not floating:
        if not bool(((x == x.round()) & x.isfinite()).all()):
            raise SpaceError(
                f"{what}: {space} takes whole levels; received real numbers: scale and round them first"
            )
        x = x.long()
    if not floating:
        space.check(x.long(), what)  # before a narrow dtype wraps values around
    return x.to(space.dtype)
