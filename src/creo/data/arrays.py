"""`array:FILE`: arrays from .npy or .npz files (never pickled ones).

An .npy holds x; an .npz holds `x` and perhaps conditions `c`, or `train`, `valid`, `test` and perhaps `train_c`,
`valid_c`, `test_c`. The first axis counts the examples. Real numbers become `Continuous(shape)`; whole numbers become
`Ordinal(shape, levels)` with one level more than the largest value, 256 for uint8 values above 1. Pictures (N, H, W, C)
of uint8 are moved to (C, H, W), grey ones (N, H, W) get their channel, and `Data.notes` says so. Conditions of whole
numbers are `Categories`. An .npy larger than `memory_gib` stays on disk, memory-mapped.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from creo.data.dataset import Data, Split, Store
from creo.data.listing import find_data
from creo.data.load import Request
from creo.data.splits import own_data, random_split
from creo.errors import DataError, OptionError, suggestion
from creo.spaces import Categories, Continuous, Ordinal, Space

Array = np.ndarray[Any, Any]
KEYS = ("x", "c", "train", "valid", "test", "train_c", "valid_c", "test_c")


def load(request: Request, *, levels: int | None = None, memory_gib: float = 2.0) -> Data:
    """Arrays of one's own.

    Args:
        request: the file is its target.
        levels: number of levels of whole numbers, where not all of them occur.
        memory_gib: an .npy larger than this many GiB is memory-mapped.
    """
    arrays = read(request.path(), memory_gib)
    what = request.spec
    samples = [arrays[key] for key in ("x", "train", "valid", "test") if key in arrays]
    space, notes = infer(samples, levels, what)
    shape, dtype = space.shape, space.dtype
    stores = {key: _store(a, shape, dtype) for key, a in arrays.items() if not key.endswith("c")}
    labels = {key: a for key, a in arrays.items() if key.endswith("c")}
    condition, conditions = infer_condition(labels, what)
    if "x" in stores:
        c = conditions.get("c")
        _same_length(len(stores["x"]), c, what)
        return own_data(request, space, stores["x"], c, condition=condition, notes=notes)
    return _given_splits(request, space, stores, conditions, condition=condition, notes=notes)


def read(path: Path, memory_gib: float) -> dict[str, Array]:
    """The arrays of a file by key.

    Raises:
        DataError: unreadable, pickled, or with keys that mean nothing here.
    """
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"{path}: arrays come as .npy or .npz; received {path.suffix or 'no suffix'}")
    try:
        if path.suffix == ".npy":
            mapped = path.stat().st_size > memory_gib * 2**30
            return {"x": np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)}
        with np.load(path, allow_pickle=False) as archive:
            return _known({key: archive[key] for key in archive.files}, path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        pickled = "allow_pickle" in str(error)
        why = "it holds Python objects, which are never unpickled" if pickled else str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as {path.suffix}: {why}") from error


def _known(arrays: dict[str, Array], path: Path) -> dict[str, Array]:
    for key in arrays:
        if key not in KEYS:
            raise DataError(f"{path}: array {key!r} means nothing here{suggestion(key, KEYS)}; "
                            f"arrays are x and c, or train, valid, test and train_c, valid_c, test_c")  # fmt: skip
    if ("x" in arrays) == ("train" in arrays):
        raise DataError(
            f"{path} must hold x or train, one of them; it holds {', '.join(arrays) or 'nothing'}"
        )
    paired = {"c": "x", "train_c": "train", "valid_c": "valid", "test_c": "test"}
    for c, x in paired.items():
        if c in arrays and x not in arrays:
            raise DataError(f"{path} holds {c} without {x}")
    return arrays


def infer(arrays: list[Array], levels: int | None, what: str) -> tuple[Space, tuple[str, ...]]:
    """The space of arrays (N, ...) of one shape and kind, and notes.

    Raises:
        DataError: NaN, infinite or negative whole values, other kinds of values, or shapes that differ.
    """
    first = arrays[0]
    for a in arrays:
        if a.ndim == 0 or a.shape[1:] != first.shape[1:] or a.dtype.kind != first.dtype.kind:
            raise DataError(f"{what}: arrays must share shape and kind; received {first.dtype} {first.shape} and "
                            f"{a.dtype} {a.shape}")  # fmt: skip
    if first.dtype.kind == "f":
        for a in arrays:
            _check_finite(a, what)
        notes = ("float64 values rounded to float32",) if first.dtype == np.float64 else ()
        return Continuous(first.shape[1:]), notes
    if first.dtype.kind not in "iub":
        raise DataError(f"{what}: values must be numbers; received {first.dtype}")
    return _infer_ordinal(arrays, levels, what)


def _infer_ordinal(arrays: list[Array], levels: int | None, what: str) -> tuple[Space, tuple[str, ...]]:
    low, high = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    if low < 0:
        raise DataError(f"{what}: whole numbers must be levels 0..k-1; the least is {low}: "
                        "shift them, or store floating-point numbers")  # fmt: skip
    notes: tuple[str, ...] = ()
    if levels is None:
        levels = 256 if arrays[0].dtype == np.uint8 and high > 1 else max(high + 1, 2)
        notes = (f"{levels} levels inferred from the largest value {high}",)
    if high >= levels:
        raise OptionError(f"{what}: levels={levels}, but the largest value is {high}")
    shape = arrays[0].shape[1:]
    if arrays[0].dtype == np.uint8 and _picture(shape) != shape:
        notes += (f"pictures {shape} turned into (C, H, W)",)
        shape = _picture(shape)
    return Ordinal(shape, levels), notes


def _picture(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as (C, H, W) if it is that of a picture in another order."""
    if len(shape) == 3 and shape[2] in (1, 3) and shape[0] not in (1, 3):
        return (shape[2], shape[0], shape[1])
    return (1, *shape) if len(shape) == 2 else shape


def _slices(a: Array) -> Iterator[tuple[int, Array]]:
    """A large array in pieces of about 64 MiB."""
    step = max(1, int(2**26 // max(1, a[:1].nbytes)))
    return ((i, a[i : i + step]) for i in range(0, len(a), step))


def _check_finite(a: Array, what: str) -> None:
    for start, part in _slices(a):
        bad = ~np.isfinite(part)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(f"{what}: {part[at]} at index {(start + at[0], *at[1:])}; values must be finite")


class Mapped:
    """A store over an array on disk: the examples asked for are read, brought to `shape` and `dtype`."""

    def __init__(self, array: Array, convert: Callable[[Array], Tensor]) -> None:
        self.array, self.convert = array, convert

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Tensor) -> Tensor:
        # reading in the order of the file, then putting back, is what a disk likes
        order = index.argsort()
        batch = self.convert(self.array[index[order].numpy()])
        return batch[order.argsort()]


def _store(a: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | Store:
    moved = len(shape) == 3 and a.ndim == 4 and a.shape[1:] != shape

    def convert(part: Array) -> Tensor:
        part = np.moveaxis(part, 3, 1) if moved else part
        return torch.from_numpy(np.array(part.reshape(len(part), *shape))).to(dtype)

    return Mapped(a, convert) if isinstance(a, np.memmap) else convert(a)


def infer_condition(labels: dict[str, Array], what: str) -> tuple[Space | None, dict[str, Tensor]]:
    """The space of conditions and the conditions by key; (None, {}) if there are none."""
    if not labels:
        return None, {}
    arrays = list(labels.values())
    if arrays[0].dtype.kind in "iub" and arrays[0].ndim == 1:
        if min(int(a.min(initial=0)) for a in arrays) < 0:
            raise DataError(f"{what}: labels must be 0..k-1; the least is negative")
        size = 1 + max(int(a.max(initial=0)) for a in arrays)
        return Categories(size), {key: torch.from_numpy(a.astype(np.int64)) for key, a in labels.items()}
    space, _ = infer(arrays, None, f"{what} conditions")
    return space, {key: torch.from_numpy(np.array(a)).to(space.dtype) for key, a in labels.items()}


def _same_length(n: int, c: Tensor | None, what: str) -> None:
    if c is not None and len(c) != n:
        raise DataError(f"{what}: {n} examples but {len(c)} conditions")


def _given_splits(
    request: Request,
    space: Space,
    stores: dict[str, Tensor | Store],
    conditions: dict[str, Tensor],
    *,
    condition: Space | None,
    notes: tuple[str, ...],
) -> Data:
    """The splits of the file; those it lacks are held out from train at random, a tenth each."""
    if condition is not None and len(conditions) != len(stores):
        raise DataError(f"{request.spec}: conditions are given for {', '.join(conditions)} only")
    lacking = [name for name in ("valid", "test") if name not in stores]
    x: Any = stores["train"]
    c = conditions.get("train_c")
    splits = {name: Split(store, conditions.get(f"{name}_c")) for name, store in stores.items()}
    if lacking:
        parts = random_split(len(x), request.spec, (0.1,) * len(lacking))
        for name, index in zip(("train", *lacking), parts, strict=True):
            splits[name] = Split(x[index], None if c is None else c[index])
        notes = (*notes, f"{' and '.join(lacking)}: a tenth of train each, at random, seed 0")
    entry = find_data(request.name + ":")
    return Data(request.spec, space, splits["train"], splits["valid"], splits["test"], condition=condition,
                source=entry.source, licence=entry.licence, notes=notes)  # fmt: skip
