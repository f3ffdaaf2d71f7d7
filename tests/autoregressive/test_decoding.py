"""Decoding strategies against distributions that can be enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from creo.autoregressive import MADE, ancestral, complete, draw
from creo.errors import OptionError
from creo.spaces import Categories, Ordinal


@pytest.fixture
def model():
    """A tiny conditional model far from independence, whose order is not the raster."""
    torch.manual_seed(0)
    made = MADE.for_space(
        Ordinal((2, 2), 3), Categories(2), hidden=(64,), order="random", order_seed=3
    ).double()
    with torch.no_grad():
        for p in made.network.parameters():
            p.mul_(4.0)
    return made.eval()


def every_completion(model, x, known, c):
    """All x' that agree with x where known, and p(x' | known, c)."""
    size = model.space.levels
    free = int((~known).sum())
    rows = x.expand(size**free, *x.shape).clone()
    rows[:, ~known] = torch.tensor(list(itertools.product(range(size), repeat=free))).to(x.dtype)
    with torch.no_grad():
        return rows, model.log_prob(rows, c.expand(len(rows))).softmax(0)


def completion_counts(model, x, known, c, n, **options):
    rows, p = every_completion(model, x, known, c)
    drawn = complete(model, x.expand(n, *x.shape), known, c, **options)
    assert (drawn[:, known] == x[known]).all()
    hits = (drawn.flatten(1)[:, None] == rows.flatten(1)[None]).all(-1)
    assert hits.any(1).all()
    return hits.sum(0), p


@pytest.mark.parametrize("first", [1, 2, 3])
def test_completion_of_a_prefix_is_the_exact_conditional(model, first):
    torch.manual_seed(1)
    known = torch.zeros(4, dtype=torch.bool)
    known[model.order[:first]] = True
    x, c, n = torch.tensor([[0, 2], [1, 0]], dtype=torch.uint8), torch.tensor(1), 6000
    counts, p = completion_counts(model, x, known.view(2, 2), c, n)
    keep = p * n >= 5
    observed = [*counts[keep].tolist(), n - int(counts[keep].sum())]
    expected = [*(p[keep] * n).tolist(), n * (1 - float(p[keep].sum()))]
    if expected[-1] < 5:
        observed, expected = observed[:-1], expected[:-1]
        expected = [e * sum(observed) / sum(expected) for e in expected]
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_completion_that_must_look_ahead_tends_to_the_exact_conditional(model):
    torch.manual_seed(2)
    known = torch.zeros(4, dtype=torch.bool)
    known[model.order[2:]] = True  # the last two: every unknown symbol comes before every known one
    x, c, n = torch.tensor([[2, 1], [0, 2]], dtype=torch.uint8), torch.tensor(0), 1500
    distance = {}
    for particles in (1, 64):
        counts, p = completion_counts(model, x, known.view(2, 2), c, n, particles=particles)
        distance[particles] = 0.5 * (counts / n - p).abs().sum().item()
    noise = 0.5 * (p * (1 - p) / n).sqrt().sum().item()
    assert distance[1] > 0.1  # blind to what follows
    assert distance[64] < 3 * noise + 0.03  # self-normalised importance sampling errs by O(1 / particles)


def test_each_row_has_its_own_mask(model):
    torch.manual_seed(3)
    x = torch.randint(0, 3, (50, 2, 2), dtype=torch.uint8)
    known = torch.rand(50, 2, 2) < 0.5
    y = complete(model, x, known, torch.arange(50) % 2)
    assert (y[known] == x[known]).all()
    assert (y[~known] != x[~known]).any()
    assert torch.equal(complete(model, x, torch.ones(2, 2, dtype=torch.bool), torch.tensor(0)), x)


def test_temperature_zero_is_argmax_and_two_flattens(model):
    torch.manual_seed(4)
    greedy = ancestral(model, 8, torch.tensor(1), temperature=0)
    assert (greedy == greedy[0]).all()
    symbols = greedy.flatten(1)[:, model.order].long()
    assert torch.equal(model.logits(greedy, torch.ones(8, dtype=torch.long)).argmax(-1), symbols)
    logits = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64)
    n = 30_000
    counts = torch.bincount(draw(logits.expand(n, -1), temperature=2.0), minlength=3)
    expected = (logits / 2).softmax(0) * n
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4


def test_errors_say_what_to_do(model):
    x = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with pytest.raises(
        OptionError, match=r"boolean mask of shape \(2, 2\) or \(3, 2, 2\); received torch.int64"
    ):
        complete(model, x, torch.zeros(2, 2, dtype=torch.long), torch.tensor(0))
    with pytest.raises(OptionError, match="temperature must be at least 0; received -1"):
        ancestral(model, 2, torch.tensor(0), temperature=-1)
    with pytest.raises(OptionError, match="does not generate step by step"):
        ancestral(torch.nn.Identity(), 2)
