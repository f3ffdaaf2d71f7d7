"""Independent marginals against counts by hand, and the textbook's baseline on digits."""

import math

import pytest
import torch

import creo
from creo.classical.independent import Independent
from creo.errors import OptionError, SpaceError
from creo.spaces import Categories, Continuous, Ordinal


def test_counts_by_hand():
    model = Independent(Ordinal((2,), 3))
    model.initialise(torch.tensor([[0, 2], [0, 2], [1, 2]], dtype=torch.uint8))
    want = torch.tensor([[3 / 6 * 1 / 6, 2 / 6 * 4 / 6]]).log()[0]
    assert torch.allclose(model.log_prob(torch.tensor([[0, 1], [1, 2]])), want)


def test_every_class_has_its_own_histograms():
    model = Independent(Categories(2), Categories(2), pseudo_count=0.5)
    model.initialise(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    found = model.log_prob(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])).exp()
    assert torch.allclose(found, torch.tensor([2.5 / 3, 0.5 / 2, 1.5 / 2]))


def test_uniform_before_it_has_seen_data_and_for_a_class_without_any():
    model = Independent(Ordinal((3,), 4), Categories(2))
    x = torch.tensor([[0, 1, 3]])
    assert model.log_prob(x, torch.tensor([1])).item() == pytest.approx(-3 * math.log(4))
    model.initialise(x, torch.tensor([0]))
    assert model.log_prob(x, torch.tensor([1])).item() == pytest.approx(-3 * math.log(4), rel=1e-6)


def test_the_baseline_on_digits():
    """Tomczak's split: about 106.5 nats for histograms of single pixels."""
    data = creo.load_data("digits")
    model = creo.build("independent", data.space)
    model.initialise(data.train.x)
    nll = -model.log_prob(data.test.x).double().mean().item()
    assert nll == pytest.approx(106.47, abs=0.01)


def test_what_it_cannot_do_is_said():
    with pytest.raises(
        SpaceError, match="histograms are of Ordinal, Tokens or Categories; received Continuous"
    ):
        Independent(Continuous((2,)))
    with pytest.raises(SpaceError, match="conditioned on Categories only"):
        Independent(Categories(2), Continuous((2,)))
    with pytest.raises(OptionError, match="pseudo_count must be positive; received 0"):
        Independent(Categories(2), pseudo_count=0)
