r"""How far samples are from the data, for every model on every space, with or without a likelihood.

Distances between model samples and held-out data, both as features (`extractors.py`; standardised ones by default):

- **MMD2**: the unbiased squared maximum mean discrepancy, 0 iff the distributions are equal (kernel and error:
  `multiscale.py`).
- **C2ST**: the held-out accuracy of a classifier trained to tell samples from data; 0.5 means it cannot, 1 that it
  always can. The classifier averages a network (two layers of 64) and 15 nearest neighbours: the one sees what the
  other misses.

and the classical ones: **KID**, the unbiased MMD^2 with the kernel (<f, g>/d + 1)^3; **FD**, the Frechet distance
between Gaussians with the same moments (`frechet.py`; biased upwards by about c/n, so it compares at equal n only);
**precision** and **recall** (`prdc.py`, k = 5): how much of what the model draws is near data, and how much of the
data is near what it draws. An extractor that classifies adds **IS** (`score.py`); data whose modes are known add
**modes** and **high quality** (`modes.py`).

A finite training set differs from a finite test set too: `Reference.floor` is what the training data themselves
would score in the model's place. A model at the floor is as good as more data; below it lies only luck.

Sources: Gretton et al. 2012 (JMLR 13, 723-773); Lopez-Paz, Oquab 2017, https://arxiv.org/abs/1610.06545.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.errors import DataError
from creo.evaluation.features import Extractor
from creo.evaluation.value import Value, missing

if TYPE_CHECKING:
    from creo.divergences.kernels import Kernel
    from creo.evaluation.frechet import FrechetReference

NAMES = ("MMD2", "KID", "C2ST", "FD", "precision", "recall")
NEIGHBOURS = 5


def network_and_neighbours(seed: int) -> Any:
    """An unfitted classifier that averages the probabilities of a small network and of 15 nearest neighbours."""
    from sklearn.ensemble import VotingClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier((64, 64), alpha=0.1, max_iter=60, random_state=seed)
    return VotingClassifier([("network", network), ("neighbours", KNeighborsClassifier(15))], voting="soft")


@dataclass(frozen=True, eq=False)
class Reference:
    """Held-out data to judge samples by; build it once for several models, and it is computed once.

    Args:
        x: raw held-out samples, (n, *shape).
        extractor: raw samples to features.
        train: raw training samples, (N, *shape), for the floor and for nearest neighbours; None if unknown.
        split: what `x` is called.
        seed: seeds classifiers, folds and the choice of training samples for the floor.
        protocol: what identifies the data (name, content hash).
        near: the features in which nearest training neighbours are searched; by default the extractor's.
        density: what the data were drawn from, if known.
    """

    x: Tensor
    extractor: Extractor
    train: Tensor | None = None
    split: str = ""
    seed: int = 0
    protocol: Mapping[str, Any] = field(default_factory=dict)
    near: Extractor | None = None
    density: object = None

    @cached_property
    def features(self) -> Tensor:
        """(n, d) features of the held-out samples."""
        if not self.extractor.costly:
            return self.extractor(self.x)
        return self._kept("features", lambda: {"features": self.extractor(self.x)})["features"]

    def _kept(self, what: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What is computed from the held-out samples, kept on disk under their content and the whole protocol."""
        from creo.evaluation.kept import kept

        parts = [
            what,
            self.x,
            self.extractor.name,
            self.extractor.key,
            self.split,
            sorted(self.protocol.items()),
        ]
        return kept(f"reference-{what}", parts, compute)

    @cached_property
    def kernel(self) -> Kernel:
        """The mean of Gaussian kernels around the median distance within the held-out samples."""
        from creo.evaluation.multiscale import multiscale

        return multiscale(self.features)

    @cached_property
    def neighbourhood(self) -> Extractor:
        """The features in which neighbours are searched."""
        return self.extractor if self.near is None else self.near

    @cached_property
    def train_features(self) -> Tensor | None:
        """(N, d) features of the training samples, for the search of neighbours."""
        return None if self.train is None else self.neighbourhood(self.train)

    @cached_property
    def floor(self) -> dict[str, Value]:
        """What n training samples would score in the place of model samples; empty without training samples."""
        if self.train is None or len(self.train) < 2:
            return {}
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(self.train), generator=generator)[: len(self.x)]
        return {v.name: v for v in self.judge(self.train[rows])}

    @cached_property
    def moments(self) -> FrechetReference:
        """What Frechet distances are measured to."""
        from creo.evaluation.frechet import FrechetReference

        if not self.extractor.costly:
            return FrechetReference.of(self.features)
        found = self._kept("moments", lambda: FrechetReference.of(self.features).tensors())
        return FrechetReference(len(self.x), **found)

    def distances(self, features: Tensor) -> list[Value]:
        """The values named `NAMES` of sample features (m, d) against the held-out ones."""
        from creo.evaluation.prdc import prdc

        common = self._common(len(features))
        frechet = Value("FD", self.moments.distance(features), **common)
        found = prdc(self.features, features, k=NEIGHBOURS)
        shares = [("precision", found.precision, found.m), ("recall", found.recall, found.n)]
        return [self._mmd2(features), self._kid(features), self._c2st(features), frechet] + [
            Value(name, share, better="higher", stderr=math.sqrt(share * (1 - share) / n), **common)
            for name, share, n in shares
        ]

    def _common(self, m: int) -> dict[str, Any]:
        protocol = {"features": self.extractor.name, "key": self.extractor.key, "samples": m}
        return {
            "n": len(self.features),
            "split": self.split,
            "seed": self.seed,
            "protocol": {**self.protocol, **protocol},
        }

    def _mmd2(self, features: Tensor) -> Value:
        from creo.divergences.mmd import mmd2
        from creo.evaluation.multiscale import mmd2_error

        value = float(mmd2(features.double(), self.features.double(), kernel=self.kernel))
        error = mmd2_error(self.kernel, features, self.features)
        return Value("MMD2", value, stderr=error, **self._common(len(features)))

    def _kid(self, features: Tensor) -> Value:
        from creo.divergences.kernels import Polynomial
        from creo.divergences.mmd import mmd2
        from creo.evaluation.multiscale import mmd2_error

        x, y = features.double(), self.features.double()
        error = mmd2_error(Polynomial(), x, y)
        return Value("KID", float(mmd2(x, y, kernel=Polynomial())), stderr=error, **self._common(len(x)))

    def _c2st(self, features: Tensor) -> Value:
        from sklearn.exceptions import ConvergenceWarning

        from creo.divergences.two_sample import classifier_two_sample_test

        with warnings.catch_warnings():  # the network stops after 60 passes by design
            warnings.simplefilter("ignore", ConvergenceWarning)
            test = classifier_two_sample_test(
                features, self.features, classifier=network_and_neighbours, seed=self.seed
            )
        error = math.sqrt(test.accuracy * (1 - test.accuracy) * (1 / test.n + 1 / test.m)) / 2
        return Value(
            "C2ST",
            test.accuracy,
            stderr=error,
            note=f"AUC {test.auc:.3f}, p {test.p_value:.2g}",
            **self._common(len(features)),
        )

    def judge(self, samples: Tensor) -> list[Value]:
        """Distances of raw samples (m, *shape); rows without a number, and why, if they cannot be judged."""
        try:
            return self.distances(self.extractor(samples)) + self._further(samples)
        except DataError as error:
            return [missing(name, str(error), **self._common(len(samples))) for name in NAMES]

    def _further(self, samples: Tensor) -> list[Value]:
        """What only some extractors and some data allow: a classifier's score, known modes."""
        from creo.evaluation.modes import HasModes, mode_values
        from creo.evaluation.score import Classifies, classifier_score

        found = []
        if isinstance(self.extractor, Classifies):
            score, error = classifier_score(self.extractor.probabilities(samples))
            found.append(Value("IS", score, better="higher", stderr=error, **self._common(len(samples))))
        if isinstance(self.density, HasModes):
            plain = {**self.protocol, "samples": len(samples)}
            common = {"n": len(samples), "split": self.split, "seed": self.seed, "protocol": plain}
            found += mode_values(samples, self.density, **common)
        return found
