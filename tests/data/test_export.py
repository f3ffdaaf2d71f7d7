"""Samples to files, read back; pictures against the pixels they must show."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import creo
from creo.data import sample_picture, save_samples
from creo.data.export import RULE, check_path, formats
from creo.data.picture import png_bytes
from creo.errors import DataError, SpaceError

TABLE = creo.Table({
    "size": creo.Continuous(()), "level": creo.Ordinal((), 3), "colour": creo.Categories(2, ("blue", "red")),
})  # fmt: skip
ROWS = torch.tensor([[0.1, 2, 1], [-3.5, 0, 0]], dtype=torch.float64)


def examples() -> dict[str, tuple[torch.Tensor, creo.spaces.Space]]:
    g = torch.Generator().manual_seed(0)
    return {
        "digits": (
            torch.randint(0, 17, (7, 1, 8, 8), generator=g, dtype=torch.uint8),
            creo.Ordinal((1, 8, 8), 17),
        ),
        "colour": (torch.rand(3, 3, 9, 5, generator=g), creo.Continuous((3, 9, 5))),
        "plane": (torch.randn(500, 2, generator=g), creo.Continuous((2,))),
        "vector": (torch.randn(50, 30, generator=g), creo.Continuous((30,))),
        "scalar": (torch.randn(50, generator=g), creo.Continuous(())),
        "board": (torch.randint(0, 2, (5, 3, 3), generator=g), creo.Ordinal((3, 3), 2)),
        "table": (ROWS, TABLE),
        "labels": (torch.randint(0, 3, (50,), generator=g), creo.Categories(3, ("a", "b", "c"))),
        "text": (torch.randint(0, 3, (40, 200), generator=g), creo.Tokens(200, 3, ("a", "\n", "é"))),
        "codes": (torch.randint(0, 3, (4, 6), generator=g), creo.Tokens(6, 3)),
    }


@pytest.mark.parametrize("name", examples())
def test_every_space_has_a_picture_and_arrays(tmp_path: Path, name: str) -> None:
    x, space = examples()[name]
    save_samples(x, space, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as image:
        image.load()
        assert len(set(image.convert("L").tobytes())) > 1  # not blank
        assert max(image.size) <= 1700
    save_samples(x, space, tmp_path / "a.npz", c=torch.arange(len(x)))
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["x"], x.numpy())
        np.testing.assert_array_equal(archive["c"], np.arange(len(x)))


def test_grid_shows_every_pixel() -> None:
    x, space = examples()["digits"]
    pixels = np.asarray(sample_picture(x, space))
    factor, gap = 7, 3  # 56 pixels a picture
    assert pixels.shape == (3 * (56 + gap) + gap, 3 * (56 + gap) + gap, 3)
    for i in range(7):
        top, left = gap + i // 3 * (56 + gap), gap + i % 3 * (56 + gap)
        cell = pixels[top : top + 56, left : left + 56, 0].reshape(8, factor, 8, factor)
        assert (cell == cell[:, :1, :, :1]).all()  # enlarged without smoothing
        np.testing.assert_array_equal(cell[:, 0, :, 0], np.round(x[i, 0].numpy() / 16 * 255))
    assert (pixels[:gap] == 255).all()
    assert (pixels[-50:, -50:] == 255).all()  # the ninth place is empty
    assert sample_picture(x, space, columns=7).size == (7 * 59 + 3, 62)


def test_ranges_of_continuous_pictures() -> None:
    space = creo.Continuous((1, 1, 2))
    for values, shown in (
        ([0.0, 0.5], [0, 128]),
        ([-1.0, 0.5], [0, 191]),
        ([-3.0, 5.0], [0, 255]),
        ([7.0, 7.0], [0, 0]),
    ):
        pixels = np.asarray(sample_picture(torch.tensor(values).reshape(1, 1, 1, 2), space))
        middle = pixels.shape[0] // 2
        assert [pixels[middle, pixels.shape[1] // 4, 0], pixels[middle, -pixels.shape[1] // 4, 0]] == shown


def test_points_are_where_they_should_be() -> None:
    x = torch.cat([torch.full((50, 2), 1.0), torch.full((50, 2), -1.0)]) + 0.01 * torch.randn(100, 2)
    pixels = np.asarray(sample_picture(x, creo.Continuous((2,)), extent=(-2, 2, -2, 2)).convert("L")).astype(
        int
    )
    dark = 255 - pixels[34:-34, 34:-34]
    quarter = len(dark) // 4
    near = lambda row, column: dark[row - 9 : row + 9, column - 9 : column + 9].sum()
    assert near(quarter, 3 * quarter) > 1000  # (1, 1) is above and to the right
    assert near(3 * quarter, quarter) > 1000
    assert near(quarter, quarter) == near(3 * quarter, 3 * quarter) == 0


def test_csv(tmp_path: Path) -> None:
    path = save_samples(ROWS, TABLE, tmp_path / "a.csv")
    assert list(csv.reader(path.open(newline=""))) == [
        ["size", "level", "colour"], ["0.1", "2", "red"], ["-3.5", "0", "blue"],
    ]  # fmt: skip
    x = torch.randn(40, 3)
    save_samples(x, creo.Continuous((3,)), tmp_path / "b.csv")
    data = creo.load_data(f"table:{tmp_path / 'b.csv'},space=vector")
    seen = torch.cat([data.split(s).x for s in ("train", "valid", "test")])
    assert torch.equal(seen[seen[:, 0].argsort()], x[x[:, 0].argsort()])
    save_samples(torch.tensor([1, 0]), creo.Categories(2, ("a", "b")), tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().split() == ["x", "b", "a"]


def test_txt(tmp_path: Path) -> None:
    x, space = examples()["text"]
    content = save_samples(x, space, tmp_path / "a.txt").read_bytes().decode()
    parts = content.removesuffix("\n").split(f"\n{RULE}\n")
    assert parts == ["".join(space.symbols[i] for i in row) for row in x.tolist()]
    smiles = creo.Tokens(3, 2, ("C", "O"))
    save_samples(torch.tensor([[0, 0, 1], [1, 1, 1]]), smiles, tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == "CCO\nOOO\n"
    save_samples(torch.tensor([[0, 1]]), creo.Tokens(2, 2), tmp_path / "c.txt")
    assert (tmp_path / "c.txt").read_text() == "0 1\n"


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [
        ("digits", (".png", ".npz")), ("plane", (".png", ".npz", ".csv")), ("table", (".png", ".npz", ".csv")),
        ("text", (".png", ".npz", ".txt")), ("labels", (".png", ".npz", ".csv", ".txt")),
    ],
)  # fmt: skip
def test_suffixes(tmp_path: Path, name: str, suffixes: tuple[str, ...]) -> None:
    x, space = examples()[name]
    assert formats(space) == suffixes
    for suffix in {".csv", ".txt", ".jpg", ""} - set(suffixes):
        with pytest.raises(DataError, match="are saved as") as caught:
            save_samples(x, space, tmp_path / f"a{suffix}")
        assert ", ".join(suffixes) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_errors(tmp_path: Path) -> None:
    space = creo.Continuous((2,))
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        check_path(tmp_path / "a.png", space)
    with pytest.raises(DataError, match="no samples"):
        save_samples(torch.empty(0, 2), space, tmp_path / "b.png")
    with pytest.raises(DataError, match="at least one"):
        sample_picture(torch.empty(0, 2), space)
    with pytest.raises(SpaceError, match="NaN"):
        save_samples(torch.full((2, 2), torch.nan), space, tmp_path / "b.png")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        save_samples(torch.zeros(2, 2), space, tmp_path / "file" / "b.csv")
    assert not (tmp_path / "b.png").exists()


def test_bytes_are_a_png_file() -> None:
    x, space = examples()["digits"]
    assert png_bytes(sample_picture(x, space)).startswith(b"\x89PNG")
    assert save_samples.__doc__


def test_half_precision(tmp_path: Path) -> None:
    x = torch.randn(5, 2).bfloat16()
    for suffix in (".png", ".npz", ".csv"):
        save_samples(x, creo.Continuous((2,)), tmp_path / f"a{suffix}")
