"""Captioned digits: does a sample of "a small bold seven on the left" show what its caption says?

Flow matching with a text encoder trains on `digits-captions` for 1500 steps. Then it draws pictures of complete
captions (every number with every size, weight and side word) at several scales of guidance. The number is judged by a
support vector machine trained on the training pictures' labels, the adjectives by the measurements that the captions of
the data are made of. Beside each value stands what chance gives: the same pictures judged by other captions' words.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import torch
from torch import Tensor

import creo
from creo.data import Data
from creo.data.captions import MEASURES, NUMBERS, facts, phrase
from creo.model import GenerativeModel, seeded

NAME, STEPS, REPEATS = "digits-captions", 1500, 3
SCALES, TARGET = (1.0, 2.0, 4.0), 0.8
WORDS = ("size", "weight", "side")


def train(data: Data, steps: int) -> tuple[GenerativeModel, float]:
    """The model after so many steps of 64, and its CPU seconds."""
    with seeded(0):
        model = creo.build("flow-matching", data.space, data.condition, patch=2, channels=48)
    begun = time.process_time()
    run = creo.fit(model, data, steps=steps, batch_size=64, lr=2e-3, seed=0, threads=1, progress=False)
    return run.model, time.process_time() - begun


def numbers(data: Data, index: Tensor) -> Tensor:
    """The number words of training captions as labels."""
    words = data.condition.symbols  # type: ignore[union-attr]
    place = torch.tensor([words.index(n) for n in NUMBERS])
    return (data.train.c[index][:, :, None] == place).any(1).int().argmax(1)  # type: ignore[index]


def judge(data: Data, train_on: int) -> Any:
    """A fitted classifier of numbers."""
    from sklearn.svm import SVC

    index = torch.arange(len(data.train))[:: max(1, len(data.train) // train_on)]
    return SVC(C=10).fit(data.train.store[index].flatten(1).numpy(), numbers(data, index).numpy())


def shares(asked: Tensor, found: Tensor, seen: Tensor) -> dict[str, float]:
    """How often what is seen (numbers, facts) is what was asked for; facts only where a word asks for one."""
    agree = {"number": float((found == asked[:, 3]).double().mean())}
    for j, word in enumerate(WORDS):
        said = asked[:, j] != 0
        agree[word] = float((seen[said, j] == asked[said, j]).double().mean())
    return agree


def judged_right(data: Data, classify: Any) -> float:
    """Share of held-out pictures whose caption has the number that the judge sees."""
    words = data.condition.symbols  # type: ignore[union-attr]
    seen = classify.predict(data.test.x.flatten(1).numpy()).tolist()
    captions = [{words[i] for i in row} for row in data.test.c.tolist()]  # type: ignore[union-attr]
    return sum(bool({NUMBERS[n], str(n)} & said) for n, said in zip(seen, captions, strict=True)) / len(seen)


def asked_for(repeats: int) -> Tensor:
    """Meanings (size, weight, side, number) of complete captions, each so many times."""
    return torch.tensor(list(product((-1, 1), (-1, 1), (-1, 0, 1), range(10)))).repeat(repeats, 1)


def at_scale(
    model: GenerativeModel, asked: Tensor, classify: Any, scale: float
) -> dict[str, tuple[float, float]]:
    """Of every kind of word, how often samples are as their captions say, and as other captions say."""
    c = creo.caption([phrase(m) for m in asked.tolist()], model.condition)
    with seeded(1):
        x = torch.cat([model.sample(len(part), part, guidance=scale) for part in c.split(300)])  # type: ignore[call-arg]
        other = asked[torch.randperm(len(asked))]
    found = torch.from_numpy(classify.predict(x.flatten(1).numpy()))
    seen = facts(x, model.space.levels, MEASURES[NAME])  # type: ignore[attr-defined]
    agree, chance = (shares(words, found, seen) for words in (asked, other))
    return {word: (agree[word], chance[word]) for word in agree}


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per scale of guidance and kind of word; quick: few steps, one scale."""
    torch.set_num_threads(1)
    data, steps = creo.load_data(NAME), 30 if quick else STEPS
    model, used = train(data, steps)
    classify, asked = judge(data, 500 if quick else 5000), asked_for(1 if quick else REPEATS)
    note = f"{steps} steps of 64, {used:.0f} CPU-s; the judge of numbers is right on {judged_right(data, classify):.1%}"
    rows = []
    for scale in SCALES[1:2] if quick else SCALES:
        target = TARGET if scale == SCALES[1] else None
        for word, (value, chance) in at_scale(model, asked, classify, scale).items():
            rows.append({
                "name": f"guidance {scale:g}: {word} as the caption says", "value": round(value, 3), "unit": "",
                "spread": None, "better": "higher", "target": target, "met": target and value >= target,
                "peer": "by chance", "peer_value": round(chance, 3), "seeds": [0], "threads": 1, "steps": steps,
                "note": f"{note} of held-out pictures",
            })  # fmt: skip
    return rows
