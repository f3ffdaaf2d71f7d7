"""The linear map by oneDNN in float32 against float64: values, gradients, gradients of gradients, and who gets it."""

import pytest
import torch

from creo.nn import linear as module
from creo.nn.linear import LEAST, Linear, linear

ROWS, IN, OUT = 256, 128, 64  # above LEAST


def inputs(dtype=torch.float32):
    torch.manual_seed(0)
    mask = (torch.rand(OUT, IN) < 0.5).to(dtype)
    tensors = (torch.randn(ROWS, IN), torch.randn(OUT, IN) / IN**0.5, torch.randn(OUT))
    return (*(t.to(dtype).requires_grad_() for t in tensors), mask)


def gradients(y, tensors):
    return torch.autograd.grad(y.square().sum(), tensors, create_graph=True)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_float64(masked, rectify):
    assert ROWS * IN * OUT >= LEAST
    found = []
    for dtype in (torch.float32, torch.float64):
        x, w, b, mask = inputs(dtype)
        y = linear(x, w, b, mask=mask if masked else None, rectify=rectify)
        first = gradients(y, (x, w, b))
        second = torch.autograd.grad(sum(g.square().mean() for g in first), (x, w, b))
        found.append([t.detach().double() for t in (y, *first, *second)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6 * float(b.abs().max()))


def test_gradient_of_a_masked_weight_is_exactly_zero():
    x, w, b, mask = inputs()
    gradient = torch.autograd.grad(linear(x, w, b, mask=mask).square().sum(), w)[0]
    assert not gradient[mask == 0].any()
    assert gradient[mask == 1].all()


@pytest.mark.skipif(not module.AVAILABLE, reason="torch was built without oneDNN")
def test_who_gets_it(monkeypatch):
    taken = []
    monkeypatch.setattr(module._Linear, "apply", lambda *args: taken.append(True) or module._plain(*args))
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
    layer.double()(x.double())
    assert len(taken) == 1
    torch.testing.assert_close(layer(x.double()), torch.nn.Linear.forward(layer, x.double()))


@pytest.mark.parametrize("rectify", [False, True])
def test_compiled_without_a_graph_break(rectify):
    x, w, b, mask = inputs()
    compiled = torch.compile(linear, backend="aot_eager", fullgraph=True)
    found = []
    for way in (compiled, linear):
        y = way(x, w, b, mask=mask, rectify=rectify)
        found.append((y, *torch.autograd.grad(y.square().sum(), (x, w, b))))
    for a, c in zip(*found, strict=True):
        torch.testing.assert_close(a, c, rtol=0, atol=2e-6 * float(c.abs().max()))
