"""Feature extractors by name, as `evaluate(..., features="digits-cnn")` and `creo evaluate --features NAME` take them.

| name                | features                                                       | of                         |
|---------------------|----------------------------------------------------------------|----------------------------|
| `standardised`      | the space's vectors, centred and scaled by the training set    | every space (`features`)   |
| `identity`          | the space's vectors as they are                                | every space                |
| `pixels`            | levels in [0, 1]                                               | pictures                   |
| `random-convnet`    | 256 outputs of an untrained network                            | pictures (`convnet`)       |
| `NAME-cnn`, `cnn`   | 64 activations of a classifier of data set NAME, of these data | labelled pictures          |
| `inception[:FILE]`  | Inception-v3 as in FID, 2048                                   | pictures (`inception`)     |
| `dinov2[:FILE]`     | the class token of DINOv2                                      | pictures (`dinov2`)        |
| `ngrams`            | shares of 1-, 2- and 3-grams                                   | texts (`sequences`)        |
| `log-mel[:RATE]`    | statistics of log-mel power                                    | waveforms (`sequences`)    |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from creo.data.dataset import Data
from creo.errors import OptionError, SpaceError, UnknownName, suggestion
from creo.evaluation.features import Extractor, Plain, Standardised
from creo.spaces import Space


@dataclass(frozen=True)
class Setting:
    """What an extractor may be made from: the space, samples to scale by and what they are, the data set if known."""

    space: Space
    x: Tensor
    fitted_on: str
    data: Data | None


def _pixels(s: Setting, target: str) -> Extractor:
    from creo.evaluation.pixels import picture_shape

    picture_shape(s.space, "pixels")
    return Plain(s.space, "pixels")


def _random_convnet(s: Setting, target: str) -> Extractor:
    from creo.evaluation.convnet import RandomConvnet

    return RandomConvnet.of(s.space)


def _classifier(s: Setting, name: str) -> Extractor:
    """The classifier of data set `name`, of the data at hand if empty."""
    from creo.data.load import load_data
    from creo.evaluation.convnet import classifier_features

    if s.data is None and not name:
        raise OptionError("features cnn need the data set: evaluate on one of its splits, or say NAME-cnn")
    data = s.data if s.data is not None and name in ("", s.data.name) else load_data(name)
    if data.space != s.space:
        raise SpaceError(f"features {data.name}-cnn are of {data.space}; the data are {s.space}")
    return classifier_features(data)


def _inception(s: Setting, target: str) -> Extractor:
    from creo.evaluation.inception import inception

    return inception(s.space, target)


def _dinov2(s: Setting, target: str) -> Extractor:
    from creo.evaluation.dinov2 import dinov2

    return dinov2(s.space, target)


def _ngrams(s: Setting, target: str) -> Extractor:
    from creo.evaluation.sequences import NGrams

    return NGrams(s.space)


def _log_mel(s: Setting, target: str) -> Extractor:
    from creo.evaluation.sequences import LogMel

    try:
        rate = float(target or 16000)
    except ValueError:
        raise OptionError(f"log-mel:RATE takes samples per second; received {target!r}") from None
    return LogMel(s.space, rate)


EXTRACTORS: dict[str, Callable[[Setting, str], Extractor]] = {
    "standardised": lambda s, target: Standardised.of(s.space, s.x, fitted_on=s.fitted_on),
    "identity": lambda s, target: Plain(s.space, "identity"),
    "pixels": _pixels,
    "random-convnet": _random_convnet,
    "cnn": _classifier,
    "inception": _inception,
    "dinov2": _dinov2,
    "ngrams": _ngrams,
    "log-mel": _log_mel,
}
_TARGETS = ("inception", "dinov2", "log-mel")


def extractor(spec: str, setting: Setting) -> Extractor:
    """The extractor that `spec` names.

    Raises:
        UnknownName: no such extractor. SpaceError: not for this space. DataError, MissingExtra: no weights.
    """
    if spec.endswith("-cnn"):
        return _classifier(setting, spec.removesuffix("-cnn"))
    name, colon, target = spec.partition(":")
    if name not in EXTRACTORS:
        raise UnknownName(f"no features {spec!r}{suggestion(name, [*EXTRACTORS, 'NAME-cnn'])}")
    if colon and name not in _TARGETS:
        raise OptionError(f"features {name} take nothing after a colon; received {spec!r}")
    return EXTRACTORS[name](setting, target)
