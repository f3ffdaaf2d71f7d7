"""MMD against its definition in double loops, closed forms, SciPy's energy distance, and simulation of its test."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance

from creo.divergences.kernels import median_distance
from creo.divergences.mmd import (
    ESTIMATORS,
    Energy,
    Gaussian,
    Kernel,
    Polynomial,
    RationalQuadratic,
    kid,
    mmd2,
    mmd_test,
)
from creo.errors import DataError, OptionError, SpaceError, UnknownName

# Each kernel beside its formula in plain Python.
KERNELS = {
    "gaussian": (Gaussian(1.3), lambda x, y: math.exp(-((x - y) @ (x - y)) / (2 * 1.3**2))),
    "rational": (
        RationalQuadratic((0.5, 2.0), 0.8),
        lambda x, y: sum((1 + ((x - y) @ (x - y)) / (2 * a * 0.8**2)) ** -a for a in (0.5, 2.0)),
    ),
    "polynomial": (Polynomial(), lambda x, y: (x @ y / len(x) + 1) ** 3),
    "quadratic": (Polynomial(2, 0.5, 0.7), lambda x, y: (0.7 * (x @ y) + 0.5) ** 2),
    "energy": (Energy(), lambda x, y: -math.sqrt((x - y) @ (x - y))),
}
each = pytest.mark.parametrize("name", KERNELS)


@pytest.fixture
def samples():
    torch.manual_seed(0)
    return torch.randn(13, 3, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64) * 1.5 + 0.4


def naive(x, y, k):
    """The three estimators by their definitions."""
    x, y, n, m = x.numpy(), y.numpy(), len(x), len(y)
    cross = sum(k(a, b) for a in x for b in y) / (n * m)
    distinct = [2 * sum(k(a, b) for a, b in itertools.combinations(z, 2)) for z in (x, y)]
    diagonal = [sum(k(a, a) for a in z) for z in (x, y)]
    pairs = range(0, min(n, m) // 2 * 2, 2)
    h = [k(x[i], x[i + 1]) + k(y[i], y[i + 1]) - k(x[i], y[i + 1]) - k(x[i + 1], y[i]) for i in pairs]
    return {
        "unbiased": distinct[0] / (n * (n - 1)) + distinct[1] / (m * (m - 1)) - 2 * cross,
        "biased": (distinct[0] + diagonal[0]) / n**2 + (distinct[1] + diagonal[1]) / m**2 - 2 * cross,
        "linear": sum(h) / len(h),
    }


@each
@pytest.mark.parametrize("block", [1, 4, 100])
def test_estimators_are_their_definitions_at_every_block(samples, name, block):
    kernel, formula = KERNELS[name]
    for estimator, want in naive(*samples, formula).items():
        got = mmd2(*samples, kernel=kernel, estimator=estimator, block=block)
        assert float(got) == pytest.approx(want, rel=1e-10, abs=1e-11), estimator


@each
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("block", [4, 100])
def test_gradients_are_finite_differences(samples, name, estimator, block):
    x, y = (s.requires_grad_() for s in samples)
    kernel = KERNELS[name][0]
    value = lambda x, y: mmd2(x, y, kernel=kernel, estimator=estimator, block=block)
    assert torch.autograd.gradcheck(value, (x[:6], y[:5]))


def test_gradient_is_finite_where_points_coincide():
    x = torch.zeros(4, 2, requires_grad=True)
    for kernel in (Energy(), Gaussian(1.0), Polynomial(), RationalQuadratic()):
        (gradient,) = torch.autograd.grad(mmd2(x, torch.zeros(3, 2), kernel=kernel, estimator="biased"), x)
        assert bool(gradient.isfinite().all()), kernel


def test_unbiased_gaussian_mmd_is_the_closed_form():
    """p = N(0, I), q = N(a, I), kernel width s: MMD^2 = 2 (s^2/(s^2 + 2))^(d/2) (1 - exp(-|a|^2 / (2 (s^2 + 2))))."""
    d, s, runs = 2, 1.5, 200
    torch.manual_seed(1)
    shift = torch.tensor([0.6, -0.3], dtype=torch.float64)
    want = 2 * (s**2 / (s**2 + 2)) ** (d / 2) * (1 - math.exp(-float(shift @ shift) / (2 * (s**2 + 2))))
    values = [
        mmd2(torch.randn(60, d).double(), torch.randn(80, d).double() + shift, kernel=Gaussian(s))
        for _ in range(runs)
    ]
    values = torch.stack(values)
    assert float(values.mean()) == pytest.approx(want, abs=4 * float(values.std()) / math.sqrt(runs))


def test_biased_energy_mmd_is_scipys_energy_distance():
    torch.manual_seed(2)
    x, y = torch.randn(50, 1, dtype=torch.float64), torch.rand(40, 1, dtype=torch.float64)
    got = mmd2(x, y, kernel=Energy(), estimator="biased", block=17)
    assert float(got) == pytest.approx(energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2, rel=1e-10)


def test_median_heuristic_is_the_median_and_ignores_the_order(samples):
    x, y = samples
    pool = torch.cat([x, y]).numpy()
    distances = sorted(np.linalg.norm(a - b) for a, b in itertools.combinations(pool, 2))
    assert median_distance(x, y) == pytest.approx(distances[(len(distances) - 1) // 2])
    torch.manual_seed(3)
    big = torch.randn(3000, 2)
    shuffled = big[torch.randperm(3000)]
    assert median_distance(big[:1000], big[1000:]) == median_distance(shuffled[:1500], shuffled[1500:])
    # |x - x'|^2 of standard normal pairs in the plane is 2 chi^2_2, median 4 log 2
    assert median_distance(big[:1000], big[1000:]) == pytest.approx(2 * math.sqrt(math.log(2)), rel=0.03)
    assert float(mmd2(x, y)) == float(mmd2(x, y, kernel=Gaussian(median_distance(x, y))))


def test_names_choose_the_default_kernels(samples):
    assert float(mmd2(*samples, kernel="polynomial")) == float(mmd2(*samples, kernel=Polynomial()))
    assert float(mmd2(*samples, kernel="rational-quadratic")) == float(
        mmd2(*samples, kernel=RationalQuadratic())
    )


class _Recorder(Kernel):
    """A kernel that notes the largest Gram matrix it was asked for."""

    def __init__(self):
        self.largest = 0

    def __call__(self, x, y):
        self.largest = max(self.largest, len(x) * len(y))
        return Gaussian(1.0)(x, y)


@pytest.mark.parametrize("grad", [False, True])
def test_blocks_bound_the_memory(grad):
    """No Gram matrix exceeds block x block, and with gradients no tile survives into the backward pass."""
    torch.manual_seed(4)
    x, y, kernel, saved = torch.randn(300, 2, requires_grad=grad), torch.randn(200, 2), _Recorder(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        value = mmd2(x, y, kernel=kernel, block=64)
    assert kernel.largest == 64 * 64
    assert max(saved, default=0) < 64 * 64
    if grad:
        value.backward()
        full = x.detach().clone().requires_grad_()
        mmd2(full, y, kernel=Gaussian(1.0)).backward()
        torch.testing.assert_close(x.grad, full.grad, rtol=1e-4, atol=1e-9)


def test_single_precision_agrees_with_double_on_wide_features():
    torch.manual_seed(5)
    x, y = torch.randn(200, 512) + 3, torch.randn(200, 512) + 3.05
    for kernel in ("gaussian", "polynomial", "energy"):
        exact = float(mmd2(x.double(), y.double(), kernel=kernel))
        scale = float(mmd2(x.double(), y.double(), kernel=kernel, estimator="biased")) + abs(exact)
        assert float(mmd2(x, y, kernel=kernel)) == pytest.approx(exact, abs=1e-3 * scale), kernel
        assert mmd2(x, y, kernel=kernel).dtype == torch.float32


def test_kid_is_the_mean_over_its_subsets():
    torch.manual_seed(6)
    x, y = torch.randn(40, 4, dtype=torch.float64), torch.randn(30, 4, dtype=torch.float64) + 0.3
    got = kid(x, y, subsets=7, subset_size=10, seed=5)
    generator = torch.Generator().manual_seed(5)
    values = []
    for _ in range(7):
        a, b = (torch.randperm(n, generator=generator)[:10] for n in (40, 30))
        values.append(naive(x[a], y[b], KERNELS["polynomial"][1])["unbiased"])
    assert got.value == pytest.approx(np.mean(values))
    assert got.subset_std == pytest.approx(np.std(values, ddof=1))
    assert (got.subsets, got.subset_size, got.n, got.m) == (7, 10, 40, 30)
    assert got == kid(x, y, subsets=7, subset_size=10, seed=5)
    assert kid(x, y).subset_size == 15


def test_kid_standard_error_is_calibrated_and_the_naive_one_is_not():
    """Spread of KID over 120 fresh pairs of samples against the reported error (relative error of a spread 6.5 %)."""
    torch.manual_seed(7)
    runs = [
        kid(torch.randn(150, 3), torch.randn(150, 3) * 1.2 + 0.5, subsets=50, subset_size=40)
        for _ in range(120)
    ]
    spread = float(torch.tensor([r.value for r in runs]).std())
    reported = float(torch.tensor([r.standard_error for r in runs]).mean())
    assert spread / reported == pytest.approx(1, abs=0.3)
    assert spread > 2 * float(np.mean([r.subset_std for r in runs])) / math.sqrt(50)


def test_kid_leaves_the_global_generator_alone_when_seeded():
    x, y = torch.randn(20, 2), torch.randn(20, 2)
    before = torch.random.get_rng_state()
    kid(x, y, seed=0)
    mmd_test(x, y, permutations=5, seed=0)
    assert bool((torch.random.get_rng_state() == before).all())


def test_permuted_statistic_is_the_mmd_of_the_relabelled_samples(samples):
    """p-value from an explicit loop of mmd2 over the same permutations."""
    x, y = samples
    got = mmd_test(x, y, kernel=Gaussian(1.3), permutations=99, seed=3, block=5)
    generator = torch.Generator().manual_seed(3)
    pool, given = torch.cat([x, y]), torch.arange(len(x) + len(y)) < len(x)
    count = 0
    for _ in range(99):
        label = given[torch.randperm(len(pool), generator=generator)]
        count += float(mmd2(pool[label], pool[~label], kernel=Gaussian(1.3))) >= got.statistic - 1e-12
    assert got.p_value == (1 + count) / 100
    assert got.statistic == pytest.approx(float(mmd2(x, y, kernel=Gaussian(1.3))), rel=1e-10)


@pytest.mark.parametrize("kernel", ["gaussian", "energy"])
def test_permutation_test_has_level_five_percent_and_power(kernel):
    """Under p = q the rejections at 5 % are binomial; 99 permutations make the level exact. Unequal sizes, d = 2."""
    torch.manual_seed(8)
    runs, rejected, found = 400, 0, 0
    for _ in range(runs):
        x, y = torch.randn(15, 2), torch.randn(10, 2)
        rejected += mmd_test(x, y, kernel=kernel, permutations=99).p_value <= 0.05
    for _ in range(40):
        found += (
            mmd_test(torch.randn(30, 2), torch.randn(30, 2) + 1, kernel=kernel, permutations=99).p_value
            <= 0.05
        )
    assert rejected / runs == pytest.approx(0.05, abs=3.3 * math.sqrt(0.05 * 0.95 / runs))
    assert found >= 34


@pytest.mark.parametrize("seed", range(6))
def test_ties_count_as_equal_in_spite_of_rounding(seed):
    """On 0/1 data the statistic depends only on the number of ones in x: p by exact integer arithmetic."""
    n, m = 7, 6
    torch.manual_seed(seed)
    pool = (torch.rand(n + m, 1) < 0.5).double() * 0.1 + 0.3
    got = mmd_test(pool[:n], pool[n:], kernel=Energy(), permutations=200, seed=seed, block=4)
    ones = (pool[:, 0] > 0.35).long()
    total = int(ones.sum())

    def scaled(k):
        """The energy statistic times n m n (n-1) m (m-1) / 0.2, for k ones in x."""
        cross, within = k * (m - total + k) + (n - k) * (total - k), k * (n - k)
        other = (total - k) * (m - total + k)
        return cross * (n - 1) * (m - 1) - within * m * (m - 1) - other * n * (n - 1)

    generator, count = torch.Generator().manual_seed(seed), 0
    for _ in range(200):
        label = (torch.arange(n + m) < n)[torch.randperm(n + m, generator=generator)]
        count += scaled(int(ones[label].sum())) >= scaled(int(ones[:n].sum()))
    assert got.p_value == (1 + count) / 201


BAD = [
    (
        torch.tensor([[1.0], [math.nan], [0.0], [2.0]]),
        torch.zeros(4, 1),
        DataError,
        "x has 1 NaN or infinite features.*row 1, column 0",
    ),
    (torch.zeros(4, 1), torch.full((5, 1), math.inf), DataError, "y has 5 NaN or infinite"),
    (torch.zeros(1, 3), torch.zeros(4, 3), DataError, "x has too few rows.*received 1"),
    (torch.zeros(4, 3), torch.zeros(0, 3), DataError, "y is empty"),
    (torch.zeros(4, 3), torch.zeros(4, 2), SpaceError, "received 3 and 2"),
    (torch.zeros(4), torch.zeros(4), SpaceError, r"shape \(n, d\)"),
    (torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3), SpaceError, "floating-point"),
]


@pytest.mark.parametrize(("x", "y", "error", "message"), BAD, ids=[b[3][:20] for b in BAD])
@pytest.mark.parametrize("call", [mmd2, kid, mmd_test])
def test_bad_samples_are_one_clear_error(call, x, y, error, message):
    with pytest.raises(error, match=message):
        call(x, y)


def test_bad_options_are_one_clear_error():
    x, y = torch.randn(10, 2), torch.randn(12, 2)
    for call, error, message in [
        (lambda: mmd2(x, y, estimator="unbiasd"), UnknownName, "did you mean 'unbiased'"),
        (lambda: mmd2(x, y, kernel="rbf"), UnknownName, "known: gaussian"),
        (lambda: mmd2(x, y, block=0), OptionError, "block must be at least 1"),
        (lambda: mmd2(torch.zeros(5, 2), torch.zeros(5, 2)), DataError, "median distance is 0"),
        (lambda: Gaussian(-1.0), OptionError, "positive"),
        (lambda: RationalQuadratic(()), OptionError, "at least one"),
        (lambda: Gaussian()(x, y), OptionError, "fit"),
        (lambda: kid(x, y, subset_size=10), OptionError, r"2\.\.9"),
        (lambda: kid(x, y, subsets=1), OptionError, "subsets"),
        (lambda: mmd_test(x, y, permutations=0), OptionError, "permutations"),
    ]:
        with pytest.raises(error, match=message):
            call()
