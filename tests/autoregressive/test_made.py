"""MADE: causality by autograd, normalisation by enumeration, incremental steps against the whole pass."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats
from torch import nn

from creo.autoregressive import MADE
from creo.errors import OptionError, SpaceError
from creo.nn.masked import BLOCK, MaskedLinear, MaskedMLP, spread_degrees
from creo.spaces import Categories, Continuous, Ordinal, Tokens


def every_sample(space) -> torch.Tensor:
    size = space.levels if isinstance(space, Ordinal) else space.size
    rows = list(itertools.product(range(size), repeat=space.dims))
    return torch.tensor(rows).to(space.dtype).view(-1, *space.shape)


def sharpened(model: MADE, factor: float = 3.0) -> MADE:
    """A model whose conditionals are far from uniform and from independence."""
    with torch.no_grad():
        for p in model.network.parameters():
            p.mul_(factor)
    return model.double().eval()


CASES = {
    "binary-raster": (Ordinal((3, 3), 2), None, {"hidden": (40, 30)}),
    "binary-random": (Ordinal((3, 3), 2), None, {"hidden": (40,), "order": "random"}),
    "levels-conditional": (Ordinal((1, 2, 3), 3), Categories(4), {"hidden": (40, 30), "coding": "onehot"}),
    "levels-scaled": (Ordinal((2, 3), 3), Continuous((2,)), {"hidden": (33, 50, 20), "coding": "scaled"}),
    "levels-logistic": (Ordinal((5,), 3), None, {"hidden": (40,), "head": "logistic", "components": 2}),
    "direct": (Ordinal((3, 3), 2), Categories(4), {"hidden": (20, 15), "direct": True, "order": "random"}),
    "direct-levels": (Ordinal((5,), 3), None, {"hidden": (12,), "direct": True, "coding": "onehot"}),
    "tokens": (Tokens(4, 5), None, {"hidden": (64, 64), "order": "random"}),
    "one-variable": (Ordinal((1,), 4), Categories(4), {"hidden": (8,)}),
    "fewer-units-than-variables": (Ordinal((6,), 3), None, {"hidden": (3, 2)}),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    torch.manual_seed(0)
    space, condition, options = request.param
    model = sharpened(MADE.for_space(space, condition, **options))
    c = {None: None, "Categories": torch.tensor([2]), "Continuous": torch.randn(1, 2)}[
        condition.kind if condition else None
    ]
    return model, c


def test_probabilities_sum_to_one(case):
    model, c = case
    x = every_sample(model.space)
    c = None if c is None else c.expand(len(x), *c.shape[1:])
    total = model.log_prob(x, c).exp().sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_steps_give_the_logits_of_the_whole_pass(case):
    model, c = case
    x = every_sample(model.space)[-20:]
    c = None if c is None else c.expand(len(x), *c.shape[1:])
    whole, symbols = model.logits(x, c), x.flatten(1)[:, model.order].long()
    state, token = model.init_state(len(x), c), None
    with torch.no_grad():
        for i in range(model.space.dims):
            logits, state = model.step(state, token)
            torch.testing.assert_close(logits, whole[:, i], rtol=0, atol=1e-10)
            token = symbols[:, i]


def test_sampler_follows_the_exact_distribution(case):
    model, c = case
    x = every_sample(model.space)
    with torch.no_grad():
        p = model.log_prob(x, None if c is None else c.expand(len(x), *c.shape[1:])).exp()
    n = 20_000
    drawn = model.sample(n, None if c is None else c[0])
    assert drawn.dtype == model.space.dtype
    size = model.head.levels
    powers = size ** torch.arange(model.space.dims - 1, -1, -1)
    counts = torch.bincount((drawn.flatten(1).long() * powers).sum(1), minlength=len(x))
    order = p.argsort(descending=True)  # pool the rare samples: expected counts of at least 5
    keep = order[p[order] * n >= 5]
    observed = [*counts[keep].tolist(), n - int(counts[keep].sum())]
    expected = [*(p[keep] * n).tolist(), n * (1 - float(p[keep].sum()))]
    if expected[-1] < 1e-6:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize("through", ["hidden", "both", "direct"])
def test_every_output_depends_on_all_its_predecessors_and_on_nothing_else(through):
    torch.manual_seed(1)
    d, k, out = 7, 3, 4
    net = MaskedMLP(d, k, out, hidden=(60, 45), context=2, direct=through != "hidden").double().eval()
    if through == "direct":
        nn.init.zeros_(net.layers[-1].weight)
    x, h = torch.randn(1, d * k, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v, h)[0], x)  # (d, out, 1, d k)
    reach = jacobian.view(d, out, d, k).abs().amax((1, 3))
    expected = torch.ones(d, d, dtype=torch.bool).tril(-1)
    assert torch.equal(reach > 0, expected)


def test_masks_leave_the_weights_alone_and_stop_their_gradient():
    mask = torch.tensor([[True, False], [True, True]])
    layer = MaskedLinear(mask)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    layer(torch.ones(1, 2)).sum().backward()
    assert (layer.weight == 2).all()
    assert torch.equal(layer.weight.grad != 0, mask)


def test_degrees_are_sorted_and_even():
    degrees = spread_degrees(10, 1, 4)
    assert (degrees.diff() >= 0).all()
    assert torch.bincount(degrees, minlength=5)[1:].tolist() == [3, 2, 3, 2]


@pytest.mark.parametrize("condition", [None, Categories(3)])
def test_gradient_reaches_every_parameter(condition):
    torch.manual_seed(2)
    model = MADE.for_space(Ordinal((5,), 4), condition, hidden=(32, 32))
    x = torch.randint(0, 4, (16, 5), dtype=torch.uint8)
    model.loss(x, None if condition is None else torch.arange(16) % 3).loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().max() > 0, name


def test_forks_of_a_state_do_not_touch_each_other():
    torch.manual_seed(3)
    model = sharpened(MADE.for_space(Ordinal((4,), 3), hidden=(30,)))
    _, state = model.step(model.init_state(1), None)
    left, right = model.repeat(state, 1), model.reorder(state, torch.tensor([0]))
    a, left = model.step(left, torch.tensor([0]))
    b, right = model.step(right, torch.tensor([2]))
    assert (a - b).abs().max() > 1e-3
    again, _ = model.step(state, torch.tensor([0]))
    torch.testing.assert_close(again, a)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("condition", [None, Categories(3)])
def test_steps_cross_blocks_and_survive_reordering(condition, direct):
    """More variables than `BLOCK`, sequences exchanged and duplicated on the way."""
    torch.manual_seed(6)
    d = 2 * BLOCK + 5
    space, options = Ordinal((d,), 3), {"hidden": (90, 50), "order": "random", "direct": direct}
    model = sharpened(MADE.for_space(space, condition, **options), 1.5)
    x = torch.randint(0, 3, (4, d), dtype=torch.uint8)
    c = None if condition is None else torch.tensor([0, 1, 2, 1])
    whole, symbols = model.logits(x, c), x[:, model.order].long()
    state, token, rows = model.init_state(4, c), None, torch.arange(4)
    with torch.no_grad():
        for i in range(d):
            logits, state = model.step(state, token)
            torch.testing.assert_close(logits, whole[rows, i], rtol=0, atol=1e-10)
            if i in (3, BLOCK, 2 * BLOCK - 1):
                pick = torch.tensor([2, 0, 0, 3])
                state, rows = model.reorder(state, pick), rows[pick]
            token = symbols[rows, i]


def test_learns_a_dependence():
    """x_2 = x_1 and x_1 uniform on 4 levels: the entropy is ln 4."""
    torch.manual_seed(4)
    model = MADE.for_space(Ordinal((2,), 4), hidden=(64,), dropout=0.0)
    x = torch.randint(0, 4, (256, 1), dtype=torch.uint8).repeat(1, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        optimiser.zero_grad()
        loss = model.loss(x).loss
        loss.backward()
        optimiser.step()
    assert 1.35 < loss < 1.45  # ln 4 = 1.386, up to the 256 samples' own frequencies
    drawn = model.sample(200)
    assert (drawn[:, 0] == drawn[:, 1]).float().mean() > 0.95


def test_state_dict_carries_the_order():
    torch.manual_seed(5)
    a = MADE.for_space(Ordinal((6,), 3), hidden=(20,), order="random", order_seed=1).eval()
    b = MADE.for_space(Ordinal((6,), 3), hidden=(20,), order="random", order_seed=2).eval()
    x = torch.randint(0, 3, (8, 6), dtype=torch.uint8)
    assert not torch.equal(a.order, b.order)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.log_prob(x), b.log_prob(x))


def test_errors_say_what_to_do():
    with pytest.raises(SpaceError, match="Ordinal and Tokens"):
        MADE.for_space(Continuous((2,)))
    with pytest.raises(OptionError, match="without an order"):
        MADE.for_space(Tokens(3, 4), coding="scaled")
    model = MADE.for_space(Ordinal((3,), 2), hidden=(8,))
    with pytest.raises(SpaceError, match="unconditional"):
        model.log_prob(torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2))
