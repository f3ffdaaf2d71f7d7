"""Tensors that were costly to compute, kept on disk: found again by a key that holds everything they depend on.

A file of the cache folder (`creo.data.files.cache_folder`) is whole or not there, and knows when it was changed
(`creo.training.checkpoint`); a damaged one is computed again. Deleting the folder costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from creo.errors import CorruptCheckpoint, CreoWarning, RunError

Tensors = dict[str, Tensor]


def digest(parts: Iterable[Any]) -> str:
    """16 hex digits of tensors (dtype, shape, content) and plain values, in their order."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            found.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            found.update(f"{part!r} ".encode())
    return found.hexdigest()


def kept(name: str, parts: Iterable[Any], compute: Callable[[], Tensors]) -> Tensors:
    """`compute()`, or what it gave when it was last asked with the same name and parts.

    Args:
        name: begins the file's name.
        parts: everything the tensors depend on: tensors and plain values.
        compute: returns tensors by name.
    """
    from creo.data.files import cache_folder
    from creo.training.checkpoint import read, write

    path = cache_folder() / "evaluation" / f"{name}-{digest(parts)}.safetensors"
    if path.is_file():
        try:
            return read(path)[0]
        except CorruptCheckpoint:
            path.unlink()
    tensors = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, tensors, {})
    except (OSError, RunError) as error:
        warnings.warn(
            f"{name} cannot be kept in {path.parent} ({error}); computed anew each time",
            CreoWarning,
            stacklevel=2,
        )
    return tensors
