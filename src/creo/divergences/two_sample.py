r"""Two-sample tests: could x and y have come from one distribution?

**Classifier test (C2ST).** Train a classifier to tell x from y and look at its accuracy on rows it has not seen:
1/2 means indistinguishable (to this classifier), 1 means disjoint. Cross-fitting over K folds lets every row be
tested once. Accuracy is the balanced one, (true x rate + true y rate) / 2, so unequal sizes do not matter; with x
and y equal in law and a share r of rows called "x", its binomial variance is r (1 - r) (1/n + 1/m) / 4.

Fold accuracies are not independent (what one fold learns from, another is tested on), so the plain binomial
p-value of a cross-fitted accuracy rejects too often. Two p-values are offered:

- by default the normal approximation with the binomial variance times 1 + K / (K - 1), the correction of Nadeau and
  Bengio (2003) for overlapping training sets: cheap, approximate, on the safe side;
- with `permutations=P`, labels are permuted and everything is refitted P times: exact at every size, P times slower.

**Kolmogorov-Smirnov per marginal.** One KS test per column, p-values corrected for the number of columns: Bonferroni,
p_j d, or Holm's step-down, which is never less powerful. Both bound the probability of any false rejection under
every dependence between columns. It does not see differences that are in the dependence alone.

Sources: Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545 (C2ST); Nadeau and Bengio 2003, Machine Learning
52, 239-281; Holm 1979, Scand. J. Statistics 6, 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.divergences.samples import check_samples
from creo.errors import OptionError, UnknownName, suggestion

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ClassifierTest:
    """Outcome of `classifier_two_sample_test`.

    `accuracy` is balanced and held out (0.5: indistinguishable); `auc` is the mean over folds of the area under the
    ROC curve; `p_value` is one-sided (large accuracy rejects); `n` and `m` are the samples' sizes.
    """

    accuracy: float
    auc: float
    p_value: float
    n: int
    m: int
    classifier: str
    folds: int


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _mlp(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((64, 64), early_stopping=True, max_iter=200, random_state=seed)


CLASSIFIERS: dict[str, Callable[[int], Any]] = {"logistic": _logistic, "mlp": _mlp}


def _held_out_scores(
    make: Callable[[int], Any], z: np.ndarray, label: np.ndarray, folds: int, seed: int
) -> tuple[np.ndarray, float]:
    """P(row is from x) for every row from the fold that did not see it, and the mean AUC over folds."""
    import numpy as np
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores, areas = np.empty(len(z)), []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(z, label):
        classifier = make_pipeline(StandardScaler(), make(seed)).fit(z[train], label[train])
        scores[test] = classifier.predict_proba(z[test])[:, 1]
        areas.append(roc_auc_score(label[test], scores[test]))
    return scores, float(np.mean(areas))


def _balanced_accuracy(scores: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Balanced accuracy and the share of rows called x; a score at the threshold counts as half."""
    import numpy as np

    called_x = 0.5 + 0.5 * np.sign(scores - label.mean())
    true_x, false_x = called_x[label == 1].mean(), called_x[label == 0].mean()
    return float(true_x + 1 - false_x) / 2, float(called_x.mean())


def _normal_p_value(accuracy: float, share: float, n: int, m: int, folds: int) -> float:
    variance = share * (1 - share) * (1 / n + 1 / m) / 4 * (1 + folds / (folds - 1))
    z = (accuracy - 0.5) / math.sqrt(variance) if variance > 0 else 0.0
    return 0.5 * math.erfc(z / math.sqrt(2))


def _permutation_p_value(
    make: Callable[[int], Any],
    z: np.ndarray,
    label: np.ndarray,
    folds: int,
    seed: int,
    permutations: int,
    given: float,
) -> float:
    import numpy as np

    random, larger = np.random.default_rng(seed), 0
    for _ in range(permutations):
        shuffled = random.permutation(label)
        scores, _ = _held_out_scores(make, z, shuffled, folds, seed)
        larger += _balanced_accuracy(scores, shuffled)[0] >= given - 1e-12
    return (1 + larger) / (1 + permutations)


def classifier_two_sample_test(
    x: Tensor,
    y: Tensor,
    *,
    classifier: str | Callable[[int], Any] = "logistic",
    folds: int = 5,
    permutations: int = 0,
    seed: int = 0,
) -> ClassifierTest:
    """Test p = q by how well a cross-fitted classifier tells x from y.

    Args:
        x: (n, d) sample of p.
        y: (m, d) sample of q.
        classifier: `logistic`, `mlp` (two layers of 64), or a function from a seed to an unfitted scikit-learn
            classifier with `predict_proba`. Features are standardised on each training fold.
        folds: how many parts, at least 2; each is scored by a classifier trained on the others.
        permutations: 0 for the corrected normal p-value, else how many refits the exact p-value may cost.
        seed: seeds the folds, the classifier and the permutations; torch's and numpy's generators are not touched.

    Raises:
        SpaceError, DataError: see `creo.divergences.samples.check_samples`; each sample needs `folds` rows.
        OptionError, UnknownName: for bad options.
    """
    if folds < 2 or permutations < 0:
        raise OptionError(
            f"folds must be at least 2 and permutations at least 0; received {folds}, {permutations}"
        )
    x, y = check_samples(x, y, least=folds)
    if isinstance(classifier, str) and classifier not in CLASSIFIERS:
        raise UnknownName(f"unknown classifier {classifier!r}{suggestion(classifier, CLASSIFIERS)}")
    make = CLASSIFIERS[classifier] if isinstance(classifier, str) else classifier
    z = torch.cat([x, y]).detach().double().cpu().numpy()
    label = torch.cat([torch.ones(len(x)), torch.zeros(len(y))]).numpy()
    scores, auc = _held_out_scores(make, z, label, folds, seed)
    accuracy, share = _balanced_accuracy(scores, label)
    p_value = (
        _permutation_p_value(make, z, label, folds, seed, permutations, accuracy)
        if permutations
        else _normal_p_value(accuracy, share, len(x), len(y), folds)
    )
    name = classifier if isinstance(classifier, str) else type(make(seed)).__name__
    return ClassifierTest(accuracy, auc, p_value, len(x), len(y), name, folds)


def bonferroni(p_values: Tensor) -> Tensor:
    """Adjusted p-values min(1, p_j d) of (d,) p-values."""
    return (p_values * len(p_values)).clamp_max(1)


def holm(p_values: Tensor) -> Tensor:
    """Holm's adjusted p-values: the i-th smallest times (d - i + 1), made monotone, at most 1."""
    ordered, order = p_values.sort()
    factors = torch.arange(len(p_values), 0, -1, dtype=p_values.dtype)
    adjusted = (ordered * factors).cummax(0).values.clamp_max(1)
    return torch.empty_like(adjusted).scatter_(0, order, adjusted)


CORRECTIONS: dict[str, Callable[[Tensor], Tensor]] = {"holm": holm, "bonferroni": bonferroni}


@dataclass(frozen=True)
class MarginalTest:
    """Outcome of `ks_marginals`: (d,) float64 KS statistics, raw and corrected p-values, and the smallest of these.

    `p_value` below alpha rejects equality of all marginals; the columns whose `corrected` is below alpha differ.
    """

    statistic: Tensor
    raw: Tensor
    corrected: Tensor
    p_value: float
    correction: str
    n: int
    m: int


def ks_marginals(x: Tensor, y: Tensor, *, correction: str = "holm") -> MarginalTest:
    """Two-sided Kolmogorov-Smirnov test of every column, corrected for their number.

    Args:
        x: (n, d) sample of p.
        y: (m, d) sample of q.
        correction: `holm` or `bonferroni`.

    Raises:
        SpaceError, DataError: see `creo.divergences.samples.check_samples`.
        UnknownName: for an unknown correction.
    """
    from scipy.stats import ks_2samp

    if correction not in CORRECTIONS:
        raise UnknownName(f"unknown correction {correction!r}{suggestion(str(correction), CORRECTIONS)}")
    x, y = check_samples(x, y)
    columns = zip(x.detach().double().cpu().numpy().T, y.detach().double().cpu().numpy().T, strict=True)
    tests = [ks_2samp(a, b) for a, b in columns]
    statistic = torch.tensor([float(t.statistic) for t in tests], dtype=torch.float64)
    raw = torch.tensor([float(t.pvalue) for t in tests], dtype=torch.float64)
    corrected = CORRECTIONS[correction](raw)
    return MarginalTest(statistic, raw, corrected, float(corrected.min()), correction, len(x), len(y))
