"""Publishers' files: found, or downloaded with a checksum; decoded once and kept.

A file is looked for in the folder NAME of `data_dir`, of `$CREO_DATA` and of the cache (`$XDG_CACHE_HOME/creo`, else
`~/.cache/creo`), then downloaded into the cache. Whatever is written goes to a temporary name, is checked, and is
renamed: there is never half a file under a real name. Decoded arrays are kept in the cache as `.npz` under a key of
the source's path, size and modification time; the cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import numpy as np

from creo.data.load import Request, environment_folder
from creo.errors import CreoWarning, DataError

Arrays = dict[str, np.ndarray[Any, Any]]
CHUNK = 1 << 18
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Published:
    """A file as its publisher offers it.

    Args:
        file: its name.
        size: bytes.
        sha256: hexadecimal digest.
        urls: where it is offered; tried in order.
    """

    file: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def cache_folder() -> Path:
    """Where downloads and decoded arrays are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "creo"


def _roots(request: Request) -> list[Path]:
    return [root for root in (request.data_dir, environment_folder()) if root is not None]


def places(request: Request, name: str) -> list[Path]:
    """The folders of data set `name`: NAME in `data_dir` and in `$CREO_DATA`, or these themselves if so called."""
    named = [root if root.name == name else root / name for root in _roots(request)]
    return [*named, cache_folder() / name]


def find(request: Request, name: str, one: Published) -> Path | None:
    """The local copy of a published file, perhaps unpacked, or None.

    Outside a folder of the data set's name only a file of the published size will do: other data sets have files of
    the same name.
    """
    files = (one.file, one.file.removesuffix(".gz"))
    for path in (folder / file for folder in places(request, name) for file in files):
        if path.is_file():
            return path
    loose = (root / one.file for root in _roots(request))
    return next((path for path in loose if path.is_file() and path.stat().st_size == one.size), None)


def obtain(request: Request, name: str, published: Sequence[Published]) -> list[Path]:
    """The local copies of published files (unpacked ones are taken too), downloaded where there are none.

    Args:
        request: says where to look.
        name: the data set's name, which is the folder's.
        published: the files.

    Raises:
        DataError: one is neither found nor can be downloaded; says which files to put where.
    """
    try:
        return [find(request, name, one) or download(one, cache_folder() / name) for one in published]
    except DataError as error:
        missing = " and ".join(one.file for one in published if find(request, name, one) is None)
        folders = " or ".join(map(str, places(request, name)))
        raise DataError(
            f"{name}: put {missing} into {folders}, or say where they are with data_dir or $CREO_DATA; "
            f"the download failed ({error})"
        ) from error


def download(published: Published, folder: Path) -> Path:
    """Fetch a published file into `folder`, checked against its digest, under its name only when complete.

    Raises:
        DataError: no address gave the right content; says what each answered.
    """
    failures = []
    for url in published.urls:
        try:
            with replacing(folder / published.file) as part:
                digest = _fetch(url, published, part)
                if digest != published.sha256:
                    raise DataError(f"checksum is {digest[:12]}..., not {published.sha256[:12]}...")
            return folder / published.file
        except (OSError, HTTPException, DataError) as error:
            failures.append(f"{url}: {error or type(error).__name__}")
    raise DataError("; ".join(failures))


def _fetch(url: str, published: Published, part: IO[bytes]) -> str:
    """Copy `url` to an open file with a progress bar; the content's SHA-256."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT_S) as response,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(published.file, total=published.size)
        while chunk := response.read(CHUNK):
            part.write(chunk)
            digest.update(chunk)
            progress.update(task, advance=len(chunk))
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` when the block ends well and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # temporary files are private; the finished file gets the ordinary permissions
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def cached(name: str, sources: Iterable[Path], decode: Callable[[], Arrays], *, options: str = "") -> Arrays:
    """`decode()`, kept in the cache until one of its sources changes.

    Args:
        name: begins the cache file's name.
        sources: files it is decoded from; path, size and modification time are the key.
        decode: returns named arrays.
        options: whatever else the result depends on.
    """
    digest = hashlib.blake2b(options.encode(), digest_size=8)
    for path in sources:
        status = path.stat()
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    target = cache_folder() / "decoded" / f"{name}-{digest.hexdigest()}.npz"
    kept = _read(target)
    if kept is not None:
        return kept
    # torch wants arrays it may write to; views of file contents are not
    arrays = {key: a if a.flags.writeable else a.copy() for key, a in decode().items()}
    try:
        with replacing(target) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        warnings.warn(
            f"{name} cannot be kept decoded in {target.parent} ({error}); it will be decoded each time it is loaded",
            CreoWarning,
            stacklevel=2,
        )
    return arrays


def _read(path: Path) -> Arrays | None:
    """The arrays of a cache file; None if there is none or it is damaged (the archive holds checksums)."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
