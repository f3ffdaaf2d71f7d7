"""Dropout by 16 random bits: its frequencies, its scale, its memory format, and that it stays out of evaluation."""

from __future__ import annotations

import math

import pytest
import torch

from creo.model import seeded
from creo.nn.dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(100_003,), (4, 8, 50, 61)])
def test_entries_fall_with_probability_p_and_the_mean_is_kept(p, shape):
    x = torch.ones(shape)
    with seeded(0):
        y = dropout(x, p, True)
    n = x.numel()
    dropped = int((y == 0).sum())
    assert abs(dropped - n * p) < 5 * math.sqrt(n * p * (1 - p))
    assert torch.allclose(y[y != 0], torch.tensor(1 / (1 - p)), rtol=1e-3 if p < 0.9 else 1e-2)


def test_neighbours_fall_independently():
    with seeded(1):
        kept = (dropout(torch.ones(400_000), 0.5, True) != 0).double() - 0.5
    for lag in (1, 2, 3, 4):  # four decisions come from one number
        assert abs(float((kept[:-lag] * kept[lag:]).mean()) / 0.25) < 5 / math.sqrt(400_000)


def test_nothing_falls_in_evaluation_or_at_zero():
    x = torch.randn(10)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x


def test_the_gradient_is_the_mask():
    x = torch.randn(3, 4, 5, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    with seeded(2):
        y = dropout(x, 0.3, True)
    assert y.is_contiguous(memory_format=torch.channels_last)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope * x, y)
    assert 0 < int((slope == 0).sum()) < x.numel()
