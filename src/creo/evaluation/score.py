r"""The Inception-style score: does a classifier see something in every sample, and different things in different ones?

    IS = exp( 1/n sum_i KL( p(y | x_i) || p(y) ) ),      p(y) = 1/n sum_i p(y | x_i)

from 1 to the number of classes; larger is better.

The exponent is the mutual information of samples and labels. It sees neither fidelity to the data nor variety within
a class, and depends on the classifier, which is named with it; real data in the model's place say what is good. The
standard error is the delta method's: by the definition of p(y) the derivative through it vanishes, so every sample's
influence is its own KL.

Source: Salimans et al. 2016, https://arxiv.org/abs/1606.03498.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

from torch import Tensor

from creo.errors import DataError


@runtime_checkable
class Classifies(Protocol):
    """Extractors that also give p(y | x)."""

    def probabilities(self, x: Tensor) -> Tensor:
        """Raw data (B, *shape) to (B, classes)."""


def classifier_score(probabilities: Tensor) -> tuple[float, float]:
    """IS and its standard error from p(y | x_i), (n, classes).

    Raises:
        DataError: fewer than 2 samples, or probabilities that are not numbers.
    """
    if len(probabilities) < 2 or not probabilities.isfinite().all():
        raise DataError(
            f"the score needs finite probabilities of 2 samples; received {tuple(probabilities.shape)}"
        )
    p = probabilities.double()
    terms = (p.xlogy(p) - p.xlogy(p.mean(0))).sum(1)
    score = math.exp(float(terms.mean()))
    return score, score * float(terms.std()) / math.sqrt(len(terms))
