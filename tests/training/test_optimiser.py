"""Schedule, decay groups and clipping against their formulas."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from creo.errors import OptionError
from creo.model import Player, Terms, TrainingDefaults
from creo.training import make_settings
from creo.training.adamw import AdamW
from creo.training.optimiser import clip_gradient, learning_rate, optimiser_of, settings_of


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
    optimiser = AdamW([matrix, bias], TrainingDefaults(weight_decay=0.5))
    matrix.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimiser.step(0.1)
    torch.testing.assert_close(matrix.data, torch.full((2, 2), 1 - 0.1 * 0.5))
    torch.testing.assert_close(bias.data, torch.ones(2))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_it_is_torchs_adamw(decay):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(2, 2))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    settings = settings_of(
        Player("p", ours, lambda x, c: Terms(x), optimiser={"betas": (0.5, 0.9)}), TrainingDefaults()
    )
    optimiser = AdamW(ours, dataclasses.replace(settings, weight_decay=decay))
    reference = torch.optim.AdamW(
        [{"params": theirs[::2], "weight_decay": decay}, {"params": [theirs[1]], "weight_decay": 0.0}],
        betas=(0.5, 0.9),
    )
    for k in range(20):
        optimiser.zero()
        for a, b in zip(ours, theirs, strict=True):
            skipped = (
                a is ours[2] and k % 3 == 0
            )  # a parameter the loss did not reach keeps its weight and its state
            a.grad = None if skipped else torch.randn_like(a)
            b.grad = None if skipped else a.grad.clone()
        for group in reference.param_groups:
            group["lr"] = 0.01 * (k + 1)
        optimiser.step(0.01 * (k + 1))
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_unknown_override_is_an_error():
    player = Player("p", [], lambda x, c: Terms(x), optimiser={"learning_rate": 1.0})
    with pytest.raises(OptionError, match="unknown setting 'learning_rate'"):
        settings_of(player, TrainingDefaults())


def test_schedule_is_smooth_cosine():
    settings = TrainingDefaults(lr=1.0, warmup=1)
    for t in (0.1, 0.25, 0.8):
        assert learning_rate(settings, 100, t) == pytest.approx((1 + math.cos(math.pi * t)) / 2)


@pytest.mark.parametrize("name", ["optimiser", "schedule", "precision"])
def test_unknown_choice_is_an_error(name):
    with pytest.raises(OptionError, match=f"no {name} 'cosin'"):
        make_settings(**{name: "cosin"})
    with pytest.raises(OptionError, match="no optimiser 'mun'; did you mean 'muon'"):
        optimiser_of(
            Player("p", [], lambda x, c: Terms(x)), TrainingDefaults(optimiser="mun"), nn.Linear(1, 1)
        )
