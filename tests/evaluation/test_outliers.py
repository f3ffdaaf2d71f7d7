"""Outlier detection against a counted AUROC, its error, and cases where the answer is known."""

import math

import pytest
import torch

from creo.errors import DataError, OptionError, SpaceError
from creo.evaluation.outliers import auroc, outlier_detection
from creo.model import seeded


def test_auroc_by_counting_pairs():
    a, b = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([2.0, 3.0, 6.0])
    wins = (b[:, None] > a).double() + 0.5 * (b[:, None] == a).double()
    assert auroc(a, b)[0] == pytest.approx(wins.mean().item())
    assert auroc(a, b)[0] + auroc(b, a)[0] == pytest.approx(1.0)
    from sklearn.metrics import roc_auc_score

    labels = [0] * 4 + [1] * 3
    assert auroc(a, b)[0] == pytest.approx(roc_auc_score(labels, torch.cat([a, b]).numpy()))


def test_auroc_of_gaussians_and_its_error():
    """P(b > a) = Phi(shift / sqrt 2)."""
    exact = 0.5 * (1 + math.erf(1.0 / 2))
    found, errors = [], []
    with seeded(0):
        for _ in range(200):
            value, error = auroc(torch.randn(100), torch.randn(150) + 1.0)
            found.append(value)
            errors.append(error)
    spread = torch.tensor(found).std().item()
    assert abs(sum(found) / 200 - exact) < 4 * spread / 200**0.5
    assert sum(errors) / 200 == pytest.approx(spread, rel=0.2)  # 200 draws know the spread to 5 %


def rows(values):
    return {v.protocol["score"]: v for v in values}


def test_far_points_are_found_and_typical_ones_are_not_confused(toys):
    with seeded(1):
        inside, insiders = torch.randn(300, 2), torch.randn(300, 2)
        far = torch.randn(300, 2) + 6
    found = rows(outlier_detection(toys.Normal(), inside, far, insiders=insiders))
    assert set(found) == {"log_prob", "typicality"}
    assert found["log_prob"].value > 0.99
    assert found["log_prob"].better == "higher"
    with seeded(2):
        again = rows(outlier_detection(toys.Normal(), inside, torch.randn(300, 2), insiders=insiders))
    assert abs(again["log_prob"].value - 0.5) < 4 * again["log_prob"].stderr


def wide(toys, d):
    """N(0, I) in d dimensions."""
    from creo.spaces import Continuous

    class Wide(toys.Normal):
        def __init__(self, scale=1.0):
            super().__init__(0.0, scale, Continuous((d,)))

    return Wide


def test_likelihood_fails_where_typicality_does_not(toys):
    """Points near the mode of a Gaussian in 100 dimensions are probable and never drawn."""
    Wide = wide(toys, 100)
    with seeded(3):
        inside, insiders, centre = torch.randn(200, 100), torch.randn(200, 100), 0.5 * torch.randn(200, 100)
    found = rows(outlier_detection(Wide(), inside, centre, insiders=insiders))
    assert found["log_prob"].value < 0.01
    assert found["typicality"].value > 0.99


def test_the_ratio_divides_out_what_is_cheap(toys):
    """The background explains the change of scale, so the ratio orders the other way round."""
    Wide = wide(toys, 20)
    with seeded(4):
        inside, outside = torch.randn(200, 20), 0.5 * torch.randn(200, 20)
    found = rows(outlier_detection(Wide(), inside, outside, insiders=inside, background=Wide(0.5)))
    assert found["log_prob"].value < 0.05
    assert found["ratio"].value > 0.95


def test_energy_and_reconstruction(toys):
    class Everything(toys.Silent):
        def energy(self, x, c=None):
            return x.square().sum(1)

        def encode(self, x, c=None):
            return x[:, :1]

        def decode(self, z, c=None):
            return torch.cat([z, torch.zeros_like(z)], 1)

    with seeded(5):
        line = torch.cat([torch.randn(100, 1), 0.1 * torch.randn(100, 1)], 1)
        off = torch.cat([torch.zeros(100, 1), torch.randn(100, 1)], 1)
    found = rows(outlier_detection(Everything(), line, off, insiders=line))
    assert set(found) == {"energy", "reconstruction"}
    assert found["reconstruction"].value > 0.9
    assert found["energy"].value == pytest.approx(auroc(line.square().sum(1), off.square().sum(1))[0])


def test_bad_input(toys):
    x = torch.zeros(5, 2)
    with pytest.raises(OptionError, match="neither likelihood"):
        outlier_detection(toys.Silent(), x, x, insiders=x)
    with pytest.raises(SpaceError, match="outside must have shape"):
        outlier_detection(toys.Normal(), x, torch.zeros(5, 3), insiders=x)
    with pytest.raises(DataError, match="2 scores"):
        auroc(torch.zeros(1), torch.zeros(5))
    with pytest.raises(DataError, match="not a number"):
        auroc(torch.full((3,), math.nan), torch.zeros(5))
