"""Forward substitution against the definition: one full pass per entry, for every shape of network."""

import pytest
import torch

from creo.errors import OptionError
from creo.flows import Affine, Autoregressive, RationalQuadratic
from creo.flows.substitution import BLOCK, Functional, InPlace


def layer_of(dims, hidden, elementwise=None, context=0):
    torch.manual_seed(0)
    layer = Autoregressive((dims,), elementwise, hidden=hidden, context=context, order=torch.randperm(dims))
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return layer.double().eval()


def one_pass_per_entry(layer, y, e):
    """The definition: entry i from h_i of the entries found so far."""
    y = y[:, layer.arrange.order]
    x, log_det = torch.zeros_like(y), 0.0
    for i in range(y.shape[1]):
        h = layer.network(x, e)
        column, log_slope = layer.elementwise.inverse(y[:, i : i + 1], h[:, :, i : i + 1])
        x = torch.cat([x[:, :i], column, x[:, i + 1 :]], 1)
        log_det = log_det + log_slope[:, 0]
    return x[:, layer.arrange.back], log_det


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize(
    ("dims", "hidden"), [(1, (4,)), (2, (3, 5)), (7, (4, 30)), (BLOCK, (20,)), (2 * BLOCK + 3, (64, 5, 40))]
)
@pytest.mark.parametrize("elementwise", [Affine(), RationalQuadratic(3)])
def test_equals_the_definition(dims, hidden, elementwise, context):
    layer = layer_of(dims, hidden, elementwise, context)
    y = torch.randn(4, dims, dtype=torch.float64)
    e = torch.randn(4, context, dtype=torch.float64) if context else None
    expected, log_det = one_pass_per_entry(layer, y, e)
    with torch.no_grad():
        x, found = layer.inverse(y, e)
    torch.testing.assert_close(x, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(found, log_det, atol=1e-10, rtol=0)
    torch.testing.assert_close(layer.forward(x, e)[0], y, atol=1e-9, rtol=0)


def test_gradients_equal_those_of_the_definition():
    layer = layer_of(BLOCK + 3, (24, 24), None, 2)
    y = torch.randn(4, BLOCK + 3, dtype=torch.float64, requires_grad=True)
    e = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    inputs = (y, e, *layer.parameters())

    def gradients(answer):
        x, log_det = answer
        return torch.autograd.grad((x.square().sum(1) * log_det.sin()).sum(), inputs)

    for a, b in zip(gradients(layer.inverse(y, e)), gradients(one_pass_per_entry(layer, y, e)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_which_steps_are_taken(monkeypatch):
    taken = []
    for kind in (InPlace, Functional):
        solve = kind.solve
        monkeypatch.setattr(kind, "solve", lambda self, solve=solve: taken.append(type(self)) or solve(self))
    layer = layer_of(4, (8,))
    y = torch.randn(2, 4, dtype=torch.float64)
    layer.inverse(y)
    with torch.no_grad():
        layer.inverse(y)
    assert taken == [Functional, InPlace]


def test_wrong_options_get_one_line():
    with pytest.raises(OptionError, match="permutation"):
        Autoregressive((3,), order=torch.tensor([0, 0, 1]))
    with pytest.raises(OptionError, match="at least 1 unit"):
        Autoregressive((3,), hidden=())
