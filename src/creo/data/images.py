"""`images:FOLDER`: a folder of pictures of any sizes and modes, as `Ordinal((C, H, W), 256)`.

Pictures are cropped in the centre to the target's aspect and resized (bicubic, antialiased); transparency is laid on
white; rotation tags are obeyed. Every picture is decoded once when the folder is first read, so that unreadable ones
are known, listed in `Data.notes` and left out from the start. What fits in `memory_gib` stays in memory (and decoded in
the cache folder); otherwise batches are decoded when they are taken. One sub-folder for each class gives labels.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from creo.data.dataset import Data, Store
from creo.data.files import Arrays, cached
from creo.data.load import Request
from creo.data.splits import few, own_data
from creo.errors import DataError, OptionError
from creo.spaces import Categories, Ordinal

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["auto", "grey", "rgb"]
Open = Callable[[int], "Image"]
#: pictures of one size up to this stay as they are; others become DEFAULT_SIZE
LARGEST_NATURAL, DEFAULT_SIZE = 128, 64
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_SPLIT_NAMES = {"train", "valid", "val", "test"}


def to_array(image: Image, shape: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture as uint8 (C, H, W): turned upright, cropped in the centre, resized."""
    from PIL import Image as pil
    from PIL import ImageOps

    channels, height, width = shape
    image = _flat(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=pil.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _flat(image: Image, mode: str) -> Image:
    """The picture in `mode`, 16-bit greys scaled to 8, transparency laid on white."""
    from PIL import Image as pil

    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        image = pil.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


@dataclass
class Survey:
    """What the headers say: for each picture its size and mode, or why it cannot be read."""

    sizes: list[tuple[int, int]]
    modes: list[str]
    bad: dict[int, str]

    def shape(self, size: int | None, mode: Mode) -> tuple[int, int, int]:
        """The common shape (C, H, W) the pictures are brought to."""
        grey = mode == "grey" or (mode == "auto" and all(m in _GREY for m in self.modes))
        if size is None and len(set(self.sizes)) == 1 and max(self.sizes[0]) <= LARGEST_NATURAL:
            width, height = self.sizes[0]
        else:
            width = height = size or DEFAULT_SIZE
        return 1 if grey else 3, height, width


def _each(open_picture: Open, n: int, work: Callable[[Image], Any], what: str) -> Iterator[tuple[int, Any]]:
    """(i, work(picture i)) for all i in order; an unreadable picture gives its exception. Decodes in threads."""
    from PIL import Image as pil
    from rich.console import Console
    from rich.progress import track

    unreadable = (OSError, SyntaxError, ValueError, EOFError, struct.error, pil.DecompressionBombError)

    def one(i: int) -> tuple[int, Any]:
        try:
            with open_picture(i) as image:
                return i, work(image)
        except unreadable as error:
            return i, error

    console = Console(stderr=True)
    quiet = not console.is_terminal or n < 200
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # in slices, so that decoded pictures do not pile up before they are consumed
        slices = (pool.map(one, range(i, min(i + 256, n))) for i in range(0, n, 256))
        results = (result for part in slices for result in part)
        yield from track(results, what, total=n, console=console, transient=True, disable=quiet)


def survey(open_picture: Open, n: int) -> Survey:
    """Read the headers of n pictures."""
    found = Survey([], [], {})
    for i, result in _each(open_picture, n, lambda image: (_upright_size(image), _mode(image)), "headers"):
        if isinstance(result, Exception):
            found.bad[i] = _reason(result)
        else:
            found.sizes.append(result[0])
            found.modes.append(result[1])
    return found


def _upright_size(image: Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return image.size[::-1] if turned else image.size


def _mode(image: Image) -> str:
    """The mode, where a palette of greys counts as grey."""
    if image.mode == "P" and image.palette is not None:
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        return "L" if (colours == colours[:, :1]).all() else "RGB"
    return image.mode


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:100]


class Pictures:
    """A store that decodes pictures when they are taken.

    Args:
        open_picture: index -> open picture.
        names: what to call each picture in an error.
        shape: (C, H, W) they are brought to.
    """

    def __init__(self, open_picture: Open, names: Sequence[str], shape: tuple[int, int, int]) -> None:
        self.open_picture, self.names, self.shape = open_picture, names, shape
        self.pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Tensor) -> Tensor:
        batch = list(self.pool.map(self._one, index.tolist()))
        return torch.from_numpy(np.stack(batch)) if batch else torch.empty(0, *self.shape, dtype=torch.uint8)

    def _one(self, i: int) -> np.ndarray[Any, Any]:
        try:
            with self.open_picture(i) as image:
                return to_array(image, self.shape)
        except OSError as error:
            raise DataError(f"{self.names[i]} cannot be read any more ({_reason(error)})") from error


def decode(open_picture: Open, n: int, *, shape: tuple[int, int, int], keep: bool) -> Arrays:
    """Decode n pictures once: `good` indices, `bad` indices with `why`, and the pixels `x` of the good ones if kept."""
    x = np.empty((n if keep else 0, *shape), np.uint8)
    good: list[int] = []
    bad: dict[int, str] = {}
    for i, result in _each(open_picture, n, lambda image: to_array(image, shape), "pictures"):
        if isinstance(result, Exception):
            bad[i] = _reason(result)
        else:
            if keep:
                x[len(good)] = result
            good.append(i)
    kept = x[: len(good)] if keep else x
    return {"x": kept, "good": np.array(good, np.int64), "bad": np.array([*bad], np.int64),
            "why": np.array([*bad.values()] or [""], np.str_)}  # fmt: skip


@dataclass(frozen=True)
class Collection:
    """Pictures brought to one shape: a store, the indices that were readable, the shape, and notes."""

    x: Tensor | Store
    good: Tensor
    shape: tuple[int, int, int]
    notes: tuple[str, ...]


def collect(
    open_picture: Open,
    names: Sequence[str],
    *,
    size: int | None,
    mode: Mode,
    memory_gib: float,
    what: str,
    sources: Sequence[Path] | None = None,
) -> Collection:
    """Survey, decode and describe pictures; see `load` for the options.

    Raises:
        DataError: none of them can be read.
    """
    if size is not None and size < 1:
        raise OptionError(f"{what}: size must be at least 1; received {size}")
    seen = survey(open_picture, len(names))
    if not seen.sizes:
        raise DataError(f"{what}: none of {len(names)} pictures can be read: {_list_bad(names, seen.bad)}")
    shape = seen.shape(size, mode)
    keep = len(names) * math.prod(shape) <= memory_gib * 2**30

    def work() -> Arrays:
        return decode(open_picture, len(names), shape=shape, keep=keep)

    options = f"{shape} {keep}"
    arrays = work() if sources is None else cached("images", sources, work, options=options)
    bad = dict(zip(arrays["bad"].tolist(), arrays["why"].tolist(), strict=False))
    good = torch.from_numpy(arrays["good"])
    if len(good) == 0:
        raise DataError(f"{what}: none of {len(names)} pictures can be read: {_list_bad(names, bad)}")
    x: Tensor | Store = torch.from_numpy(arrays["x"])
    if not keep:
        kept = arrays["good"].tolist()
        x = Pictures(lambda i: open_picture(kept[i]), [names[i] for i in kept], shape)
    return Collection(x, good, shape, _notes(names, seen, bad, shape, keep))


def _list_bad(names: Sequence[str], bad: dict[int, str]) -> str:
    return few([f"{names[i]} ({why})" for i, why in bad.items()], 20)


def _notes(
    names: Sequence[str], seen: Survey, bad: dict[int, str], shape: tuple[int, int, int], keep: bool
) -> tuple[str, ...]:
    channels, height, width = shape
    resized = sum(size != (width, height) for size in seen.sizes)
    recoloured = sum((mode in _GREY) != (channels == 1) for mode in seen.modes)
    notes = []
    if resized:
        notes.append(
            f"{resized} of {len(seen.sizes)} pictures cropped in the centre and resized to {width} x {height}"
        )
    if recoloured:
        notes.append(f"{recoloured} pictures turned into {'grey' if channels == 1 else 'colour'}")
    if bad:
        notes.append(f"{len(bad)} unreadable pictures left out: {_list_bad(names, bad)}")
    if not keep:
        notes.append("decoded when taken, as they do not fit in memory_gib")
    return tuple(notes)


def load(request: Request, *, size: int | None = None, mode: Mode = "auto", memory_gib: float = 2.0) -> Data:
    """A folder of pictures, with labels if it has one sub-folder for each class.

    Args:
        request: the folder is its target.
        size: side of the square they are brought to; by default they stay as they are if all have one size of at
            most 128, and become 64 x 64 otherwise.
        mode: grey, rgb, or auto: grey if all are.
        memory_gib: more than this many GiB are not kept in memory but decoded when taken.
    """
    from PIL import Image as pil

    folder = request.path()
    if not folder.is_dir():
        raise DataError(f"{request.spec}: {folder} is a file; images: takes a folder")
    paths, others = _files(folder)
    if not paths:
        raise DataError(
            f"{request.spec}: no picture in {folder}{f' ({others} other files)' if others else ''}"
        )
    labels, classes, notes = _classes(folder, paths)
    names = [str(path.relative_to(folder)) for path in paths]
    found = collect(lambda i: pil.open(paths[i]), names, size=size, mode=mode, memory_gib=memory_gib,
                    what=request.spec, sources=paths)  # fmt: skip
    if others:
        notes = (*notes, f"{others} files that are no pictures ignored")
    c = None if labels is None else labels[found.good]
    condition = None if labels is None else Categories(len(classes), classes)
    return own_data(
        request, Ordinal(found.shape, 256), found.x, c, condition=condition, notes=(*found.notes, *notes)
    )


def _files(folder: Path) -> tuple[list[Path], int]:
    """All pictures below a folder in the order of their names, and the number of other files."""
    from PIL import Image as pil

    suffixes = {suffix for suffix, kind in pil.registered_extensions().items() if kind in pil.OPEN}
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    pictures = [p for p in files if p.suffix.lower() in suffixes]
    return pictures, len(files) - len(pictures)


def _classes(folder: Path, paths: list[Path]) -> tuple[Tensor | None, tuple[str, ...], tuple[str, ...]]:
    """Labels (N,) by first sub-folder, their names, and notes; no labels unless every picture has one of several."""
    parents = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in paths]
    classes = tuple(sorted(set(parents)))
    if {"train"} < set(classes) <= _SPLIT_NAMES:
        raise DataError(
            f"{folder}: sub-folders {', '.join(classes)} are splits, not classes; give {folder / 'train'}"
        )
    if len(classes) == 1:
        return None, (), ()
    if "" in classes:
        return None, (), ("no labels: some pictures are in sub-folders, some are not",)
    index = {name: i for i, name in enumerate(classes)}
    return torch.tensor([index[p] for p in parents]), classes, ()
