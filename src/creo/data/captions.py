r"""Captions made of what can be measured, for `digits-captions` and `mnist-captions`: "a small bold seven on the left".

Digits are enlarged or shrunk, laid somewhere on a canvas (`canvas.py`), and described by their label and by facts of
the picture alone (`facts`), so that every word of a caption can be checked on a sample:

| word                           | fact                                                                              |
|--------------------------------|-----------------------------------------------------------------------------------|
| small, large                   | height of the bounding box of pixels above a quarter of the range, by thresholds   |
| thin, bold                     | mean grey level inside that box, by thresholds                                    |
| on the left, on the right      | centre of mass, more than `SIDE` of the width away from the middle                |
| zero ... nine                  | the label                                                                         |

What lies between has no word. A caption is `Tokens` whose symbols are words; the empty word fills it up at the end.
Validation and test captions are drawn once, with a fixed seed; a training caption is worded anew each time it is
taken: synonyms, orders of words, and facts left out, so that "a seven" comes to mean any seven.

Sources of the idea: Nichol et al. 2021 (GLIDE), https://arxiv.org/abs/2112.10741; Ramesh et al. 2021,
https://arxiv.org/abs/2102.12092.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from creo.data.canvas import lay
from creo.data.dataset import Data, Split
from creo.data.digits import load as load_digits
from creo.data.idx import grey
from creo.data.listing import find_data
from creo.data.load import Request
from creo.spaces import Ordinal, Tokens

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: What a fact of -1 and 1 is called, the plain word first; 0 has no word.
SIZES = (("small", "little", "tiny"), ("large", "big", "huge"))
WEIGHTS = (("thin", "light", "fine"), ("bold", "thick", "heavy"))
SIDES = (("on the left", "to the left"), ("on the right", "to the right"))
#: Orders of a caption's parts: size, weight, number, side.
ORDERS = ("a {s} {w} {n} {p}", "{s} {w} {n} {p}", "a {w} {s} {n} {p}", "{p} a {s} {w} {n}")
#: Share of the width that the centre of mass is away from the middle; share of range that is ink; words; wordings.
SIDE, INK, LENGTH, WORDINGS, OMITTED = 0.08, 0.25, 8, 64, 0.25
SEEDS = {"train": 1, "valid": 2, "test": 3}


@dataclass(frozen=True)
class Measures:
    """How one set of digits is laid out and where the words begin.

    Args:
        canvas: side of the canvas in pixels.
        scales: smallest and largest enlargement.
        heights: a box at most this high is small, one at least this high is large.
        weights: a box at most this grey is thin, one at least this grey is bold.
        layouts: how often each training digit is laid out.
    """

    canvas: int
    scales: tuple[float, float]
    heights: tuple[int, int]
    weights: tuple[float, float]
    layouts: int = 1


MEASURES = {
    "digits-captions": Measures(16, (1.0, 2.0), (10, 14), (0.39, 0.44), layouts=10),
    "mnist-captions": Measures(28, (0.6, 1.35), (15, 22), (0.30, 0.38)),
}


def facts(x: Tensor, levels: int, measures: Measures) -> Tensor:
    """Size, weight and side of pictures, each -1, 0 or 1: (N, 3) of levels (N, 1, H, W).

    A picture without ink is small, thin and in the middle.
    """
    share = x[:, 0].double() / (levels - 1)
    ink = share > INK
    height, width = (_extent(ink.any(axis)) for axis in (2, 1))
    box = share * _box(ink)
    weight = box.sum((1, 2)) / (height * width).clamp_min(1)
    mass = share.sum((1, 2)).clamp_min(1e-12)
    place = (torch.arange(x.shape[-1]) + 0.5) / x.shape[-1] - 0.5
    centre = (share.sum(1) * place).sum(1) / mass
    return torch.stack(
        [_sign(height, measures.heights), _sign(weight, measures.weights), _sign(centre, (-SIDE, SIDE))], 1
    )


def _extent(some: Tensor) -> Tensor:
    """Distance from the first to the last true entry of each row, both included; 0 if there is none."""
    n = some.shape[1]
    first, last = some.int().argmax(1), n - 1 - some.flip(1).int().argmax(1)
    return torch.where(some.any(1), last - first + 1, 0)


def _box(ink: Tensor) -> Tensor:
    """The bounding boxes of ink (N, H, W) as masks."""
    rows, columns = ink.any(2, keepdim=True), ink.any(1, keepdim=True)
    inside = [
        (s.cumsum(axis) > 0) & (s.flip(axis).cumsum(axis).flip(axis) > 0)
        for s, axis in ((rows, 1), (columns, 2))
    ]
    return inside[0] & inside[1]


def _sign(value: Tensor, ends: tuple[float, float]) -> Tensor:
    """-1 up to the first end, 1 from the second one on, else 0."""
    return (value >= ends[1]).long() - (value <= ends[0]).long()


def phrase(meaning: Sequence[int], chance: random.Random | None = None) -> str:
    """One caption of (size, weight, side, number); worded at random by `chance`, else plain and complete."""
    *signs, number = meaning
    said = []
    for sign, words in zip(signs, (SIZES, WEIGHTS, SIDES), strict=True):
        silent = sign == 0 or (chance is not None and chance.random() < OMITTED)
        said.append("" if silent else _one(words[sign > 0], chance))
    n = _one((NUMBERS[number], NUMBERS[number], str(number)), chance)
    order = _one(ORDERS, chance).format(s=said[0], w=said[1], p=said[2], n=n)
    return re.sub(r"\ba (?=eight|8)", "an ", " ".join(order.split()))


def _one(words: Sequence[str], chance: random.Random | None) -> str:
    return words[0] if chance is None else chance.choice(words)


def _meanings() -> Iterator[tuple[int, ...]]:
    return product((-1, 0, 1), (-1, 0, 1), (-1, 0, 1), range(10))


def _vocabulary() -> tuple[str, ...]:
    groups = (*SIZES, *WEIGHTS, *SIDES, NUMBERS, map(str, range(10)), ("a", "an"))
    return ("", *dict.fromkeys(word for group in groups for text in group for word in text.split()))


SPACE = Tokens(LENGTH, len(_vocabulary()), _vocabulary())


class Wording:
    """Plain captions (B, LENGTH) to others of the same meaning, drawn from torch's global generator."""

    def __init__(self) -> None:
        chance = random.Random(0)
        known = {word: i for i, word in enumerate(_vocabulary())}

        def tokens(text: str) -> list[int]:
            return ([known[word] for word in text.split()] + [0] * LENGTH)[:LENGTH]

        self.plain = torch.tensor([tokens(phrase(m)) for m in _meanings()])
        self.table = torch.tensor([[tokens(phrase(m, chance)) for _ in range(WORDINGS)] for m in _meanings()])

    def of(self, found: Tensor, labels: Tensor) -> Tensor:
        """The plain captions of facts (N, 3) and labels (N,)."""
        index = ((found + 1) * torch.tensor([90, 30, 10])).sum(1) + labels
        return self.plain[index]

    def __call__(self, c: Tensor) -> Tensor:
        plain, table = self.plain.to(c.device), self.table.to(c.device)
        meaning = (c[:, None] == plain).all(2).int().argmax(1)
        return table[meaning, torch.randint(WORDINGS, (len(c),), device=c.device)]


def load(request: Request) -> Data:
    """Digits of many sizes and places, with captions as condition."""
    source = request.name.removesuffix("-captions")
    labelled = load_digits(Request(source, source)) if source == "digits" else grey(request, source)
    measures, levels, wording = MEASURES[request.name], labelled.space.levels, Wording()  # type: ignore[attr-defined]
    parts = {name: _described(labelled.split(name), levels, measures, wording) for name in SEEDS}
    train = Split(parts["train"].store, parts["train"].c, c_transform=wording)
    entry = find_data(request.name)
    return replace(
        labelled, name=request.spec, space=Ordinal((1, measures.canvas, measures.canvas), levels), condition=SPACE,
        train=train, valid=parts["valid"], test=parts["test"], source=entry.source, licence=entry.licence,
        notes=(*labelled.notes, "training captions are worded anew each time they are taken, the others once"),
    )  # fmt: skip


def _described(split: Split, levels: int, measures: Measures, wording: Wording) -> Split:
    """A split's digits laid out and described; captions plain in training, worded once otherwise."""
    from creo.model import seeded

    training, side = split.name == "train", measures.canvas
    x, labels = split.take(torch.arange(len(split)).repeat(measures.layouts if training else 1))
    digits = x[:, 0] if x.shape[-1] < 28 else x[:, 0, 4:24, 4:24]
    with seeded(SEEDS[split.name]):
        low, high = measures.scales
        scale = low + (high - low) * torch.rand(len(x))
        room = (side - digits.shape[-1] * scale).clamp_min(0)
        laid = lay(digits, (side, side), torch.rand(len(x), 2) * room[:, None], scale)[:, None]
        c = wording.of(facts(laid, levels, measures), labels)  # type: ignore[arg-type]
        return Split(laid, c if training else wording(c))
