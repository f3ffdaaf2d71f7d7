"""Receptive fields against the paths of the taps, guidance against its formula, masks, and the command."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from creo.autoregressive import (
    GatedPixelCNN,
    Guided,
    PixelCNN,
    ancestral,
    complete,
    known_part,
    receptive_field,
    receptive_field_picture,
)
from creo.autoregressive.masks import MaskName
from creo.cli.main import main
from creo.errors import OptionError
from creo.model import seeded
from creo.spaces import Categories, Ordinal, Tokens
from creo.testing.measure import everything
from creo.testing.tiny import shake

SPACE = Ordinal((1, 9, 9), 2)


def reached(pixel, layers) -> torch.Tensor:
    """The pixels that paths of 3 x 3 masked taps reach: one step of mask A, then layers - 1 of mask B."""
    a = {(-1, -1), (-1, 0), (-1, 1), (0, -1)}
    places = {(pixel[0] + i, pixel[1] + j) for i, j in a}
    for _ in range(layers - 1):
        places |= {(p + i, q + j) for p, q in places for i, j in a}
    field = torch.zeros(9, 9, dtype=torch.bool)
    for p, q in places:
        if 0 <= p < 9 and 0 <= q < 9:
            field[p, q] = True
    return field


def built(cls, **options):
    with seeded(0):
        return shake(cls.for_space(SPACE, width=8, layers=4, first=3, **options), 0.2).eval()


def test_a_masked_stack_has_the_blind_spot_of_its_taps():
    pixel = (7, 4)
    field = receptive_field(built(PixelCNN), pixel)
    assert torch.equal(field > 0, reached(pixel, 4))
    assert not (field > 0)[4, 8]  # above and to the right, within four rows and columns, and not seen


def test_two_stacks_see_the_whole_half_plane_within_reach():
    pixel = (7, 4)
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[3:7] = True  # four layers: four rows up, four columns to either side
    expected[7, :4] = True
    field = receptive_field(built(GatedPixelCNN), pixel)
    assert torch.equal(field > 0, expected)
    picture = receptive_field_picture(field, pixel, cell=2)
    assert picture.size == (18, 18)
    assert picture.getpixel((9, 15)) == (217, 26, 26)
    assert picture.getpixel((17, 17)) == (255, 255, 255)
    with pytest.raises(OptionError, match=r"image of 9 x 9; received \(9, 0\)"):
        receptive_field(built(GatedPixelCNN), (9, 0))


@pytest.fixture
def guidable():
    with seeded(0):
        space = Ordinal((1, 2, 2), 3)
        model = GatedPixelCNN.for_space(space, Categories(3), width=8, layers=2, drop=0.3)
    return shake(model, 0.3).double().eval()


def test_guided_samples_follow_the_guided_conditionals(guidable):
    guided, x = Guided(guidable, 1.5), everything(guidable.space)
    symbols, logs = x.flatten(1).long(), torch.zeros(len(x), dtype=torch.float64)
    own, null = guidable.init_state(len(x), torch.full((len(x),), 2)), guidable.null_state(len(x))
    token = None
    with torch.no_grad():
        for i in range(4):
            given, own = guidable.step(own, token)
            without, null = guidable.step(null, token)
            power = given.exp() ** 2.5 / without.exp() ** 1.5
            token = symbols[:, i]
            logs += (power / power.sum(1, keepdim=True)).gather(1, token[:, None]).squeeze(1).log()
    n = 20_000
    with seeded(1):
        drawn = ancestral(guided, n, torch.tensor(2))
    counts = torch.bincount((drawn.flatten(1).long() * 3 ** torch.arange(3, -1, -1)).sum(1), minlength=81)
    expected = n * logs.exp()
    big = expected >= 5
    observed, want = counts[big], expected[big]
    if not big.all():  # what is rare is one cell
        observed = torch.cat([observed, counts[~big].sum().view(1)])
        want = torch.cat([want, expected[~big].sum().view(1)])
    assert stats.chisquare(observed.numpy(), want.numpy(), sum_check=False).pvalue > 1e-4


def test_no_guidance_is_the_model_and_completion_takes_it_too(guidable):
    x = everything(guidable.space)[::9]
    c = torch.tensor([1])
    with seeded(2):
        plain = ancestral(guidable, 50, c[0])
    with seeded(2):
        assert torch.equal(ancestral(Guided(guidable, 0.0), 50, c[0]), plain)
    known = known_part(guidable.space, "top")
    filled = complete(Guided(guidable, 2.0), x, known, c[0])
    assert torch.equal(filled[..., :1, :], x[..., :1, :])


def test_conditions_are_dropped_in_training_only(guidable):
    x, c = everything(guidable.space), torch.zeros(81, dtype=torch.long)
    with torch.no_grad():
        alone, again = guidable.log_prob(x, c), guidable.log_prob(x, c)
        guidable.colours.dropout = guidable.network.dropout = 0.0
        for layer in guidable.network.layers:
            layer.dropout = 0.0
        hidden = guidable.train().log_prob(x, c) != alone
    assert torch.equal(alone, again)
    assert 0.1 < hidden.double().mean() < 0.5


def test_guidance_needs_a_null_condition():
    model = GatedPixelCNN.for_space(SPACE, Categories(3), width=4, layers=1)
    with pytest.raises(OptionError, match=r"drop above 0"):
        Guided(model, 1.0)


@pytest.mark.parametrize(
    ("name", "rows"),
    [("top", "111000000"), ("bottom", "000111111"), ("left", "100100100"), ("right", "011011011")],
)
def test_masks_by_name(name: MaskName, rows):
    expected = torch.tensor([int(b) for b in rows]).bool().view(3, 3)
    assert torch.equal(known_part(Ordinal((2, 3, 3), 4), name), expected.expand(2, 3, 3))


def test_masks_of_sequences_and_errors():
    assert (
        known_part(Tokens(5, 3), "left").tolist()
        == known_part(Tokens(5, 3), "top").tolist()
        == [1, 1, 0, 0, 0]
    )
    with seeded(0):
        share = known_part(Ordinal((3, 40, 40), 2), "random")
    assert (share[0] == share[2]).all()
    assert 0.4 < share.double().mean() < 0.6
    with pytest.raises(OptionError, match="nothing to complete"):
        known_part(Categories(3), "top")


def test_the_command_completes_held_out_examples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "train gated-pixelcnn --width 4 --layers 1 --data digits --steps 2 --conditional --no-progress --out r"
    assert main(words.split()) == 0
    assert main(["complete", "r", "--mask", "left", "-n", "3", "--times", "2", "--out", "a.npz"]) == 0
    found = np.load(tmp_path / "a.npz")
    assert found["completed"].shape == (3, 2, 1, 8, 8)
    assert (found["completed"][..., :4] == found["x"][:, None, ..., :4]).all()
    assert (found["completed"][..., 4:] != found["x"][:, None, ..., 4:]).any()
    assert main(["complete", "r", "-n", "2"]) == 0
    assert (tmp_path / "completed.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["complete", "r", "--out", "a.csv"]) == 2
    assert "are saved as .png, .npz; received suffix '.csv' in a.csv" in capsys.readouterr().err
