"""A model that repeats its training data is found out; one that does not is not accused."""

import pytest
import torch

from creo.evaluation.judging import reference_of
from creo.evaluation.memorisation import memorisation, nearest
from creo.model import seeded


def test_nearest_by_brute_force():
    torch.manual_seed(0)
    a, b = torch.randn(50, 3), torch.randn(70, 3)
    distance, index = nearest(a, b, block=8)
    exact = (a[:, None] - b).norm(dim=2)
    torch.testing.assert_close(distance, exact.min(1).values, atol=1e-5, rtol=1e-4)
    assert torch.equal(index, exact.argmin(1))


def test_copies_are_found(plane):
    reference = reference_of(plane.test, plane.space)
    copied = memorisation(plane.train.x[:100], reference)
    ratio, copies = copied.values
    assert ratio.value < 0.01
    assert copies.value == 1.0
    assert torch.equal(copied.samples, copied.neighbours)


def test_new_samples_are_not_copies(plane):
    reference = reference_of(plane.test, plane.space)
    with seeded(9):
        ratio, copies = memorisation(torch.randn(400, 2), reference).values
    assert ratio.value == pytest.approx(1.0, abs=0.25)
    assert copies.value == 0.0


def test_half_copies(pictures):
    """On pixels: half of the samples are copies, the other half is one pixel away from every training picture."""
    reference = reference_of(pictures.test, pictures.space)
    train = pictures.train.x
    known = {tuple(r) for r in train.flatten(1).tolist()}
    new = torch.tensor([[3, 0, 0] * 3], dtype=torch.uint8).reshape(1, 1, 3, 3)
    assert tuple(new.flatten().tolist()) not in known
    samples = torch.cat([train[:40], new.expand(40, 1, 3, 3)])
    found = memorisation(samples, reference, pairs=4)
    assert found.values[1].value == 0.5
    assert len(found.samples) == 4
