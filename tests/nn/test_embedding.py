"""Conditions of every space become vectors: different conditions differ, scales are taken from data."""

import pytest
import torch

from creo.nn import ConditionEmbedding
from creo.spaces import Categories, Continuous, Ordinal, Table, Tokens

TABLE = Table({"age": Continuous(), "kind": Categories(3), "stars": Ordinal((), 5)})
CASES = {
    "categories": (Categories(4), torch.tensor([0, 3, 1])),
    "continuous": (Continuous((2, 2)), torch.randn(3, 2, 2)),
    "scalar": (Continuous(()), torch.tensor([0.5, -1.0, 2.0])),
    "ordinal": (
        Ordinal((1, 2, 2), 17),
        torch.tensor([0, 5, 16, 3, 1, 9, 4, 7, 7, 7, 2, 0]).reshape(3, 1, 2, 2),
    ),
    "tokens": (Tokens(3, 5), torch.tensor([[0, 1, 2], [2, 1, 0], [4, 4, 4]])),
    "table": (TABLE, torch.tensor([[30.0, 0, 1], [30.0, 2, 1], [31.0, 2, 4]]).double()),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_gradient_and_distinction(name, dtype):
    torch.manual_seed(0)
    space, c = CASES[name]
    embed = ConditionEmbedding(space, 6).to(dtype)
    e = embed(c)
    assert e.shape == (3, 6)
    assert e.dtype == dtype
    assert torch.pdist(e).min() > 1e-3
    e.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in embed.parameters())


def test_initialise_makes_continuous_conditions_scale_free():
    torch.manual_seed(0)
    embed = ConditionEmbedding(Continuous((2,)), 4).double()
    c = torch.randn(500, 2).double()
    embed.initialise(c)
    before = embed(c)
    embed.initialise(1e6 * c + 3e7)
    torch.testing.assert_close(embed(1e6 * c + 3e7), before)


def test_initialise_reaches_the_columns_of_a_table_and_survives_a_constant():
    embed = ConditionEmbedding(TABLE, 4)
    c = torch.tensor([[30.0, 0, 1], [30.0, 2, 1]]).double()
    embed.initialise(c)
    assert embed(c).isfinite().all()
    assert float(embed.embed.columns[0].embed.mean) == 30


def test_texts_are_told_apart_by_order_and_blanks_do_not_matter():
    torch.manual_seed(0)
    space = Tokens(6, 4, ("", "small", "bold", "seven"))
    embed = ConditionEmbedding(space, 5).double()
    c = torch.tensor([[1, 2, 3, 0, 0, 0], [2, 1, 3, 0, 0, 0], [3, 0, 0, 0, 0, 0]])
    assert torch.pdist(embed(c)).min() > 1e-3
    with torch.no_grad():
        before = embed(c)
        embed.embed.symbols.weight[0, :8] += 7.0
        embed.embed.places[3:, :8] -= 2.0
        torch.testing.assert_close(embed(c), before)
        embed.embed.places[1, :8] += 3.0
    assert (embed(c) - before).abs().amax(1)[:2].min() > 1e-3
    torch.testing.assert_close(embed(c)[2], before[2])
    assert embed(torch.zeros(1, 6, dtype=torch.long)).isfinite().all()
