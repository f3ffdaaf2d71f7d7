"""Schedule, decay groups and clipping against their formulas."""

import math

import pytest
import torch
from torch import nn

from creo.errors import OptionError
from creo.model import Player, Terms, TrainingDefaults
from creo.training.optimiser import clip_gradient, learning_rate, make_optimiser, settings_of


def test_schedule():
    cosine = TrainingDefaults(lr=2.0, warmup=10, schedule="cosine")
    assert learning_rate(cosine, 0, 0.0) == pytest.approx(0.2)
    assert learning_rate(cosine, 9, 0.0) == pytest.approx(2.0)
    assert learning_rate(cosine, 500, 0.5) == pytest.approx(1.0)
    assert learning_rate(cosine, 500, 1.0) == pytest.approx(0.0)
    constant = TrainingDefaults(lr=2.0, warmup=0, schedule="constant")
    assert learning_rate(constant, 0, 0.9) == 2.0


@pytest.mark.parametrize("limit", [0.0, 1.0, 100.0])
def test_clipping(limit):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2))]
    for w in weights[:2]:
        w.grad = 3 * torch.randn_like(w)
    before = [w.grad.clone() for w in weights[:2]]
    norm = torch.cat([g.flatten() for g in before]).norm()
    assert clip_gradient(weights, limit) == pytest.approx(float(norm))
    factor = min(1.0, limit / float(norm)) if limit else 1.0
    for w, g in zip(weights, before, strict=False):
        torch.testing.assert_close(w.grad, g * factor)


def test_decay_acts_on_matrices_only_and_is_decoupled():
    matrix, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    player = Player("p", [matrix, bias], lambda x, c: Terms(x))
    optimiser = make_optimiser(player, TrainingDefaults(lr=0.1, weight_decay=0.5))
    matrix.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimiser.step()
    torch.testing.assert_close(matrix.data, torch.full((2, 2), 1 - 0.1 * 0.5))
    torch.testing.assert_close(bias.data, torch.ones(2))


def test_first_step_is_adam():
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    player = Player("p", [weight], lambda x, c: Terms(x), optimiser={"betas": (0.5, 0.9)})
    settings = settings_of(player, TrainingDefaults(lr=0.1))
    assert settings.betas == (0.5, 0.9)
    optimiser = make_optimiser(player, settings)
    weight.grad = torch.tensor([3.0, -1e-3])
    optimiser.step()  # the first bias-corrected step is lr * g / (|g| + eps)
    torch.testing.assert_close(
        weight.data, torch.tensor([1.0, 2.0]) - 0.1 * torch.tensor([1.0, -1.0]), atol=1e-5, rtol=0
    )


def test_unknown_override_is_an_error():
    player = Player("p", [], lambda x, c: Terms(x), optimiser={"learning_rate": 1.0})
    with pytest.raises(OptionError, match="unknown setting 'learning_rate'"):
        settings_of(player, TrainingDefaults())


def test_schedule_is_smooth_cosine():
    settings = TrainingDefaults(lr=1.0, warmup=1)
    for t in (0.1, 0.25, 0.8):
        assert learning_rate(settings, 100, t) == pytest.approx((1 + math.cos(math.pi * t)) / 2)
