"""Checkpoints: safetensors files that are whole or not there, and that know when they were changed.

A file is written under a temporary name in the same folder, synced to disk and renamed, so a kill or a full disk at
any moment leaves the previous one untouched. It carries tensors, a JSON of plain values, and a BLAKE2 digest of both;
reading verifies the digest, so truncation and edits are noticed. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from creo.errors import CorruptCheckpoint, RunError


def _digest(tensors: Mapping[str, Tensor], meta: str) -> str:
    digest = hashlib.blake2b(meta.encode(), digest_size=16)
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {tuple(t.shape)} ".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`, or leave it as it was.

    Raises:
        RunError: if it cannot be written (disk full, no permission); says so and names the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(
            f"could not write {path}: {error.strerror}; what was there before is intact"
        ) from error


def write(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: where, ending in .safetensors.
        tensors: by name; copied to the CPU, shared memory is written twice.
        meta: plain values (JSON), exact for floats.
    """
    copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    text = json.dumps(meta)
    write_atomically(path, save(copies, {"creo": text, "digest": _digest(copies, text)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and plain values of a checkpoint.

    Raises:
        CorruptCheckpoint: if it cannot be read or is not what was written.
    """
    try:
        with safe_open(str(path), "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CorruptCheckpoint(f"{path} cannot be read: {error}") from None
    if "digest" not in header or _digest(tensors, header.get("creo", "")) != header["digest"]:
        raise CorruptCheckpoint(f"{path} is not what was written: its checksum does not match")
    return tensors, json.loads(header["creo"])
