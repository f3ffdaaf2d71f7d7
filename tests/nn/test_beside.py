"""Conditions of the sample's own height and width keep their pixels."""

import torch

from creo.nn.beside import Beside, PixelEmbedding, fits_beside
from creo.spaces import Categories, Continuous, Ordinal


def test_which_conditions_are_laid_beside():
    assert fits_beside(Ordinal((2, 16, 12), 17), (6, 16, 12))
    assert fits_beside(Continuous((1, 16, 12)), (3, 16, 12))
    assert not fits_beside(Ordinal((2, 8, 12), 17), (6, 16, 12))
    assert not fits_beside(Ordinal((2,), 17), (6, 16, 12))
    assert not fits_beside(Categories(3), (6, 16, 12))
    assert not fits_beside(None, (6, 16, 12))


def test_every_pixel_arrives_where_it_is_standardised():
    torch.manual_seed(0)
    space = Ordinal((2, 3, 4), 17)
    c = torch.randint(0, 17, (50, 2, 3, 4), dtype=torch.uint8)
    embed = PixelEmbedding(space).double()
    embed.initialise(c)
    seen = []
    network = Beside(lambda x, u: seen.append(x) or x[:, :5], space.shape)
    x = torch.randn(50, 5, 3, 4).double()
    assert torch.equal(network(x, torch.zeros(1), embed(c)), x)
    assert torch.equal(seen[0][:, :5], x)
    truth = (c.double() - c.double().mean()) / c.double().std(correction=0)
    torch.testing.assert_close(seen[0][:, 5:], truth)


def test_a_constant_condition_stays_finite():
    embed = PixelEmbedding(Ordinal((1, 2, 2), 5))
    c = torch.full((4, 1, 2, 2), 3, dtype=torch.uint8)
    embed.initialise(c)
    assert torch.equal(embed(c), torch.zeros(4, 4))
