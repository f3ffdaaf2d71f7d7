"""Entropic barycentres against the Gaussian closed form and POT."""

import math

import pytest
import torch

from creo.divergences.transport import cost_matrix, entropic_barycentre
from creo.errors import DataError, OptionError

F64 = torch.float64
GRID = torch.linspace(-6, 6, 121, dtype=F64)


def _gaussian(mean, variance):
    w = torch.exp(-((GRID - mean) ** 2) / (2 * variance))
    return w / w.sum()


def _moments(q):
    q = q / q.sum()
    mean = (q * GRID).sum()
    return mean.item(), (q * (GRID - mean) ** 2).sum().item()


COST = cost_matrix(GRID[:, None], GRID[:, None])
HISTOGRAMS = torch.stack((_gaussian(-1.5, 0.5), _gaussian(1.5, 0.5)))


@pytest.mark.parametrize(("debiased", "variance"), [(False, 0.5 + 0.4 / 2), (True, 0.5)])
def test_barycentre_of_gaussians(debiased, variance):
    w = torch.tensor([1.0, 3.0], dtype=F64)
    got = entropic_barycentre(
        HISTOGRAMS, COST, weights=w, epsilon=0.4, relative=False, debiased=debiased, tolerance=1e-8
    )
    assert got.converged
    mean, spread = _moments(got.weights)
    assert mean == pytest.approx(0.75, abs=1e-5)
    assert spread == pytest.approx(variance, rel=1e-4)
    assert got.weights.sum().item() == pytest.approx(1, abs=1e-6)


def test_agrees_with_pot():
    ot = pytest.importorskip("ot")
    p = torch.rand(3, 20, dtype=F64, generator=torch.Generator().manual_seed(0))
    p[0, :5] = 0
    p = p / p.sum(-1, keepdim=True)
    x = torch.randn(20, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    cost = cost_matrix(x, x)
    got = entropic_barycentre(p, cost, epsilon=0.5, relative=False, tolerance=1e-11)
    peer = ot.bregman.barycenter(p.T.numpy() + 1e-300, cost.numpy(), 0.5, stopThr=1e-11, numItermax=3000)
    torch.testing.assert_close(got.weights, torch.from_numpy(peer), rtol=0, atol=1e-9)


def test_debiased_barycentre_of_copies_is_the_copy():
    p = torch.stack((_gaussian(0.3, 0.8),) * 3)
    got = entropic_barycentre(p, COST, epsilon=0.02, debiased=True, tolerance=1e-8)
    torch.testing.assert_close(got.weights, p[0], rtol=0, atol=1e-6)


def test_says_when_it_gave_up():
    got = entropic_barycentre(HISTOGRAMS, COST, epsilon=0.01, max_iterations=2)
    assert (got.converged, got.iterations) == (False, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: entropic_barycentre(HISTOGRAMS, COST, epsilon=0.0), OptionError, "epsilon"),
        (lambda: entropic_barycentre(HISTOGRAMS, COST[:5]), DataError, "histograms"),
        (lambda: entropic_barycentre(HISTOGRAMS, COST[:, :5], debiased=True), DataError, "symmetric"),
        (lambda: entropic_barycentre(-HISTOGRAMS, COST), DataError, "negative"),
        (lambda: entropic_barycentre(HISTOGRAMS * math.nan, COST), DataError, "NaN"),
        (lambda: entropic_barycentre(HISTOGRAMS, COST, weights=torch.ones(3)), DataError, "weights"),
    ],
)
def test_bad_input_is_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()
