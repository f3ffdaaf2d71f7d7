"""The residual MLP against its formula written out, and its promises: identity start, dropout only in training."""

import pytest
import torch

from creo.errors import OptionError
from creo.nn import MLP


def test_is_its_formula():
    torch.manual_seed(0)
    net = MLP(3, 2, hidden=(5, 5, 4), context=6, activation=torch.tanh).double()
    x, e = torch.randn(7, 3).double(), torch.randn(7, 6).double()
    (w1, w2, w3), (u1, u2, u3) = net.layers, net.context
    h1 = torch.tanh(x @ w1.weight.T + w1.bias + e @ u1.weight.T)
    h2 = torch.tanh(h1 @ w2.weight.T + w2.bias + e @ u2.weight.T) + h1
    h3 = torch.tanh(h2 @ w3.weight.T + w3.bias + e @ u3.weight.T)
    torch.testing.assert_close(net(x, e), h3 @ net.out.weight.T + net.out.bias)


def test_a_context_enters_every_layer():
    net = MLP(2, 1, hidden=(4, 4), context=3)
    x, e = torch.randn(5, 2), torch.randn(5, 3)
    net(x, e).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_plain_perceptron_and_affine_map():
    torch.manual_seed(0)
    plain = MLP(4, 1, hidden=(4, 4), residual=False, activation=torch.relu)
    x = torch.randn(6, 4)
    h = torch.relu(plain.layers[1](torch.relu(plain.layers[0](x))))
    torch.testing.assert_close(plain(x), plain.out(h))
    affine = MLP(4, 2, hidden=())
    torch.testing.assert_close(affine(2 * x) - affine(x), affine(x) - affine(0 * x))


def test_zero_start_and_leading_axes():
    net = MLP(3, 2, hidden=(8,), context=4, zero=True)
    assert not net(torch.randn(2, 5, 3), torch.randn(2, 1, 4)).any()


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    net, x = MLP(3, 2, dropout=0.5), torch.randn(4, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("wrong", [{"hidden": (0,)}, {"context": -1}, {"dropout": 1.0}])
def test_wrong_sizes_are_named(wrong):
    with pytest.raises(OptionError, match="received inputs=2"):
        MLP(2, 2, **wrong)
