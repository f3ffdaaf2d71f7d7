"""The independent histogram: normalised, counted right, and as bad on digits as the literature says."""

import itertools

import pytest
import torch

from creo.errors import SpaceError
from creo.evaluation.baseline import IndependentHistogram
from creo.spaces import Categories, Continuous, Ordinal, Tokens


def test_sums_to_one_and_counts():
    space = Tokens(2, 3)
    model = IndependentHistogram(space)
    model.initialise(torch.tensor([[0, 1], [0, 2], [0, 2]]))
    everything = torch.tensor(list(itertools.product(range(3), repeat=2)))
    assert model.log_prob(everything).exp().sum().item() == pytest.approx(1.0, abs=1e-6)
    p = model.log_prob(torch.tensor([[0, 2]])).exp().item()
    assert p == pytest.approx((3 + 1) / 6 * (2 + 1) / 6, rel=1e-6)


def test_samples_follow_the_histogram():
    model = IndependentHistogram(Ordinal((1, 2, 1), 4))
    model.logits = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]).log()
    torch.manual_seed(0)
    x = model.sample(4000)
    assert x.dtype == torch.uint8
    share = torch.stack([(x[:, 0, 1, 0] == k).float().mean() for k in range(4)])
    torch.testing.assert_close(share, model.logits[1].exp(), atol=4 * (0.25 / 4000) ** 0.5, rtol=0)


def test_labels_too():
    model = IndependentHistogram(Categories(3))
    model.initialise(torch.tensor([0, 0, 1]))
    assert model.log_prob(torch.tensor([2])).exp().item() == pytest.approx(1 / 6)
    assert model.sample(5).shape == (5,)


def test_refuses_densities():
    with pytest.raises(SpaceError, match="counting spaces"):
        IndependentHistogram(Continuous((2,)))


def test_digits():
    """About 106.5 nats on the textbook split."""
    from creo.data import load_data

    data = load_data("digits")
    model = IndependentHistogram(data.space)
    model.initialise(data.train.x)
    assert -model.log_prob(data.test.x).mean().item() == pytest.approx(106.47, abs=0.01)
