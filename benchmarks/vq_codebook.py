"""Codebook use on Fashion-MNIST, and what the second stage's samples are worth beside the reconstructions.

A VQ-VAE with 512 codes (moving averages, k-means start, dead codes revived) and one with finite scalars (8 x 8 x 8
levels are 512 codes) are trained on Fashion-MNIST, then an image transformer on the codes of each, given the class, by
Muon in bfloat16. Use is the share of the 512 codes that at least one test picture has. FID is on the features of a
classifier of the data set's own labels, 10 000 pictures against the 10 000 of the test split: of reconstructions
x ~ p(x | k(x)) of these test pictures, of as many training pictures (what a perfect second stage would reach), and of
samples x ~ p(x | k), k ~ p(k | c), with classes as often as in the training split. One thread; needs the data set
(`$CREO_DATA`).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

import creo
from creo.data.dataset import Data
from creo.evaluation.extractors import Setting, extractor
from creo.evaluation.frechet import frechet_distance
from creo.latent.quantise import number_of, perplexity
from creo.model import GenerativeModel
from creo.spaces import Ordinal, Space
from creo.training import TwoStage, codes_of

SEED, CODES, USE, RATIO = 0, 512, 90.0, 1.5
FIRST = {
    "moving averages": {"quantiser": "ema", "codes": CODES},
    "finite scalars": {"quantiser": "fsq", "levels": (8, 8, 8)},
}
STEPS = 1000
PRIOR: dict[str, Any] = {"width": 128, "layers": 4, "heads": 2, "dropout": 0.1}
#: Codes without an order need longer.
PRIOR_STEPS = {"moving averages": 4500, "finite scalars": 2300}


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    """A row of the result."""
    base: dict[str, Any] = {"spread": None, "better": "higher", "target": None, "met": None, "peer": None,
                            "peer_value": None, "seeds": [SEED], "threads": 1}  # fmt: skip
    return base | {"name": name, "value": round(value, 3), "unit": unit} | more


def prior_of(space: Ordinal, condition: Space | None, *, ordered: bool) -> GenerativeModel:
    """An image transformer of codes; those without an order have vectors of their own."""
    unordered = {} if ordered else {"coding": "learned", "head": "categorical"}
    return creo.build("image-transformer", space, condition, **PRIOR, **unordered)


def joint(codes: Tensor) -> Tensor:
    """The code of every place as one number, of codes (N, h, w) or digits (N, L, h, w)."""
    digits = (
        codes.long().flatten(2).transpose(1, 2).flatten(0, 1)
        if codes.ndim == 4
        else codes.long().reshape(-1, 1)
    )
    return number_of(digits, int(digits.max()) + 1)


@torch.no_grad()
def in_parts(draw: Any, n: int) -> Tensor:
    """draw(i, j) for chunks of n."""
    return torch.cat([draw(i, min(i + 250, n)) for i in range(0, n, 250)])


def measure(kind: str, data: Data, features: Any, quick: bool) -> list[dict[str, Any]]:
    """Rows of one quantiser."""
    settings: dict[str, Any] = {"seed": SEED, "progress": False, "threads": 1, "sample_every": 0}
    with creo.seeded(SEED):
        model = creo.build("vqvae", data.space, **FIRST[kind])
    start = time.process_time()
    first = creo.fit(model, data, steps=30 if quick else STEPS, **settings).model
    took = [time.process_time() - start]
    with creo.seeded(SEED):
        codes = codes_of(first, data)
        prior = prior_of(first.code_space, codes.condition, ordered=first.ordered)  # type: ignore[arg-type]
    steps = 20 if quick else PRIOR_STEPS[kind]
    settings |= {"optimiser": "muon", "lr": 2e-3, "precision": "bfloat16", "eval_every": max(1, steps // 4)}
    both = creo.fit(prior, codes, steps=steps, **settings).model
    took.append(time.process_time() - start - took[0])
    return rows(kind, both, codes, data, features, took, 500 if quick else 10_000)


def rows(
    kind: str, both: Any, codes: Data, data: Data, features: Any, took: list[float], n: int
) -> list[dict[str, Any]]:
    """What is measured of two trained stages."""
    assert isinstance(both, TwoStage)
    test, chosen = data.test[:n], codes.test[:]
    given, seen = data.test.c, data.train.c
    assert given is not None
    assert seen is not None
    used = joint(chosen)
    with creo.seeded(SEED):
        back = in_parts(lambda i, j: both.first.decode_codes(chosen[i:j].long(), draw=True), n)
        other = codes.train[torch.randperm(len(codes.train))[:n]]
        known = in_parts(lambda i, j: both.first.decode_codes(other[i:j].long(), draw=True), n)
        classes = seen[torch.randint(len(seen), (n,))]
        drawn = in_parts(lambda i, j: both.sample(j - i, classes[i:j]), n)
        nll = -float(in_parts(lambda i, j: both.log_prob(test[i:j], given[i:j]), min(n, 2000)).mean())
    of_data = features(test)
    fid = {
        name: float(frechet_distance(features(x), of_data))
        for name, x in (("back", back), ("known", known), ("drawn", drawn))
    }
    ratio, use = fid["drawn"] / fid["back"], 100 * used.unique().numel() / CODES
    note = (
        f"{kind}: perplexity {float(perplexity(used)):.0f} of {CODES}, {took[0]:.0f} + {took[1]:.0f} CPU-s, "
        f"<= {nll / data.space.dims / 0.6931471805599453:.3f} bits/dim given the class, second stage; {features.note}"
    )
    fid_of = f"FID[{features.name}, n={n}]"
    return [
        row(f"codes in use, {kind}", use, "%", target=USE, met=use >= USE, note=note),
        row(f"{fid_of} of reconstructions, {kind}", fid["back"], "", better="lower", note=note),
        row(f"{fid_of} of reconstructions of training pictures, {kind}", fid["known"], "", better="lower", note=note),
        row(f"{fid_of} of samples, {kind}", fid["drawn"], "", better="lower", note=note),
        row(f"{fid_of} of samples over that of reconstructions, {kind}", ratio, "x", better="lower",
            target=RATIO, met=ratio <= RATIO, note=note),
    ]  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: a few steps and samples."""
    torch.set_num_threads(1)
    data = creo.load_data("fashion-mnist")
    features = extractor("cnn", Setting(data.space, data.train.head(100)[0], "train", data))
    return [r for kind in FIRST for r in measure(kind, data, features, quick)]
