"""Two-sample tests against Bayes accuracies, enumeration, SciPy, and their level under the null by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, norm

from creo.divergences.two_sample import bonferroni, classifier_two_sample_test, holm, ks_marginals
from creo.errors import DataError, OptionError, SpaceError, UnknownName


def test_accuracy_and_auc_are_bayes_for_shifted_gaussians():
    """N(a, I) against N(0, I): accuracy Phi(|a|/2), area under the curve Phi(|a|/sqrt 2)."""
    torch.manual_seed(0)
    n = 4000
    x, y = torch.randn(n, 2) + torch.tensor([1.0, 0.0]), torch.randn(n, 2)
    got = classifier_two_sample_test(x, y)
    assert got.accuracy == pytest.approx(norm.cdf(0.5), abs=4 * math.sqrt(0.25 / (2 * n)))
    assert got.auc == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.025)
    assert got.p_value < 1e-12
    assert (got.n, got.m, got.classifier, got.folds) == (n, n, "logistic", 5)


def test_unequal_sizes_do_not_fake_accuracy():
    torch.manual_seed(1)
    got = classifier_two_sample_test(torch.randn(900, 2), torch.randn(100, 2))
    assert got.accuracy == pytest.approx(0.5, abs=0.09)
    assert got.p_value > 0.01


def test_unequal_sizes_do_not_hide_a_difference():
    """Balanced accuracy Phi(1/2) whatever the sizes; always answering the larger sample would give 1/2."""
    torch.manual_seed(9)
    got = classifier_two_sample_test(torch.randn(4000, 1) + 1, torch.randn(400, 1))
    assert got.accuracy == pytest.approx(norm.cdf(0.5), abs=4 * math.sqrt(0.25 * (1 / 4000 + 1 / 400) / 4))


def test_mlp_sees_what_a_linear_classifier_cannot():
    """Equal means and covariances, different radius: only a nonlinear classifier can tell."""
    torch.manual_seed(2)
    angle = torch.rand(600) * 2 * math.pi
    ring = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    normal = torch.randn(600, 2)
    assert classifier_two_sample_test(ring, normal, classifier="mlp").p_value < 1e-4
    assert classifier_two_sample_test(ring, normal).accuracy < 0.56


@pytest.mark.parametrize(("folds", "n", "m", "d"), [(2, 20, 30, 1), (4, 40, 40, 4)])
def test_corrected_p_value_keeps_its_level(folds, n, m, d):
    """At most 5 % rejections under the null, beyond sampling error (100 runs: standard error 2.2 %)."""
    torch.manual_seed(3)
    runs = 100
    p = [
        classifier_two_sample_test(torch.randn(n, d), torch.randn(m, d), folds=folds, seed=s).p_value
        for s in range(runs)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_permutation_p_value_is_calibrated():
    """Few permutations give an exact level on their grid: P(p <= 1/4) = 1/4 with 3 permutations and no ties."""
    torch.manual_seed(4)
    runs = 50
    p = [
        classifier_two_sample_test(
            torch.randn(31, 2), torch.randn(33, 2), folds=2, permutations=3, seed=s
        ).p_value
        for s in range(runs)
    ]
    share = np.mean(np.array(p) <= 0.25)
    assert set(p) <= {0.25, 0.5, 0.75, 1.0}
    assert share <= 0.25 + 3 * math.sqrt(0.25 * 0.75 / runs)
    shifted = classifier_two_sample_test(
        torch.randn(40, 2) + 1.5, torch.randn(40, 2), folds=2, permutations=19
    )
    assert shifted.p_value == 0.05


def test_classifier_test_is_deterministic_and_touches_no_generator():
    torch.manual_seed(5)
    x, y = torch.randn(60, 3), torch.randn(50, 3)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert classifier_two_sample_test(x, y, classifier="mlp", seed=1) == classifier_two_sample_test(
        x, y, classifier="mlp", seed=1
    )
    assert bool((torch.random.get_rng_state() == states[0]).all())
    assert bool((np.random.get_state()[1] == states[1]).all())


def test_a_classifier_of_ones_own():
    from sklearn.neighbors import KNeighborsClassifier

    torch.manual_seed(6)
    got = classifier_two_sample_test(
        torch.randn(80, 2) + 3, torch.randn(80, 2), classifier=lambda seed: KNeighborsClassifier(5), folds=3
    )
    assert got.classifier == "KNeighborsClassifier"
    assert got.accuracy > 0.9


def test_constant_features_are_no_evidence():
    got = classifier_two_sample_test(torch.ones(20, 2), torch.ones(30, 2))
    assert got.accuracy == pytest.approx(0.5)
    assert got.p_value >= 0.5


def test_corrections_by_hand():
    p = torch.tensor([0.01, 0.04, 0.03, 0.005], dtype=torch.float64)
    torch.testing.assert_close(bonferroni(p), torch.tensor([0.04, 0.16, 0.12, 0.02], dtype=torch.float64))
    torch.testing.assert_close(holm(p), torch.tensor([0.03, 0.06, 0.06, 0.02], dtype=torch.float64))
    torch.testing.assert_close(holm(torch.tensor([0.9, 0.8])), torch.tensor([1.0, 1.0]))


def test_ks_marginals_are_scipys_and_name_the_column():
    torch.manual_seed(7)
    x, y = torch.randn(80, 3), torch.randn(70, 3)
    y[:, 1] += 1.2
    got = ks_marginals(x, y)
    want = [ks_2samp(x[:, j].double().numpy(), y[:, j].double().numpy()) for j in range(3)]
    np.testing.assert_allclose(got.statistic, [w.statistic for w in want])
    np.testing.assert_allclose(got.raw, [w.pvalue for w in want])
    assert (got.corrected < 0.05).tolist() == [False, True, False]
    assert got.p_value == float(got.corrected.min()) < 1e-6
    strict = ks_marginals(x, y, correction="bonferroni")
    assert bool((strict.corrected >= got.corrected).all())


@pytest.mark.parametrize("correction", ["holm", "bonferroni"])
def test_ks_family_wise_level(correction):
    """Any false rejection over 5 columns at most 5 %; near it for independent columns (300 runs: +- 1.3 %)."""
    torch.manual_seed(8)
    runs = 300
    p = [
        ks_marginals(torch.randn(40, 5), torch.randn(50, 5), correction=correction).p_value
        for _ in range(runs)
    ]
    rejected = np.mean(np.array(p) <= 0.05)
    assert 0.005 < rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("call", [classifier_two_sample_test, ks_marginals])
def test_bad_samples_are_one_clear_error(call):
    good = torch.randn(8, 2)
    for bad, error, message in [
        (torch.full((8, 2), math.nan), DataError, "y has 16 NaN"),
        (torch.zeros(1, 2), DataError, "too few rows"),
        (torch.zeros(0, 2), DataError, "y is empty"),
        (torch.zeros(8, 3), SpaceError, "received 2 and 3"),
    ]:
        with pytest.raises(error, match=message):
            call(good, bad)


def test_bad_options_are_one_clear_error():
    x = torch.randn(8, 2)
    with pytest.raises(UnknownName, match="did you mean 'logistic'"):
        classifier_two_sample_test(x, x, classifier="logistc")
    with pytest.raises(OptionError, match="folds must be at least 2"):
        classifier_two_sample_test(x, x, folds=1)
    with pytest.raises(DataError, match="at least 10 are needed; received 8"):
        classifier_two_sample_test(x, x, folds=10)
    with pytest.raises(UnknownName, match="did you mean 'holm'"):
        ks_marginals(x, x, correction="hom")
