r"""Outlier detection: does a density know what does not belong?

Every score is larger for what looks less like the training data; its AUROC is the probability that an outlier scores
higher than an insider (ties count half): 1 is perfect, 0.5 is chance, below 0.5 is the wrong way round.

| score                | formula                          | needs                                                   |
|----------------------|----------------------------------|---------------------------------------------------------|
| `log_prob`           | -log p(x)                        | a likelihood                                            |
| `ratio`              | log p0(x) - log p(x)             | a background model p0 on the same space                 |
| `typicality`         | abs(-log p(x) - H)               | a likelihood; H is the mean NLL of known insiders       |
| `energy`             | E(x)                             | `energy`                                                |
| `reconstruction`     | mean square of x - decode(encode x) | `encode` and `decode`                                |

Raw likelihood famously fails: a model of Fashion-MNIST gives MNIST *more* probability than its own test set (AUROC
well below 0.5), for smooth, mostly black pictures are cheap to code whatever they show. High density is not
typicality: the most probable point of a high-dimensional Gaussian is one it never draws. Typicality looks for both
sides; the ratio divides out what a simpler model (a histogram of pixels, a small flow) already finds cheap.

The standard error is DeLong's, from the placements of either group in the other.

Sources: Nalisnick et al. 2019, https://arxiv.org/abs/1810.09136 and https://arxiv.org/abs/1906.02994 (typicality);
Ren et al. 2019, https://arxiv.org/abs/1906.02845 (ratio); DeLong, DeLong, Clarke-Pearson 1988 (Biometrics 44).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
from torch import Tensor

from creo import registry
from creo.data.dataset import Data
from creo.errors import DataError, OptionError, SpaceError
from creo.evaluation.features import encoding
from creo.evaluation.likelihood import evaluating, log_probs
from creo.evaluation.value import Value
from creo.model import Decodes, Denoises, Encodes, GenerativeModel, HasEnergy, Likelihood, seeded
from creo.spaces import Space

BACKGROUND = "independent"  #: the default background model where it can be had
Score = Callable[[Tensor], Tensor]


def auroc(inside: Tensor, outside: Tensor) -> tuple[float, float]:
    """P(outside > inside) + P(equal)/2 of scores (n,) and (m,), and DeLong's standard error.

    Raises:
        DataError: fewer than 2 scores in a group, or scores that are NaN.
    """
    if min(len(inside), len(outside)) < 2:
        raise DataError(f"AUROC needs 2 scores of each kind; received {len(inside)} and {len(outside)}")
    a, b = inside.double(), outside.double()
    if a.isnan().any() or b.isnan().any():
        raise DataError("a score is not a number; AUROC needs scores that can be ordered")
    of_b, of_a = _below(a, b), 1 - _below(b, a)
    return float(of_b.mean()), math.sqrt(float(of_b.var() / len(b) + of_a.var() / len(a)))


def _below(these: Tensor, those: Tensor) -> Tensor:
    """For every one of `those`, the share of `these` below it, equal ones counted half."""
    ordered = these.sort().values
    ranks = torch.searchsorted(ordered, those) + torch.searchsorted(ordered, those, right=True)
    return ranks.double() / (2 * len(these))


def scores(
    model: GenerativeModel,
    insiders: Tensor,
    *,
    background: GenerativeModel | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> dict[str, Score]:
    """The scores of the table that `model` can give, by name: raw samples (B, *shape) to (B,).

    Args:
        model: of the space the samples are from.
        insiders: raw training or validation samples, from which the typical NLL is measured.
        background: a simpler model, for the likelihood ratio.
        batch_size: samples per call of a model.
        seed: seeds bounds and estimates.
    """

    @cache  # several scores ask for the same number; tensors are told apart by identity
    def nll(x: Tensor, of: GenerativeModel = model) -> Tensor:
        return -log_probs(of, x, batch_size=batch_size, seed=seed)

    found: dict[str, Score] = {}
    if model.likelihood is not Likelihood.NONE:
        typical = float(nll(insiders).mean())
        found["log_prob"] = nll
        found["typicality"] = lambda x: (nll(x) - typical).abs()
        if background is not None:
            found["ratio"] = lambda x: nll(x) - nll(x, background)
    asked: dict[str, Score] = {}
    if isinstance(model, HasEnergy):
        asked["energy"] = model.energy
    lossless = isinstance(model, Denoises)  # a diffusion carries every number of a sample to its latent
    if isinstance(model, Encodes) and isinstance(model, Decodes) and not lossless:
        asked["reconstruction"] = _reconstruction(model, model, model.space)
    for name, score in asked.items():
        found[name] = partial(_in_chunks, model, score, batch_size, seed)
    return found


def _in_chunks(model: GenerativeModel, score: Score, batch_size: int, seed: int, x: Tensor) -> Tensor:
    with evaluating(model, seed):
        return torch.cat([score(part.to(model.device)).double().cpu() for part in x.split(batch_size)])


def _reconstruction(encoder: Encodes, decoder: Decodes, space: Space) -> Score:
    vectors = encoding(space)

    def error(x: Tensor) -> Tensor:
        again = decoder.decode(encoder.encode(x))
        return (vectors(x.cpu()) - vectors(again.cpu())).square().mean(1)

    return error


def outlier_detection(
    model: GenerativeModel,
    inside: Tensor,
    outside: Tensor,
    *,
    insiders: Tensor,
    background: GenerativeModel | None = None,
    names: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[Value]:
    """AUROC of every score that the model can give.

    Args:
        model: trained on data like `inside`.
        inside: raw held-out samples of its own kind, (n, *shape).
        outside: raw samples of another kind in the same space, (m, *shape).
        insiders: raw training or validation samples of its own kind, apart from `inside`.
        background: a simpler model of the same space, for the likelihood ratio.
        names: what the two sets are called, {"inside": ..., "outside": ...}, for the protocol.
        seed: seeds bounds and estimates.

    Raises:
        SpaceError: samples are not of the model's space. OptionError: the model has no score at all.
    """
    for x, what in ((inside, "inside"), (outside, "outside"), (insiders, "insiders")):
        model.space.check(x, what)
    if background is not None and background.space != model.space:
        raise SpaceError(f"the background models {background.space}, the model {model.space}")
    available = scores(model, insiders, background=background, seed=seed)
    if not available:
        raise OptionError(
            f"{type(model).__name__} has neither likelihood, energy nor reconstruction to score by"
        )
    values = []
    for name, score in available.items():
        value, error = auroc(score(inside), score(outside))
        protocol = {"score": name, "inside": len(inside), "outside": len(outside), **(names or {})}
        values.append(
            Value(f"AUROC[{name}]", value, better="higher", stderr=error, n=len(inside) + len(outside), seed=seed,
                  note=model.likelihood_note, protocol=protocol)
        )  # fmt: skip
    return values


def compare_kinds(
    model: GenerativeModel,
    own: Data,
    other: Data,
    *,
    split: str = "test",
    n: int = 2000,
    background: GenerativeModel | None = None,
    seed: int = 0,
) -> list[Value]:
    """`outlier_detection` between two data sets; on counting spaces an independent histogram is the background.

    Args:
        model: trained on `own`.
        own: its own kind; the typical NLL is measured on its validation split (on train, if `split` is that).
        other: another kind, in the same space.
        split: the part of both that is told apart.
        n: how many of each, at most.
        background: a simpler model of `own` for the likelihood ratio.
        seed: seeds bounds and estimates.

    Raises:
        SpaceError: the spaces differ. OptionError: the model is conditional, or has nothing to score by.
    """
    if other.space != own.space or model.space != own.space:
        raise SpaceError(
            f"outliers are told apart in one space: the model has {model.space}, {own.name} {own.space}, "
            f"{other.name} {other.space}"
        )
    if model.condition is not None:
        raise OptionError("the model is conditional, and an outlier has no label: train without conditions")
    with seeded(seed):
        inside, outside = (data.split(split).head(n)[0] for data in (own, other))
        insiders = own.split("train" if split == "valid" else "valid").head(n)[0]
        if background is None and own.space.kind in registry.find(BACKGROUND).promise:
            background = registry.build(BACKGROUND, own.space)
            background.initialise(own.train.head(50_000)[0])
    names = {"own": own.name, "against": other.name, "split": split}
    return outlier_detection(
        model, inside, outside, insiders=insiders, background=background, names=names, seed=seed
    )
