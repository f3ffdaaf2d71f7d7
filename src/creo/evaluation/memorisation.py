r"""Does the model repeat its training set?

With d(a, B) = min over b in B of |a - b| on standardised features:

    distance ratio = median_s d(s, train) / median_t d(t, train)        samples s, held-out data t

About 1: samples are as far from the training set as new data are. Well below 1: they are copies, or nearly. Above 1:
they are off the data. On small discrete spaces new data repeat training data too, so the share of samples that are
*exact* copies stands beside the share of held-out data that are.

The pairs shown are the most suspicious ones: the samples nearest to a training example.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from creo.evaluation.quality import Reference
from creo.evaluation.value import Value


def nearest(a: Tensor, b: Tensor, *, block: int = 512) -> tuple[Tensor, Tensor]:
    """Distance to and index of the nearest row of b (m, d) for every row of a (n, d), block by block."""
    found = [torch.cdist(part, b).min(1) for part in a.split(block)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def exact_copies(a: Tensor, index: Tensor, b: Tensor) -> Tensor:
    """(n,) whether raw sample a_i equals its nearest raw neighbour b[index_i] in every dimension."""
    return (a.cpu() == b[index]).flatten(1).all(1) if a.ndim > 1 else a.cpu() == b[index]


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Nearest training neighbours of samples: the values, and the most suspicious pairs as raw data."""

    values: list[Value]
    samples: Tensor
    neighbours: Tensor


def _share(copies: Tensor) -> tuple[float, float]:
    share = float(copies.double().mean())
    return share, (share * (1 - share) / len(copies)) ** 0.5


def memorisation(samples: Tensor, reference: Reference, *, pairs: int = 8) -> Memorisation:
    """Compare samples (m, *shape) with the training set of `reference`, which must have one."""
    train, features = reference.train, reference.train_features
    if train is None or features is None:
        raise ValueError("memorisation needs training samples in the reference")
    distance, index = nearest(reference.neighbourhood(samples), features)
    held_distance, held_index = nearest(reference.neighbourhood(reference.x), features)
    common = reference._common(len(samples))
    scale = float(held_distance.median())
    ratio = float(distance.median()) / scale if scale else float("nan")
    note = "median distance to the nearest training sample, over that of held-out data"
    if not scale:
        note = "held-out data repeat training data, so there is no scale to compare distances with"
    share, error = _share(exact_copies(samples, index, train))
    held, _ = _share(exact_copies(reference.x, held_index, train))
    values = [
        Value("distance ratio", ratio, better="", note=note, **common),
        Value("copies", share, stderr=error, note=f"of held-out data: {held:.3g}", **common),
    ]
    order = distance.argsort()[:pairs]
    return Memorisation(values, samples[order].cpu(), train[index[order]])
