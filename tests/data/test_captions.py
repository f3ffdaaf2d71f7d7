"""Captions say what is in the picture: facts of made-up pictures, words of every example, wordings, unknown words."""

from __future__ import annotations

import random
import re

import pytest
import torch

import creo
from creo.data import caption
from creo.data.captions import (
    MEASURES,
    NUMBERS,
    SIDES,
    SIZES,
    SPACE,
    WEIGHTS,
    Wording,
    _meanings,
    facts,
    phrase,
)
from creo.data.picture import texts
from creo.errors import OptionError, SpaceError

MEASURE = MEASURES["digits-captions"]


@pytest.fixture(scope="module")
def data() -> creo.data.Data:
    return creo.load_data("digits-captions")


def understood(text: str) -> tuple[int, int, int, int]:
    """(size, weight, side, number) of a caption, 0 for what it does not mention: an own reading of the words."""

    def sign(ways: tuple[tuple[str, ...], tuple[str, ...]]) -> int:
        said = [any(re.search(rf"\b{way}\b", text) for way in side) for side in ways]
        assert not all(said), text
        return int(said[1]) - int(said[0])

    numbers = [i for i, word in enumerate(NUMBERS) if re.search(rf"\b({word}|{i})\b", text)]
    assert len(numbers) == 1, text
    return sign(SIZES), sign(WEIGHTS), sign(SIDES), numbers[0]


@pytest.mark.parametrize(
    ("rows", "columns", "level", "found"),
    [
        ((2, 10), (0, 5), 16, (-1, 1, -1)),  # 8 high, full, on the left
        ((0, 16), (6, 10), 16, (1, 1, 0)),
        ((2, 14), (10, 14), 16, (0, 1, 1)),
        ((1, 15), (6, 10), 5, (1, -1, 0)),  # grey level 5 of 16 in its box
        ((3, 13), (5, 11), 16, (-1, 1, 0)),
        ((3, 14), (5, 11), 16, (0, 1, 0)),
    ],
)
def test_facts_of_rectangles(rows, columns, level, found) -> None:
    x = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    x[..., slice(*rows), slice(*columns)] = level
    assert tuple(facts(x, 17, MEASURE)[0].tolist()) == found


def test_a_faint_pixel_is_no_ink_but_weighs() -> None:
    x = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    x[..., 4:12, 4:9] = 16
    before = facts(x, 17, MEASURE)
    x[..., 0, 15] = 4  # not above a quarter of the range
    assert torch.equal(facts(x, 17, MEASURE), before)
    x[..., 0, 15] = 5
    assert facts(x, 17, MEASURE)[0, 1] == -1  # 8 x 5 of 12 x 12
    assert facts(torch.zeros_like(x), 17, MEASURE).tolist() == [[-1, -1, 0]]


def test_every_caption_is_true(data) -> None:
    labels = {"train": creo.load_data("digits").train.c.repeat(10), "test": creo.load_data("digits").test.c}
    for name, label in labels.items():
        split = data.split(name)
        x, c = split.take(torch.arange(len(split)))
        seen = torch.cat([facts(x, 17, MEASURE), label[:, None]], 1).tolist()
        said = [understood(text) for text in texts(c, SPACE)]
        assert all(
            s[3] == t[3] and all(a in (0, b) for a, b in zip(s[:3], t[:3], strict=True))
            for s, t in zip(said, seen, strict=True)
        )
    plain = [understood(text) for text in texts(data.train.c[:300], SPACE)]
    x = data.train.store[:300]
    assert plain == [
        (*f, n) for f, n in zip(facts(x, 17, MEASURE).tolist(), labels["train"].tolist(), strict=False)
    ]


def test_every_word_is_used_and_no_fact_is_rare(data) -> None:
    x, c = data.train.take(torch.arange(len(data.train)))
    assert set(c.unique().tolist()) == set(range(SPACE.size))
    for column in facts(x, 17, MEASURE).T:
        assert (torch.bincount(column + 1) > 0.15 * len(x)).all()


def test_training_captions_are_worded_anew_and_others_are_not(data) -> None:
    index = torch.arange(200)
    with creo.seeded(0):
        first, second = data.train.take(index)[1], data.train.take(index)[1]
    with creo.seeded(0):
        again = data.train.take(index)[1]
    assert torch.equal(first, again)
    assert (first != second).any(1).float().mean() > 0.8
    assert torch.equal(data.test.take(index)[1], data.test.c[:200])
    assert data.content_hash == creo.load_data("digits-captions").content_hash
    assert torch.equal(data.test.c, creo.load_data("digits-captions").test.c)


def test_wordings_keep_the_meaning_and_leave_a_quarter_of_the_facts_out() -> None:
    wording, told, kept = Wording(), 0, 0
    for m, rows in list(zip(_meanings(), wording.table, strict=True))[::7]:
        for text in texts(rows, SPACE):
            said = understood(text)
            assert said[3] == m[3]
            assert all(a in (0, b) for a, b in zip(said[:3], m[:3], strict=True))
            told += sum(v != 0 for v in m[:3])
            kept += sum(v != 0 for v in said[:3])
    assert kept / told == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / told) ** 0.5)


def test_phrases() -> None:
    assert phrase((-1, 1, -1, 7)) == "a small bold seven on the left"
    assert phrase((0, 0, 0, 8)) == "an eight"
    assert phrase((1, 0, 1, 8)) == "a large eight on the right"
    chance = random.Random(3)
    assert len({phrase((1, -1, 0, 2), chance) for _ in range(200)}) > 30


def test_caption_reads_what_is_said() -> None:
    c = caption("A small, bold seven on the left.", SPACE)
    assert texts(c[None], SPACE) == ["a small bold seven on the left"]
    assert c.shape == SPACE.shape
    SPACE.check(caption(["a one", "tiny 2"], SPACE))
    assert torch.equal(creo.caption("seven", SPACE), c.new_tensor([SPACE.symbols.index("seven")] + [0] * 7))


@pytest.mark.parametrize(
    ("text", "space", "kind", "says"),
    [
        ("a smal seven", SPACE, OptionError, "no word 'smal' in these captions; did you mean 'small'?"),
        ("", SPACE, OptionError, "1 to 8 words; received 0"),
        (" ".join(["a"] * 9), SPACE, OptionError, "1 to 8 words; received 9"),
        ("seven", creo.Categories(10), SpaceError, "conditions that are words"),
        ("seven", creo.Tokens(3, 2, ("a", "b")), SpaceError, "conditions that are words"),
        ("seven", None, SpaceError, "received None"),
    ],
)
def test_wrong_captions(text, space, kind, says) -> None:
    with pytest.raises(kind) as caught:
        caption(text, space)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conditions_that_are_drawn_anew_reach_training(data) -> None:
    from creo.training.batches import Batches

    batches = Batches(data.train, 50, seed=0, conditional=True, device=torch.device("cpu"))
    with creo.seeded(1):
        x, c = batches(0)
    index = batches.index(0)
    assert torch.equal(x, data.train.store[index])
    assert not torch.equal(c, data.train.c[index])
    assert [understood(a)[3] for a in texts(c, SPACE)] == [
        understood(a)[3] for a in texts(data.train.c[index], SPACE)
    ]
