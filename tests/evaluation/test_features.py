"""Vectors of every space, by hand."""

import torch

from creo.evaluation.features import FLOOR, Standardised, encoding
from creo.spaces import Categories, Continuous, Ordinal, Table, Tokens


def test_vectors_of_every_space():
    assert encoding(Continuous((2, 3)))(torch.ones(4, 2, 3)).shape == (4, 6)
    assert encoding(Continuous())(torch.ones(4)).shape == (4, 1)
    grey = encoding(Ordinal((1, 1, 2), 5))(torch.tensor([[[[0, 4]]]], dtype=torch.uint8))
    assert grey.tolist() == [[0.0, 1.0]]
    assert encoding(Categories(3))(torch.tensor([2])).tolist() == [[0.0, 0.0, 1.0]]


def test_tokens_are_positions_and_pairs():
    f = encoding(Tokens(3, 2))(torch.tensor([[0, 1, 1]]))
    positions, pairs = f[0, :6].tolist(), f[0, 6:].tolist()
    assert positions == [1, 0, 0, 1, 0, 1]
    assert pairs == [0, 0.5, 0, 0.5]  # 01 and 11, once each of two
    long = encoding(Tokens(200, 50))(torch.zeros(2, 200, dtype=torch.long))
    assert long.shape == (2, 1024)
    assert long.sum().item() == 2


def test_tables_put_columns_side_by_side():
    space = Table({"age": Continuous(), "eye": Categories(3), "stars": Ordinal((), 5)})
    x = torch.tensor([[41.0, 1.0, 4.0]], dtype=torch.float64)
    assert encoding(space)(x).tolist() == [[41.0, 0.0, 1.0, 0.0, 1.0]]


def test_standardised_by_training_data_with_a_floor():
    torch.manual_seed(0)
    train = torch.randn(500, 3) * torch.tensor([1.0, 20.0, 0.0]) + 5
    f = Standardised.of(Continuous((3,)), train)
    z = f(train)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    floor = FLOOR * train.double().std(0, correction=0).square().mean().sqrt()
    torch.testing.assert_close(f.scale[2].double(), floor, rtol=1e-5, atol=0)
    torch.testing.assert_close(z[:, 1].std(correction=0), torch.tensor(1.0))
    assert f.scale[0] == f.scale[2]  # 1 is below a tenth of the root mean square: floored as well


def test_the_key_is_of_the_content():
    train = torch.randn(50, 2)
    keys = [Standardised.of(Continuous((2,)), t).key for t in (train, train.clone(), train + 1)]
    assert keys[0] == keys[1] != keys[2]


def test_constant_data_do_not_divide_by_zero():
    z = Standardised.of(Continuous((2,)), torch.ones(5, 2))(torch.full((1, 2), 3.0))
    assert z.tolist() == [[2.0, 2.0]]
