"""Moving digits obey their physics; canvases keep ink; videos become strips and files that move."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import creo
from creo.data.canvas import lay
from creo.data.captions import SPACE
from creo.data.film import AMBER, frames, gif_bytes
from creo.data.moving import STAGES, centres, fold, ink_change, jerkiness, render
from creo.data.picture import sample_picture, texts
from creo.errors import DataError, OptionError


@pytest.fixture(scope="module")
def data() -> creo.data.Data:
    return creo.load_data("moving-digits")


def test_whole_moves_copy_and_fractions_share_ink() -> None:
    x = torch.randint(0, 17, (2, 3, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    laid = lay(x, (6, 7), torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    truth = torch.zeros(2, 6, 7, dtype=torch.uint8)
    truth[0, 1:4, 2:6], truth[1, 3:6, 0:4] = x[0], x[1]
    assert torch.equal(laid, truth)
    dot = torch.full((1, 1, 1), 16, dtype=torch.uint8)
    shared = lay(dot, (3, 3), torch.tensor([[0.25, 1.5]]))
    assert shared[0].tolist() == [[0, 6, 6], [0, 2, 2], [0, 0, 0]]


def test_enlarged_pictures_keep_their_middle_and_grow() -> None:
    x = torch.zeros(1, 4, 4, dtype=torch.uint8)
    x[0, 1:3, 1:3] = 16
    twice = lay(x, (8, 8), torch.zeros(1, 2), torch.tensor([2.0]))[0].double()
    assert twice.sum() == pytest.approx(4 * 64, rel=0.02)
    torch.testing.assert_close(twice, twice.flip(0))
    torch.testing.assert_close(twice, twice.T)
    assert (twice[3:5, 3:5] == 16).all()


def test_positions_bounce() -> None:
    assert fold(torch.tensor([0.0, 3, 5, 6, 9.5, 10, 12, -1]), 5.0).tolist() == [0, 3, 5, 4, 0.5, 0, 2, 1]


def test_a_digit_moves_at_its_velocity_between_walls_and_back_after_them() -> None:
    digits = creo.load_data("digits").test.x[:50, 0]
    start, velocity = torch.full((50, 2), 3.0), torch.tensor([[0.6, -1.3]]).expand(50, 2)
    video = render(digits, STAGES["moving-digits"], start, velocity, 6)
    corner = centres(video) - centres(digits[:, None])
    time = torch.arange(6)[:, None].double()
    truth = torch.cat([3 + 0.6 * time, (3 - 1.3 * time).abs()], 1)
    assert (corner - truth).abs().max() < 0.1  # of rounding to levels
    assert ink_change(video).max() < 0.03


def test_splits_are_as_listed_and_move_smoothly(data) -> None:
    entry = creo.data.catalogue()["moving-digits"]
    assert entry.splits == "/".join(str(len(data.split(s))) for s in ("train", "valid", "test"))
    assert data.space == creo.Ordinal((8, 16, 16), 17)
    assert data.condition == creo.Categories(10, tuple("0123456789"))
    assert data.test.x.flatten(1).any(1).all()
    shuffled = data.test.x[:, torch.tensor([3, 0, 6, 1, 7, 4, 2, 5])]
    assert jerkiness(data.test.x).mean() < 0.15
    assert jerkiness(shuffled).mean() > 2
    assert ink_change(data.test.x).max() < 0.03
    speed = centres(data.test.x).diff(dim=1).norm(dim=2).max(1).values  # a wall only slows
    assert speed.min() > 0.65
    assert speed.max() < 2.15


def test_given_frames_are_the_beginning_and_longer_videos_go_on(data) -> None:
    given = creo.load_data("moving-digits,given=2")
    assert given.space == creo.Ordinal((6, 16, 16), 17)
    assert given.condition == creo.Ordinal((2, 16, 16), 17)
    assert torch.equal(torch.cat([given.test.c, given.test.x], 1), data.test.x)
    longer = creo.load_data("moving-digits", frames=12)
    assert longer.name == "moving-digits,frames=12"
    assert torch.equal(longer.test.x[:, :8], data.test.x)
    labels = set(data.train.c.tolist())
    assert labels == set(range(10))


@pytest.mark.parametrize("options", [{"given": 8}, {"given": -1}, {"frames": 3}, {"frames": 5, "given": 2}])
def test_wrong_lengths(options) -> None:
    with pytest.raises(OptionError, match="given is at least 0"):
        creo.load_data("moving-digits", **options)


def test_films_put_given_frames_first_in_amber(data) -> None:
    x = data.test.x[:3]
    space = creo.Ordinal((6, 16, 16), 17)
    film = frames(x[:, 2:], space, x[:, :2])
    assert film.shape == (3, 8, 16, 16, 3)
    grey = (x.numpy() / 16 * 255).round()
    np.testing.assert_array_equal(film[:, 2:, ..., 0], grey[:, 2:])
    np.testing.assert_array_equal(film[:, :2, ..., 2], (grey[:, :2] * AMBER[2]).round())
    assert frames(x, data.space, torch.tensor([1, 2, 3])).shape[1] == 8  # labels are no frames


def test_a_gif_plays_every_frame_of_every_video(data, tmp_path) -> None:
    x = data.test.x[:4]
    movie = Image.open(io.BytesIO(gif_bytes(x, data.space)))
    assert movie.n_frames == 8
    assert movie.info["loop"] == 0
    for t in (0, 7):
        movie.seek(t)
        shown = np.asarray(movie.convert("L"))
        still = np.asarray(sample_picture(x[:, t : t + 1], creo.Ordinal((1, 16, 16), 17)).convert("L"))
        assert np.abs(shown.astype(int) - still.astype(int)).max() <= 1
    file = creo.data.save_samples(x, data.space, tmp_path / "a.gif", c=data.test.c[:4])
    assert Image.open(file).n_frames == 8
    with pytest.raises(DataError, match=r"saved as .png, .npz; received suffix '.gif'"):
        creo.data.save_samples(x[:, :1], creo.Ordinal((1, 16, 16), 17), tmp_path / "b.gif")


def test_a_strip_shows_a_video_in_a_row(data) -> None:
    strip = sample_picture(data.test.x[:2], data.space)
    row = sample_picture(data.test.x[0, :, None], creo.Ordinal((1, 16, 16), 17), columns=8)
    shown, first = np.asarray(strip), np.asarray(row)
    np.testing.assert_array_equal(shown[: first.shape[0]], first)
    assert shown.shape[0] > 1.9 * first.shape[0]
    assert (
        sample_picture(data.test.x[:40], data.space).height
        == sample_picture(data.test.x[:12], data.space).height
    )
    real = sample_picture(torch.rand(2, 5, 8, 8), creo.Continuous((5, 8, 8)))
    assert real.width > real.height


def test_captions_are_shown_as_words() -> None:
    assert texts(creo.caption(["a seven", "tiny 2"], SPACE), SPACE) == ["a seven", "tiny 2"]
