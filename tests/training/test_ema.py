"""The moving average against the recursion written out, and swapping in and out."""

import torch
from torch import nn

from creo.training.ema import EMA


def test_average_follows_the_recursion():
    torch.manual_seed(0)
    weights = [
        nn.Parameter(torch.randn(3, 2, dtype=torch.float64)),
        nn.Parameter(torch.randn((), dtype=torch.float64)),
    ]
    expected = [w.detach().clone() for w in weights]
    ema = EMA(weights, 0.9)
    for k in range(1, 200):
        with torch.no_grad():
            for w in weights:
                w.add_(torch.randn_like(w))
        ema.update()
        d = min(0.9, (1 + k) / (10 + k))
        expected = [d * e + (1 - d) * w.detach() for e, w in zip(expected, weights, strict=True)]
    for e, a in zip(expected, ema.average, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-12, atol=1e-12)


def test_applied_swaps_and_puts_back_and_training_goes_on():
    weight = nn.Parameter(torch.zeros(4))
    ema = EMA([weight], 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    ema.update()
    average = ema.average[0].clone()
    assert 0 < average[0] < 1
    with ema.applied():
        assert torch.equal(weight.data, average)
    assert torch.equal(weight.data, torch.ones(4))
    with torch.no_grad():
        weight.fill_(3.0)
    ema.update()  # still follows the live weights, not the swapped storage
    assert ema.average[0][0] > average[0]


def test_decay_zero_is_off():
    weight = nn.Parameter(torch.ones(2))
    ema = EMA([weight], 0.0)
    ema.update()
    with ema.applied():
        assert torch.equal(weight.data, torch.ones(2))
    assert ema.average == []
