"""Patches of photographs: where they come from, what is done to them; on pictures written here."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import creo
from creo.data.bsds import draw_patches, prepare
from creo.errors import DataError
from creo.spaces import Continuous


def picture(level: int) -> bytes:
    """A grey ramp around a level, so that patches tell which picture they are from."""
    values = np.full((12, 20), level, np.uint8) + np.arange(20, dtype=np.uint8) % 2 * 4
    file = io.BytesIO()
    Image.fromarray(values).convert("RGB").save(file, "jpeg", quality=95)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bsds300").mkdir()
    for part, levels in (("train", range(22)), ("test", range(3))):
        with zipfile.ZipFile(tmp_path / f"bsds300/images_{part}.zip", "w") as archive:
            for i in levels:
                archive.writestr(f"images/{part}/{i:03d}.jpg", picture(10 * i))
    return tmp_path


def test_patches_are_cut_where_drawn() -> None:
    pictures = [np.arange(15 * 11, dtype=np.uint8).reshape(15, 11), np.full((8, 8), 200, np.uint8)]
    patches = draw_patches(pictures, 1000, 0).reshape(-1, 8, 8)
    first = patches[patches[:, 0, 0] != 200].astype(int)
    assert ((first[:, 1:] - first[:, :-1]) % 256 == 11).all()
    assert ((first[:, :, 1:] - first[:, :, :-1]) % 256 == 1).all()
    assert len(first) + (patches == 200).all((1, 2)).sum() == 1000
    assert {*first[:, 0, 0].tolist()} == {11 * i + j for i in range(8) for j in range(4)}  # every place


def test_preparation_is_the_benchmarks() -> None:
    patches = torch.randint(256, (50, 64), dtype=torch.uint8)
    x = prepare(patches, 0)
    whole = torch.cat([x, -x.sum(1, keepdim=True)], 1)  # the dropped pixel
    levels = 256 * (whole - whole[:, :1]) + patches[:, :1]
    assert ((levels - patches).abs() < 1 + 1e-3).all()
    torch.testing.assert_close(x, prepare(patches, 0), rtol=0, atol=0)


def test_splits_are_of_different_pictures(folder: Path) -> None:
    data = creo.load_data("bsds300", data_dir=folder, patches=500)
    assert data.space == Continuous((63,))
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [500, 10_000, 20_000]
    assert (
        data.train.x.abs().max() < 12 / 256
    )  # flat pictures: the mean is gone, the ramp and the noise are left
    again = creo.load_data("bsds300", data_dir=folder, patches=500)
    assert torch.equal(data.test.x, again.test.x)


def test_errors_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    (folder / "bsds300/images_test.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="truncated or no zip"):
        creo.load_data("bsds300", data_dir=folder)
    (folder / "bsds300/images_test.zip").unlink()
    with pytest.raises(DataError, match=r"put images_test\.zip or images/test into"):
        creo.load_data("bsds300", data_dir=folder)
