"""Precision, recall, density, coverage against the package of their authors."""

import math

import pytest
import torch

from creo.errors import DataError, OptionError
from creo.evaluation.neighbours import squared_radii
from creo.evaluation.prdc import prdc
from creo.model import seeded


@pytest.fixture(scope="module")
def sets():
    with seeded(0):
        return torch.randn(230, 6, dtype=torch.float64), 0.9 * torch.randn(310, 6, dtype=torch.float64) + 0.3


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [64, 1000])
def test_equals_the_reference_package(sets, k, block, monkeypatch):
    reference = pytest.importorskip("prdc")
    monkeypatch.setattr("builtins.print", lambda *a, **b: None)
    x, y = sets
    peer = reference.compute_prdc(x.numpy(), y.numpy(), nearest_k=k)
    mine = prdc(x, y, k=k, block=block)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(mine, name) == pytest.approx(float(peer[name]), abs=1e-12), name


def test_radii_by_brute_force(sets):
    x = sets[0]
    exact = torch.cdist(x, x).sort(1).values[:, 4].square()
    torch.testing.assert_close(squared_radii(x, 4, block=50), exact)


def test_what_they_mean():
    """Half of the modes: precise but not diverse. Samples beside the data: neither."""
    with seeded(1):
        modes = torch.tensor([[0.0, 0.0], [50.0, 0.0]], dtype=torch.float64)
        x = modes[torch.arange(400) % 2] + torch.randn(400, 2, dtype=torch.float64)
        half, far = torch.randn(400, 2, dtype=torch.float64), torch.randn(400, 2, dtype=torch.float64) + 500
    dropped, lost = prdc(x, half), prdc(x, far)
    assert dropped.precision > 0.9
    assert abs(dropped.recall - 0.5) < 0.05
    assert dropped.coverage < 0.55
    assert (lost.precision, lost.recall, lost.density, lost.coverage) == (0, 0, 0, 0)


def test_equal_distributions_are_near_one(sets):
    with seeded(2):
        x, y = torch.randn(1000, 3), torch.randn(1000, 3)
    found = prdc(x, y)
    assert found.density == pytest.approx(1.0, abs=0.1)  # its expectation under equality is 1
    # expected coverage under equality: 1 - prod_{i<k} (m - i)/(2m - 1 - i), n = m (Naeem et al., eq. 9)
    chance = 1 - math.prod((1000 - i) / (1999 - i) for i in range(5))
    assert found.coverage == pytest.approx(chance, abs=0.03)


def test_bad_input(sets):
    x, y = sets
    with pytest.raises(DataError, match="more than k=5"):
        prdc(x[:5], y)
    with pytest.raises(OptionError, match="k and block"):
        prdc(x, y, k=0)
    with pytest.raises(DataError, match="NaN"):
        prdc(x, torch.full_like(y, math.nan))


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_what_single_precision_cannot_decide_double_does(offset):
    """Against plain double precision on more rows than groups, also far from the origin, where single fails."""
    with seeded(3):
        x = torch.randn(1500, 3, dtype=torch.float64)
        y = torch.randn(1300, 3, dtype=torch.float64)
    x[:750] += (
        offset  # two far clusters: every row is far from the centre, and single precision loses the digits
    )
    y[:650] += offset
    exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values[:, 5].square()
    rounding = 2.0**-52 * 8 * (1 + offset**2)  # of |a|^2 + |b|^2 - 2 ab in double precision
    torch.testing.assert_close(squared_radii(x, 5), exact, rtol=1e-12, atol=rounding)
    far = torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values[:, 5].square()
    inside = torch.cdist(y, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    found = prdc(x, y)
    assert found.density == pytest.approx(float((inside < exact).double().sum(1).mean()) / 5, abs=1e-12)
    assert found.precision == float((inside < exact).any(1).double().mean())
    assert found.coverage == float((inside < exact).any(0).double().mean())
    assert found.recall == float((inside < far[:, None]).any(0).double().mean())


def test_many_equal_rows():
    """Radii of 0 hold nothing, not even their own copies: `<` is strict."""
    x = torch.arange(3.0)[:, None].repeat(200, 1)
    found = prdc(x, x + 0.0)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)
