"""Folders of pictures: sizes, modes, labels, unreadable files, decoding on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import creo
from creo.data.images import to_array
from creo.errors import DataError, OptionError

rng = np.random.default_rng(0)


def save(path: Path, *, size: tuple[int, int] = (20, 12), mode: str = "RGB") -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(-1) if bands == 1 else pixels, mode).save(path)
    return pixels


def test_pictures_of_one_size_stay_as_they_are(tmp_path: Path) -> None:
    pixels = [save(tmp_path / f"{i:02}.png") for i in range(10)]
    data = creo.load_data(f"images:{tmp_path}")
    assert data.space == creo.Ordinal((3, 12, 20), 256)
    assert [len(data.split(s)) for s in ("train", "valid", "test")] == [8, 1, 1]
    assert data.condition is None
    seen = torch.cat([data.split(s).x for s in ("train", "valid", "test")])
    truth = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    key = lambda t: sorted(x.numpy().tobytes() for x in t)
    assert key(seen) == key(truth)
    assert data.notes == ("split 80/10/10 % at random, seed 0",)
    assert data.content_hash == creo.load_data(f"images:{tmp_path}").content_hash


def test_any_mix_of_sizes_and_modes(tmp_path: Path) -> None:
    for i, mode in enumerate(("1", "L", "LA", "P", "RGB", "RGBA", "I;16")):
        image = (
            Image.fromarray(rng.integers(0, 2**16, (9 + i, 30), dtype=np.uint16))
            if mode == "I;16"
            else (Image.fromarray(rng.integers(0, 256, (9 + i, 30, 3), dtype=np.uint8)).convert(mode))
        )
        image.save(tmp_path / f"{i}.png")
    Image.new("CMYK", (40, 10)).save(tmp_path / "7.jpg")
    (tmp_path / "notes.txt").write_text("not a picture")
    data = creo.load_data(f"images:{tmp_path}", size=8)
    assert data.space == creo.Ordinal((3, 8, 8), 256)
    assert sum(len(data.split(s)) for s in ("train", "valid", "test")) == 8
    assert "8 of 8 pictures cropped in the centre and resized to 8 x 8" in data.notes
    assert "4 pictures turned into colour" in data.notes
    assert "1 files that are no pictures ignored" in data.notes
    grey = creo.load_data(f"images:{tmp_path},size=8,mode=grey")
    assert grey.space == creo.Ordinal((1, 8, 8), 256)


def test_grey_when_all_are(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.png", mode="L")
    assert creo.load_data(f"images:{tmp_path}").space == creo.Ordinal((1, 12, 20), 256)
    assert creo.load_data(f"images:{tmp_path},mode=rgb").space == creo.Ordinal((3, 12, 20), 256)


def test_conversions() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (to_array(clear, (3, 4, 4)) == 255).all()  # transparent on white
    deep = Image.fromarray(np.full((4, 4), 0x80FF, np.uint16))
    assert (to_array(deep, (1, 4, 4)) == 0x80).all()
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    assert (to_array(Image.fromarray(wide), (1, 4, 4)) == 200).all()  # the centre
    turned = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    turned.getexif()[0x0112] = 6  # to be shown a quarter turned to the right
    np.testing.assert_array_equal(to_array(turned, (1, 4, 3))[0], np.rot90(np.arange(12).reshape(3, 4), -1))
    with pytest.raises(ValueError, match="floating-point"):
        to_array(Image.new("F", (4, 4)), (1, 4, 4))


def test_unreadable_pictures_are_counted_and_named(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / f"{i:02}.png", size=(64, 64))
    whole = (tmp_path / "03.png").read_bytes()
    (tmp_path / "03.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "04.png").write_bytes(b"<html>")
    (tmp_path / "05.jpg").write_bytes(b"")
    for memory in (2.0, 1e-9):
        data = creo.load_data(f"images:{tmp_path}", memory_gib=memory)
        assert sum(len(data.split(s)) for s in ("train", "valid", "test")) == 10
        (note,) = [n for n in data.notes if "unreadable" in n]
        assert note.startswith("3 unreadable pictures left out")
        assert all(name in note for name in ("03.png", "04.png", "05.jpg"))


def test_labels_from_sub_folders_survive_unreadable_pictures(tmp_path: Path) -> None:
    for name, level in (("cat", 10), ("ant", 20), ("bee", 30)):
        for i in range(10):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (8, 8), level).save(tmp_path / name / f"{i}.png")
    (tmp_path / "ant" / "3.png").write_bytes(b"broken")
    for memory in (2.0, 1e-9):
        data = creo.load_data(f"images:{tmp_path}", memory_gib=memory)
        assert data.condition == creo.Categories(3, ("ant", "bee", "cat"))
        level = torch.tensor([20, 30, 10])
        for name in ("train", "valid", "test"):
            x, c = data.split(name).take(torch.arange(len(data.split(name))))
            assert torch.equal(x[:, 0, 0, 0].long(), level[c])


def test_decoding_on_demand_gives_the_same_pictures(tmp_path: Path) -> None:
    for i in range(15):
        save(tmp_path / f"{i}.png", size=(10 + i, 20))
    kept, streamed = (creo.load_data(f"images:{tmp_path}", size=8, memory_gib=m) for m in (1.0, 1e-9))
    assert kept.train.in_memory
    assert not streamed.train.in_memory
    index = torch.tensor([3, 0, 3, 7])
    assert torch.equal(kept.train.take(index)[0], streamed.train.take(index)[0])
    assert kept.content_hash == streamed.content_hash
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        streamed.train[0]


def test_a_changed_folder_is_read_again(tmp_path: Path) -> None:
    for i in range(5):
        Image.new("L", (8, 8), 1).save(tmp_path / f"{i}.png")
    assert creo.load_data(f"images:{tmp_path}").train.x.max() == 1
    for i in range(5):
        Image.new("L", (8, 8), 77 + i).save(tmp_path / f"{i}.png")
    assert creo.load_data(f"images:{tmp_path}").train.x.min() >= 77


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no picture in"):
        creo.load_data(f"images:{tmp_path}")
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"none of 1 pictures can be read: a\.png"):
        creo.load_data(f"images:{tmp_path}")
    with pytest.raises(DataError, match="takes a folder"):
        creo.load_data(f"images:{tmp_path / 'a.png'}")
    with pytest.raises(OptionError, match="size must be at least 1"):
        creo.load_data(f"images:{tmp_path},size=0")
    for part in ("train", "test"):
        save(tmp_path / "parts" / part / "x" / "1.png")
    with pytest.raises(DataError, match="are splits, not classes"):
        creo.load_data(f"images:{tmp_path / 'parts'}")
    save(tmp_path / "one" / "1.png")
    with pytest.raises(DataError, match="1 usable examples; at least 3"):
        creo.load_data(f"images:{tmp_path / 'one'}")
