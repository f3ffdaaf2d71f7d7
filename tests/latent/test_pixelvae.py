"""PixelVAE: given z, the pixels' distribution is normalised and causal, and generating is stepping through it."""

import pytest
import torch

import creo
from creo.spaces import Ordinal
from creo.testing.measure import everything
from creo.testing.tiny import settle, tiny_data


@torch.enable_grad()
def settled(space, **options):
    with creo.seeded(0):
        model = creo.build("pixelvae", space, **options)
    return settle(model, *tiny_data(space), steps=20, lr=1e-2, noise=0.1).double()


@torch.no_grad()
def test_given_z_the_probabilities_of_all_pictures_sum_to_one():
    space = Ordinal((1, 2, 3), 3)
    model, x = settled(space), everything(space)
    for z in torch.randn(3, 16, dtype=torch.float64):
        log_p = model.log_likelihood(x, z.expand(len(x), -1), None)
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)


@torch.no_grad()
def test_generating_steps_through_the_same_distribution():
    """Taking the most probable value at each pixel, by the cache and by whole passes."""
    space = Ordinal((3, 5, 4), 6)
    model = settled(space)
    z = 2 * torch.randn(6, 16, dtype=torch.float64)
    x = torch.zeros(6, *space.shape, dtype=torch.long)
    for i in range(5):
        for j in range(4):
            causal = model.stack(model.head.scaled(x, torch.float64), z)
            x[:, :, i, j] = model.head.mode(model._head_numbers(causal + model._of_z(z)))[:, :, i, j]
    assert torch.equal(model.decode(z).long(), x)
    assert x.unique().numel() > 1


@torch.no_grad()
def test_samples_given_z_follow_the_likelihood():
    space = Ordinal((1, 2, 2), 2)
    model, z = settled(space), torch.randn(1, 16, dtype=torch.float64)
    n = 20_000
    with creo.seeded(0):
        drawn = model.draw(z.expand(n, -1), None).flatten(1)
    counts = torch.bincount(drawn @ torch.tensor([8, 4, 2, 1]), minlength=16) / n
    p = model.log_likelihood(everything(space), z.expand(16, -1), None).exp()
    assert ((counts - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt() + 1e-12).all()
