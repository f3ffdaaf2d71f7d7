"""Perceptrons in one step, float32 by oneDNN against plain float64: values, gradients, gradients of gradients, layouts,
and who gets them."""

import itertools

import pytest
import torch

from creo.nn import linear as module
from creo.nn.linear import LEAST, Linear, linear, perceptron

ROWS, SIZES = 256, (128, 96, 128, 64)  # every product above LEAST
IN, OUT = SIZES[0], SIZES[-1]


def inputs(dtype=torch.float32, *, masked=True, columns=False, bias=True):
    """x, and layers (W, b, M) of random numbers, all wanting gradients but the masks."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, IN).to(dtype)
    x = x.T.contiguous().T if columns else x
    layers = []
    for a, b in itertools.pairwise(SIZES):
        mask = (torch.rand(b, a) < 0.5).to(dtype)
        weight, shift = (torch.randn(b, a) / a**0.5).to(dtype), torch.randn(b).to(dtype)
        layers.append(
            (weight.requires_grad_(), shift.requires_grad_() if bias else None, mask if masked else None)
        )
    return x.requires_grad_(), layers


def leaves(x, layers):
    return [x, *(t for layer in layers for t in layer[:2] if t is not None)]


def formulas(x, layers):
    """The formulas, operation by operation."""
    for i, (weight, bias, mask) in enumerate(layers):
        x = x @ (weight if mask is None else weight * mask).T
        x = x if bias is None else x + bias
        x = x.clamp_min(0) if i + 1 < len(layers) else x
    return x


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize(("masked", "bias"), [(False, True), (True, True), (True, False)])
def test_values_and_gradients_are_those_of_float64(masked, bias, columns):
    assert min(a * b for a, b in itertools.pairwise(SIZES)) * ROWS >= LEAST
    found = []
    for way, dtype in ((perceptron, torch.float32), (formulas, torch.float64)):
        x, layers = inputs(dtype, masked=masked, columns=columns, bias=bias)
        y = way(x, layers)
        first = torch.autograd.grad(y.square().sum(), leaves(x, layers), create_graph=True)
        second = torch.autograd.grad(sum(g.square().mean() for g in first), leaves(x, layers))
        once = torch.autograd.grad(way(x, layers).square().sum(), leaves(x, layers))
        found.append([t.detach().double() for t in (y, *first, *second, *once)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-6 * float(b.abs().max()))


@pytest.mark.parametrize("few", [False, True])
def test_the_answer_lies_in_memory_as_x(few):
    for columns in (False, True):
        x, layers = inputs(columns=columns)
        layers = [(w[:3], b[:3], m[:3]) for w, b, m in layers[:1]] if few else layers
        y = perceptron(x, layers)
        assert (y.T if columns else y).is_contiguous()
    one = torch.randn(1, ROWS).T  # one variable, by columns
    y = perceptron(one, [(torch.randn(64, 1), None, None)])
    assert y.T.is_contiguous()


def test_gradient_of_a_masked_weight_is_exactly_zero():
    x, layers = inputs()
    gradients = torch.autograd.grad(perceptron(x, layers).square().sum(), [w for w, *_ in layers])
    for gradient, (*_, mask) in zip(gradients, layers, strict=True):
        assert not gradient[mask == 0].any()
        assert gradient.any()


def test_only_what_wants_a_gradient_gets_one():
    x, layers = inputs()
    layers = [(w.detach(), b, m) for w, b, m in layers]
    perceptron(x.detach(), layers).sum().backward()
    assert x.grad is None
    assert all(w.grad is None and b.grad is not None for w, b, _ in layers)


@pytest.mark.skipif(not module.AVAILABLE, reason="torch was built without oneDNN")
def test_who_gets_it(monkeypatch):
    taken = []
    step = module._Perceptron.apply
    monkeypatch.setattr(module._Perceptron, "apply", lambda *args: taken.append(True) or step(*args))
    layer = Linear(IN, OUT)
    x = torch.randn(ROWS, IN)
    layer(x)
    assert len(taken) == 1
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer(x[:2])
    layer(x[None])
    torch.func.vmap(layer)(x[None])
    torch.func.jvp(layer, (x,), (x,))
    assert len(taken) == 1
    layer.double()
    torch.testing.assert_close(layer(x.double()), torch.nn.Linear.forward(layer, x.double()))


@pytest.mark.parametrize("columns", [False, True])
def test_compiled_without_a_graph_break(columns):
    x, layers = inputs(columns=columns)
    compiled = torch.compile(perceptron, backend="aot_eager", fullgraph=True)
    found = []
    for way in (compiled, perceptron):
        y = way(x, layers)
        found.append((y, *torch.autograd.grad(y.square().sum(), leaves(x, layers))))
    for a, c in zip(*found, strict=True):
        torch.testing.assert_close(a, c, rtol=0, atol=2e-6 * float(c.detach().abs().max()))


def test_one_layer_is_a_linear_map():
    x, [(w, b, m), *_] = inputs()
    torch.testing.assert_close(linear(x, w, b, mask=m), x @ (w * m).T + b, rtol=0, atol=1e-5)
