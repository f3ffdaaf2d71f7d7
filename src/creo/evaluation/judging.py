"""`evaluate`: every question that can be put to one model on held-out data, answered with its protocol.

What is asked depends on what is there:

| question                                    | needs                                            |
|---------------------------------------------|--------------------------------------------------|
| NLL, bits/dim, perplexity of texts          | a likelihood (else the row says why there is none) |
| KL(truth, model)                            | the same, and data whose own density is known    |
| MMD2, KID, C2ST, FD, precision, recall against the held-out data | nothing                     |
| IS                                          | features that classify                           |
| modes, high quality                         | data whose modes are known                       |
| their floor, distance ratio, copies, pairs  | the training set (`split.parent`, or `train=`)   |
| parameters, ms/sample                       | nothing                                          |
| training time                               | the run (`training=`)                            |

Everything random is seeded by `seed`, so the same call gives the same numbers (but for times).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.errors import CreoError, DataError, SpaceError
from creo.evaluation.cost import cost_values, sampling_speed
from creo.evaluation.evaluation import Evaluation
from creo.evaluation.extractors import Setting
from creo.evaluation.extractors import extractor as extractor_of
from creo.evaluation.features import Extractor
from creo.evaluation.likelihood import evaluating, likelihood_values
from creo.evaluation.machine import machine
from creo.evaluation.memorisation import Memorisation, memorisation
from creo.evaluation.pictures import extent_of, pair_picture, picture
from creo.evaluation.quality import NAMES, Reference
from creo.evaluation.value import Value, missing
from creo.model import GenerativeModel, seeded
from creo.spaces import Space

SAMPLES = 2000  #: how many model samples are judged at most, unless told otherwise
TRAIN = 50_000  #: how many training examples standardise features and are searched for neighbours


@dataclass(frozen=True)
class _Subject:
    """Held-out raw data with conditions, and where they come from."""

    x: Tensor
    c: Tensor | None
    train: Tensor | None
    split: str
    data: str
    density: Any
    protocol: dict[str, Any]
    parent: Data | None = None

    @property
    def truth(self) -> Callable[[Tensor], Tensor] | None:
        """The log-density of the data, if known."""
        return getattr(self.density, "log_prob", None)


def _from_split(split: Split, train: Tensor | None, seed: int) -> _Subject:
    parent = split.parent
    with seeded(seed):
        x, c = split.take(torch.arange(len(split)))
        if train is None and parent is not None:
            train = parent.train.head(TRAIN)[0]
    density = None if parent is None else parent.density
    protocol = {} if parent is None else {"data": parent.name, "content": parent.content_hash}
    return _Subject(x, c, train, split.name, parent.name if parent else "", density, protocol, parent)


def _subject(data: Split | Data | Tensor, c: Tensor | None, train: Tensor | None, seed: int) -> _Subject:
    if isinstance(data, Data):
        data = data.test
    if isinstance(data, Split):
        found = _from_split(data, train, seed)
        return found if c is None else _Subject(**{**vars(found), "c": c})
    if not isinstance(data, Tensor):
        raise SpaceError(
            f"evaluate on a split (data.test) or a tensor of raw data; received {type(data).__name__}"
        )
    return _Subject(data, c, train, "", "a tensor", None, {})


def reference_of(
    data: Split | Data | Tensor,
    space: Space,
    *,
    train: Tensor | None = None,
    samples: int = SAMPLES,
    features: str | Extractor = "standardised",
    seed: int = 0,
) -> Reference:
    """What samples are judged by: the first `samples` held-out examples, features (`extractors.py`), training data.

    Build it once and pass it as `reference=` to evaluate several models against the same data quickly.
    """
    return _reference(_subject(data, None, train, seed), space, samples, features, seed)


def _reference(s: _Subject, space: Space, samples: int, features: str | Extractor, seed: int) -> Reference:
    if s.train is not None:
        space.check(s.train, "train")
    if len(s.x) < 10:
        raise SpaceError(f"at least 10 held-out samples are needed to judge by; received {len(s.x)}")
    fitted_on, x = ("held-out data", s.x) if s.train is None else ("train", s.train)
    setting = Setting(space, x, fitted_on, s.parent)
    extractor = extractor_of(features, setting) if isinstance(features, str) else features
    near = extractor_of("standardised", setting) if extractor.costly else None
    return Reference(s.x[:samples], extractor, s.train, s.split, seed, s.protocol, near, s.density)


def draw(
    model: GenerativeModel,
    n: int,
    c: Tensor | None = None,
    *,
    batch_size: int = 256,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """`n` samples in chunks, seeded, checked, on the CPU; conditions c (m, *shape) are used in turn.

    Args:
        model: any model.
        n: how many.
        c: conditions, or None.
        batch_size: samples of a chunk.
        seed: the same seed and batch size give the same samples.
        report: called with the number of samples there are, after every chunk.
        options: further ones of the model's `sample`.

    Raises:
        SpaceError: if what the model returns is not in its space.
    """
    if c is not None:
        c = c[torch.arange(n) % len(c)]
    with evaluating(model, seed):
        chunks = []
        for i in range(0, n, batch_size):
            given = None if c is None else c[i : i + batch_size].to(model.device)
            chunks.append(model.sample(min(batch_size, n - i), given, **(options or {})).cpu())
            if report is not None:
                report(min(i + batch_size, n))
    samples = torch.cat(chunks)
    return model.space.check(samples, f"samples of {type(model).__name__}")


def sample_values(
    samples: Tensor, reference: Reference, space: Space, *, pictures: bool = True
) -> tuple[list[Value], dict[str, bytes]]:
    """Everything that can be said of samples alone, whoever drew them: distances, memorisation, pictures."""
    values = reference.judge(samples)
    found = None if reference.train is None else memorisation(samples, reference)
    if found is not None:
        values += found.values
    return values, _pictures(samples, reference, found, space) if pictures else {}


def _pictures(
    samples: Tensor, reference: Reference, found: Memorisation | None, space: Space
) -> dict[str, bytes]:
    extent = extent_of(reference.x, space)
    shown = {"samples": picture(samples, space, extent), "data": picture(reference.x, space, extent)}
    pairs = None if found is None else pair_picture(found.samples, found.neighbours, space)
    return shown | ({"neighbours": pairs} if pairs is not None else {})


def evaluate(
    model: GenerativeModel,
    data: Split | Data | Tensor,
    *,
    c: Tensor | None = None,
    train: Tensor | None = None,
    samples: int = SAMPLES,
    features: str | Extractor = "standardised",
    reference: Reference | None = None,
    training: Any = None,
    pictures: bool = True,
    batch_size: int = 256,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on held-out data.

    Args:
        model: any model of the data's space.
        data: a split (`data.test`), a data set (its test split), or raw samples (n, *shape).
        c: conditions of raw samples, (n, *condition.shape), for conditional models.
        train: raw training samples, where `data` does not know its training set.
        samples: how many samples to draw and held-out examples to judge them by, at most.
        features: name of an extractor (see `creo.evaluation.extractors`), or one of your own.
        reference: from `reference_of`, to share held-out features and floor between models; it decides features then.
        training: the `Run` that trained the model, for its time and steps.
        pictures: draw samples, data and nearest neighbours.
        batch_size: of likelihood and sampling.
        seed: seeds everything random.

    Raises:
        SpaceError: if the data are not of the model's space.
    """
    s = _subject(data, c, train, seed)
    model.space.check(s.x)
    c = None if model.condition is None else s.c
    values = likelihood_values(
        model,
        s.x,
        c,
        truth=s.truth,
        split=s.split,
        batch_size=batch_size,
        seed=seed,
        protocol=s.protocol,
    )
    reference = reference or _reference(s, model.space, samples, features, seed)
    drawn, shown = _sampled(model, c, reference, batch_size, seed, pictures)
    values += drawn + cost_values(model, training=training)
    about = {**machine(), "model": model.recipe, "seed": seed, "features": described(reference.extractor)}
    return Evaluation(_name(model), s.data, values, reference.floor, shown, about)


def evaluate_samples(
    samples: Tensor | str | Path,
    data: Split | Data,
    *,
    most: int = SAMPLES,
    features: str | Extractor = "standardised",
    pictures: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Evaluate samples that somebody else's model drew, against held-out data.

    Args:
        samples: raw samples (n, *shape), or a folder of pictures, an .npz or an .npy (see `elsewhere.py`).
        data: a split, or a data set (its test split).
        most: how many samples and held-out examples are used at most.
        features: as in `evaluate`.
        pictures: draw samples, data and nearest neighbours.
        seed: seeds everything random.

    Raises:
        DataError: no samples, or unreadable ones. SpaceError: they are not of the data's space.
    """
    from creo.evaluation.elsewhere import read_samples

    s = _subject(data, None, None, seed)
    space = s.parent.space if s.parent is not None else None
    if space is None:
        raise SpaceError("samples are judged against a split that belongs to a data set, such as data.test")
    named = "samples" if isinstance(samples, Tensor) else str(samples)
    x = samples if isinstance(samples, Tensor) else read_samples(samples, space)
    x = space.check(x, named)[:most]
    if len(x) < 2:
        raise DataError(f"{named}: at least 2 samples are needed; received {len(x)}")
    reference = _reference(s, space, most, features, seed)
    values, shown = sample_values(x, reference, space, pictures=pictures)
    about = {**machine(), "seed": seed, "features": described(reference.extractor)}
    return Evaluation(named, s.data, values, reference.floor, shown, about)


def described(extractor: Extractor) -> dict[str, str]:
    """Name, key and, where it has one, the note of an extractor."""
    return {"name": extractor.name, "key": extractor.key, "note": getattr(extractor, "note", "")}


def _name(model: GenerativeModel) -> str:
    return model.recipe["model"] if model.recipe else type(model).__name__


def _sampled(
    model: GenerativeModel, c: Tensor | None, reference: Reference, batch_size: int, seed: int, pictures: bool
) -> tuple[list[Value], dict[str, bytes]]:
    """Values and pictures from samples; rows that say why not, if the model cannot give valid ones."""
    try:
        samples = draw(model, len(reference.x), c, batch_size=batch_size, seed=seed)
    except CreoError as error:
        return [missing(name, str(error)) for name in (*NAMES, "sampling")], {}
    values, shown = sample_values(samples, reference, model.space, pictures=pictures)
    some = None if c is None else c[torch.arange(64) % len(c)]
    return [*values, sampling_speed(model, c=some, seed=seed)], shown
