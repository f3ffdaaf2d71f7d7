"""`bsds300`: 8 x 8 grey patches of natural photographs as points of 63 dimensions, for density estimation.

    x = (patch + u) / 256,  u uniform on the unit cell;   x - mean(x);   the last pixel, minus the sum of the others,
                                                          is dropped

(Zoran, Weiss 2011, https://doi.org/10.1109/ICCV.2011.6126278; Uria, Murray, Larochelle 2013,
https://arxiv.org/abs/1306.0186). Log-densities are in nats of these 63 numbers. Patches are drawn uniformly over
pictures and places with a fixed seed: training patches from the first 180 of the 200 training pictures, validation
patches from the last 20, test patches from the 100 test pictures. They are creo's own draw, not the published file of
1 000 000 / 50 000 / 250 000 patches: numbers are comparable with published ones only up to that draw.

Pictures (Martin, Fowlkes, Tal, Malik 2001, https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/, for
non-commercial research) are looked for in a folder `bsds300`: `images_train.zip` and `images_test.zip`, or the folders
`images/train` and `images/test` of the unpacked `BSDS300-images.tgz`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.data.files import Arrays, cached, places
from creo.data.listing import find_data
from creo.data.load import Request
from creo.errors import DataError, OptionError
from creo.spaces import Continuous

NAME, SIDE, VALID_PICTURES = "bsds300", 8, 20
VALID, TEST = 10_000, 20_000
SEEDS = {"train": 1, "valid": 2, "test": 3}


def load(request: Request, *, patches: int = 100_000) -> Data:
    """Patches (63,).

    Args:
        request: says where to look.
        patches: how many to train on.
    """
    if patches < 1:
        raise OptionError(f"{request.spec}: patches must be at least 1; received {patches}")
    sources = {part: _source(request, part) for part in ("train", "test")}
    drawn = cached(NAME, sources.values(), lambda: _draw(sources, patches), options=str(patches))
    train, valid, test = (Split(prepare(torch.from_numpy(drawn[part]), seed)) for part, seed in SEEDS.items())
    entry = find_data(request.name)
    return Data(
        request.spec, Continuous((SIDE**2 - 1,)), train, valid, test, source=entry.source, licence=entry.licence,
        notes=("patches drawn anew, not the published file", f"validation: the last {VALID_PICTURES} pictures"),
    )  # fmt: skip


def prepare(patches: Tensor, seed: int) -> Tensor:
    """Grey patches uint8 (N, 64) to points (N, 63) as the module docstring says, the noise from `seed`."""
    noise = torch.rand(patches.shape, generator=torch.Generator().manual_seed(seed))
    x = (patches + noise) / 256
    return (x - x.mean(1, keepdim=True))[:, :-1].contiguous()


def _source(request: Request, part: str) -> Path:
    """The archive or folder of the pictures of "train" or "test"."""
    names = (f"images_{part}.zip", f"images/{part}", f"BSDS300/images/{part}")
    folders = places(request, NAME)
    for path in (folder / name for folder in folders for name in names):
        if path.exists():
            return path
    raise DataError(f"{request.spec}: put {' or '.join(names[:2])} into {' or '.join(map(str, folders))}; "
                    "the pictures are in BSDS300-images.tgz of the Berkeley Segmentation Dataset")  # fmt: skip


def _files(source: Path) -> Iterator[IO[bytes]]:
    """The open pictures of an archive or folder, in the order of their names."""
    if source.is_dir():
        for path in sorted(source.glob("*.jpg")):
            with path.open("rb") as file:
                yield file
        return
    try:
        with zipfile.ZipFile(source) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".jpg")):
                with archive.open(name) as file:
                    yield file
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{source} is truncated or no zip file ({error}); delete it and get it again"
        ) from error


def _grey(source: Path, least: int) -> list[np.ndarray[Any, Any]]:
    from PIL import Image

    pictures = [np.asarray(Image.open(file).convert("L")) for file in _files(source)]
    if len(pictures) < least:
        raise DataError(f"{source} holds {len(pictures)} .jpg pictures; at least {least} are needed")
    return pictures


def _draw(sources: dict[str, Path], patches: int) -> Arrays:
    train, test = _grey(sources["train"], VALID_PICTURES + 1), _grey(sources["test"], 1)
    pictures = {"train": train[:-VALID_PICTURES], "valid": train[-VALID_PICTURES:], "test": test}
    counts = {"train": patches, "valid": VALID, "test": TEST}
    return {part: draw_patches(pictures[part], counts[part], SEEDS[part]) for part in SEEDS}


def draw_patches(pictures: list[np.ndarray[Any, Any]], n: int, seed: int) -> np.ndarray[Any, Any]:
    """n patches (n, 64) from uniformly drawn pictures and places."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(pictures), size=n)
    sides = np.array([picture.shape for picture in pictures]) - SIDE + 1
    corners = rng.integers(sides[which])
    found = np.empty((n, SIDE, SIDE), np.uint8)
    for patch, i, (top, left) in zip(found, which, corners, strict=True):
        patch[:] = pictures[i][top : top + SIDE, left : left + SIDE]
    return found.reshape(n, -1)
