"""Gradients written out, against finite differences and plain operations."""

import math

import pytest
import torch

from creo.flows import Autoregressive
from creo.flows.affine import Affine
from creo.flows.spline import RationalQuadratic
from creo.nn import linear

MAPS = [Affine(0.5), Affine(2.0), RationalQuadratic(4)]


def inputs(g, dtype=torch.float64):
    torch.manual_seed(0)
    x, h = torch.randn(3, 5, dtype=dtype), 2 * torch.randn(3, g.parameters, 5, dtype=dtype)
    return x.requires_grad_(), h.requires_grad_()


@pytest.mark.parametrize("g", MAPS)
def test_maps_of_first_and_second_order_against_finite_differences(g):
    assert torch.autograd.gradcheck(g.written.apply, inputs(g))
    assert torch.autograd.gradgradcheck(g.written.apply, inputs(g))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("g", MAPS)
def test_one_answer_alone(g, which):
    x, h = inputs(g)
    found = torch.autograd.grad(g.written.apply(x, h)[which].sum(), (x, h))
    wanted = torch.autograd.grad(g.written.plain(x, h)[which].sum(), (x, h), allow_unused=True)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("g", MAPS)
def test_under_functional_transforms(g):
    x, h = inputs(g)

    def y(x, h):
        return g.forward(x[None], h[None])[0].sum()

    found = torch.func.vmap(torch.func.grad(y))(x, h)
    torch.testing.assert_close(found, torch.autograd.grad(g.written.plain(x, h)[0].sum(), x)[0])


def test_the_bound_is_a_hyperbolic_tangent():
    raw = torch.linspace(-40, 40, 1001, dtype=torch.float64)
    wanted = torch.tensor([2 * math.tanh(r / 2) for r in raw.tolist()], dtype=torch.float64)
    log_slope = Affine(2.0).forward(raw[None], torch.stack([raw, raw])[None])[1]
    torch.testing.assert_close(log_slope[0], wanted, rtol=0, atol=1e-15)


@pytest.fixture
def layer_and_x(monkeypatch, request):
    """A small layer in float64 that takes the one step."""
    monkeypatch.setattr(linear, "LEAST", 1)
    torch.manual_seed(0)
    g, order = request.param
    order = None if order is None else torch.tensor(order)
    layer = Autoregressive((4,), g, hidden=(7, 6), order=order).double()
    x = torch.randn(5, 4, dtype=torch.float64).requires_grad_()
    assert layer._is_one_step(x, None)
    return layer, x


LAYERS = pytest.mark.parametrize(
    "layer_and_x",
    [(g, order) for g in MAPS[1:] for order in (None, [3, 2, 1, 0], [2, 0, 3, 1])],
    indirect=True,
)


def both(layer, x, monkeypatch, question):
    """An answer by the one step, and by network and map apart."""
    one = question(layer, x)
    monkeypatch.setattr(Autoregressive, "_is_one_step", lambda *_: False)
    monkeypatch.setattr(linear, "suits", lambda *_: False)
    return one, question(layer, x)


@LAYERS
@pytest.mark.parametrize("used", [(1, 1), (1, 0), (0, 1)])
def test_a_layer_in_one_step_is_its_parts(layer_and_x, used, monkeypatch):
    def question(layer, x):
        y, log_det = layer(x)
        goal = used[0] * y.sin().sum() + used[1] * log_det.cos().sum()
        return y, log_det, *torch.autograd.grad(goal, [x, *layer.parameters()], allow_unused=True)

    for a, b in zip(*both(*layer_and_x, monkeypatch, question), strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=0, atol=1e-12)


@LAYERS
def test_gradients_of_gradients_of_a_layer(layer_and_x, monkeypatch):
    def question(layer, x):
        y, log_det = layer(x)
        leaves = [x, *layer.parameters()]
        first = torch.autograd.grad(y.sin().sum() + log_det.cos().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    for a, b in zip(*both(*layer_and_x, monkeypatch, question), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@LAYERS
def test_a_layer_of_which_only_the_parameters_learn(layer_and_x, monkeypatch):
    def question(layer, x):
        y, log_det = layer(x.detach())
        return torch.autograd.grad(y.sin().sum() + log_det.sum(), list(layer.parameters()))

    for a, b in zip(*both(*layer_and_x, monkeypatch, question), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
