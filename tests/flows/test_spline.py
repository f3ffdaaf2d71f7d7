"""The rational-quadratic spline: between its knots, at them, outside its box, on the circle, and compiled."""

import pytest
import torch

from creo.errors import OptionError
from creo.flows import RationalQuadratic
from creo.flows.spline import MIN_BIN

BOUND = 3.0


def spline(tails="linear", bins=6, n=200, scale=1.0):
    torch.manual_seed(0)
    rq = RationalQuadratic(bins, bound=BOUND, tails=tails)
    return rq, scale * torch.randn(n, rq.parameters, 3, dtype=torch.float64)


def slope(rq, x, h):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(rq.forward(x, h)[0].sum(), x)[0]


@pytest.mark.parametrize("tails", ["linear", "circular"])
def test_zero_parameters_are_the_identity(tails):
    rq, h = spline(tails)
    x = torch.linspace(-BOUND, BOUND, 200, dtype=torch.float64)[:-1, None].expand(-1, 3)
    y, log_slope = rq.forward(x, torch.zeros_like(h[:-1]))
    torch.testing.assert_close(y, x, atol=1e-14, rtol=0)
    assert log_slope.abs().max() < 1e-14


@pytest.mark.parametrize("scale", [0.1, 1.0, 500.0])
def test_inverse_and_slope_inside_and_outside(scale):
    rq, h = spline(scale=scale)
    x = 4 * BOUND * (torch.rand(200, 3, dtype=torch.float64) - 0.5)
    x[0], x[1], x[2], x[3] = 50.0, -50.0, BOUND, -BOUND
    y, log_slope = rq.forward(x, h)
    assert y.isfinite().all()
    torch.testing.assert_close(slope(rq, x, h)[4:].log(), log_slope[4:], atol=1e-7, rtol=0)
    back, inverse_log_slope = rq.inverse(y, h)
    # where the slope is s, an error of 1e-15 in y is one of 1e-15 / s in x
    assert ((back - x).abs() < 1e-9 + 1e-13 * (-log_slope).exp()).all()
    gentle = log_slope > -3
    torch.testing.assert_close(inverse_log_slope[gentle], -log_slope[gentle], atol=1e-6, rtol=0)
    assert torch.equal(y[:2], x[:2])
    assert not log_slope[:2].any()


def test_values_and_slopes_are_continuous_at_the_knots():
    rq, h = spline()
    shares = torch.softmax(h[:, :12].unflatten(1, (2, 6)), 2)
    widths, heights = (MIN_BIN + (1 - 6 * MIN_BIN) * shares).unbind(1)
    for j in range(7):
        knot = (widths[:, :j].sum(1) * 2 - 1) * BOUND
        value = (heights[:, :j].sum(1) * 2 - 1) * BOUND
        for eps in (0.0, 1e-9, -1e-9):
            y, log_slope = rq.forward(knot + eps, h)
            torch.testing.assert_close(y, value, atol=1e-5, rtol=0)
            expected = rq.forward(knot, h)[1]
            torch.testing.assert_close(log_slope, expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(rq.inverse(value, h)[0], knot, atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_nan_whatever_the_parameters(dtype):
    rq, h = spline(scale=1e4)
    x = torch.cat([torch.linspace(-9, 9, 197), torch.tensor([BOUND, -BOUND, 1e30])])[:, None].expand(-1, 3)
    x, h = x.to(dtype).requires_grad_(), h.to(dtype).requires_grad_()
    for way in (rq.forward, rq.inverse):
        y, log_slope = way(x, h)
        grads = torch.autograd.grad(y.clamp(-99, 99).sum() + log_slope.sum(), (x, h))
        assert all(t.isfinite().all() for t in (y, log_slope, *grads))


def test_monotone():
    rq, h = spline()
    x = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    y = rq.forward(x[:, None], h[:1, :, :1].expand(2001, -1, -1))[0]
    assert (y.diff(dim=0) > 0).all()


def test_circle_is_mapped_to_itself_once_around():
    rq, h = spline("circular")
    x = 2 * BOUND * torch.rand(200, 3, dtype=torch.float64) - BOUND
    y, log_slope = rq.forward(x, h)
    assert y.abs().max() <= BOUND
    torch.testing.assert_close(rq.forward(x + 6 * BOUND, h)[0], y, atol=1e-9, rtol=0)
    back, inverse_log_slope = rq.inverse(y, h)
    torch.testing.assert_close(back, x, atol=1e-8, rtol=0)
    torch.testing.assert_close(inverse_log_slope, -log_slope, atol=1e-7, rtol=0)
    torch.testing.assert_close(slope(rq, x, h).log(), log_slope, atol=1e-8, rtol=0)
    edge = torch.full((200, 3), BOUND, dtype=torch.float64)
    torch.testing.assert_close(rq.forward(edge - 1e-12, h)[1], rq.forward(-edge, h)[1], atol=1e-6, rtol=0)
    points = torch.linspace(-BOUND, BOUND, 20_001, dtype=torch.float64)[:-1, None].expand(-1, 3)
    density = rq.forward(points, h[:1].expand(20_000, -1, -1))[1].exp()
    torch.testing.assert_close(density.mean(0), torch.ones(3).double(), atol=1e-4, rtol=0)


def test_no_graph_break():
    rq, h = spline()
    x = torch.randn(200, 3, dtype=torch.float64)
    for way in (rq.forward, rq.inverse):
        compiled = torch.compile(way, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x, h), way(x, h))


def test_wrong_options_get_one_line():
    for options in ({"bins": 0}, {"bins": 1000}, {"bound": 0.0}, {"tails": "none"}):
        with pytest.raises(OptionError, match="received"):
            RationalQuadratic(**options)


@pytest.mark.parametrize("tails", ["linear", "circular"])
@pytest.mark.parametrize("bins", [2, 5])
def test_gradients_against_finite_differences_and_of_second_order(tails, bins):
    rq, h = spline(tails, bins=bins, n=4, scale=1.0)
    x = 2 * (torch.rand(4, 3, dtype=torch.float64) - 0.5) * BOUND
    x[0, 0], x[1, 1] = (2 * BOUND, -1.5 * BOUND) if tails == "linear" else (0.1, 0.2)
    x.requires_grad_()
    h.requires_grad_()
    assert torch.autograd.gradcheck(rq.forward, (x, h), atol=1e-6)
    assert torch.autograd.gradgradcheck(rq.forward, (x, h), atol=1e-5)


def test_the_written_out_gradient_is_that_of_the_plain_formulas():
    rq, h = spline(bins=9, scale=3.0)
    x = 8 * (torch.rand(200, 3, dtype=torch.float64) - 0.5)
    x, h = x.requires_grad_(), h.requires_grad_()
    weights = torch.randn(2, 200, 3, dtype=torch.float64)
    for only in (weights, weights[:1], weights[1:]):
        found, wanted = (
            torch.autograd.grad((torch.stack(way(x, h))[-len(only) :] * only).sum(), (x, h))
            for way in (rq.forward, rq._plain)
        )
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
