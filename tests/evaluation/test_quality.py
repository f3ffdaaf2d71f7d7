"""Distances are at the floor for samples of the truth, far from it for others, and their errors are honest."""

import math

import pytest
import torch

from creo.divergences.kernels import Gaussian
from creo.divergences.mmd import mmd2
from creo.evaluation.judging import reference_of
from creo.evaluation.multiscale import mmd2_error, witness
from creo.model import seeded
from creo.spaces import Continuous


@pytest.fixture(scope="module")
def reference(plane):
    return reference_of(plane.test, plane.space)


def values(reference, samples):
    return {v.name: v for v in reference.judge(samples)}


def test_samples_of_the_truth_are_at_the_floor(reference):
    with seeded(5):
        found = values(reference, torch.randn(400, 2))
    assert abs(found["MMD2"].value) < 4 * found["MMD2"].stderr
    assert abs(found["C2ST"].value - 0.5) < 4 * found["C2ST"].stderr
    assert found["precision"].value > 0.9
    assert found["recall"].value > 0.9
    floor = reference.floor
    assert abs(floor["MMD2"].value) < 4 * floor["MMD2"].stderr
    assert abs(floor["C2ST"].value - 0.5) < 4 * floor["C2ST"].stderr


@pytest.mark.parametrize(("mean", "scale"), [(1.0, 1.0), (0.0, 2.5)])
def test_shifted_and_stretched_samples_are_far(reference, mean, scale):
    with seeded(6):
        found = values(reference, mean + scale * torch.randn(400, 2))
    assert found["MMD2"].value > 6 * found["MMD2"].stderr
    assert found["C2ST"].value > 0.5 + 4 * found["C2ST"].stderr
    assert found["MMD2"] > reference.floor["MMD2"]
    # Gaussians: |m|^2 + d (1 - s)^2, plus what a finite sample adds
    assert found["FD"].value == pytest.approx(2 * mean**2 + 2 * (1 - scale) ** 2, rel=0.25)
    assert found["FD"] > reference.floor["FD"]
    assert reference.floor["precision"].better_than(found["precision"])


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_error_of_mmd_is_its_spread(shift):
    """Over fresh pairs of samples; under equality the first-order error is on the safe side."""
    kernel, found, errors = Gaussian(1.5), [], []
    with seeded(2):
        for _ in range(120):
            x, y = torch.randn(60, 2) + shift, torch.randn(80, 2)
            found.append(float(mmd2(x, y, kernel=kernel)))
            errors.append(mmd2_error(kernel, x, y))
    spread, error = torch.tensor(found).std().item(), sum(errors) / len(errors)
    # the spread of 120 draws has a relative error of 1/sqrt(240) = 6.5 %
    low, high = (0.8, 1.3) if shift else (0.9, 3.0)
    assert low * spread < error < high * spread


def test_the_witness_averages_to_mmd():
    """mean w(x) - mean w(y) is the biased MMD^2."""
    with seeded(3):
        x, y = torch.randn(30, 2), torch.randn(20, 2) + 1
    kernel = Gaussian(1.0)
    difference = witness(kernel, x, x, y, block=7).mean() - witness(kernel, y, x, y).mean()
    assert difference.item() == pytest.approx(float(mmd2(x, y, kernel=kernel, estimator="biased")), rel=1e-5)


def test_the_kernel_depends_on_the_reference_alone(reference):
    median = float(torch.nn.functional.pdist(reference.features.double()).median())
    assert reference.kernel.bandwidths == pytest.approx(
        [median * s for s in (1 / 8, 1 / 4, 1 / 2, 1, 2)], rel=1e-6
    )
    x, y = torch.zeros(1, 2), torch.ones(1, 2)
    exact = sum(math.exp(-2 / (2 * b**2)) for b in reference.kernel.bandwidths) / 5
    assert float(reference.kernel(x, y)) == pytest.approx(exact, rel=1e-6)
    assert float(reference.kernel.pairs(x, y)) == pytest.approx(exact, rel=1e-6)


def test_thin_structures_are_seen():
    """A Gaussian with the moments of a thin ring is told from it."""
    with seeded(8):
        angle = 2 * math.pi * torch.rand(900)
        ring = torch.stack([angle.cos(), angle.sin()], 1)
        blob = torch.randn(300, 2) / 2**0.5
    found = values(reference_of(ring[:300], Continuous((2,)), train=ring[300:]), blob)
    assert found["MMD2"].value > 6 * found["MMD2"].stderr
    assert found["C2ST"].value > 0.5 + 8 * found["C2ST"].stderr
    assert found["precision"].value < 0.3


def test_values_of_another_extractor_do_not_compare(plane, reference):
    other = reference_of(plane.test, plane.space, train=plane.train.x * 2)
    with seeded(0):
        x = torch.randn(400, 2)
    with pytest.raises(Exception, match="key"):
        reference.judge(x)[0].check_comparable(other.judge(x)[0])


def test_samples_that_are_not_numbers_become_a_row(reference):
    rows = reference.judge(torch.full((400, 2), math.nan))
    assert all(r.missing and "NaN" in r.note for r in rows)
