"""Second derivatives of steps whose backward pass is written by hand, where one input is a function of another."""

import pytest
import torch

from creo.nn import linear
from creo.nn.group_norm import Norm
from creo.nn.linear import perceptron


def second(f, w):
    """The gradient of |df/dw|^2."""
    first = torch.autograd.grad(f(w).sin().sum(), w, create_graph=True)[0]
    return torch.autograd.grad(first.square().sum(), w)[0]


def test_a_perceptron_whose_input_is_made_of_its_weights(monkeypatch):
    monkeypatch.setattr(linear, "LEAST", 1)
    torch.manual_seed(0)
    w = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    y = torch.randn(7, 5, dtype=torch.float64)

    def by_step(w):
        return perceptron(y @ w, [(w, None, None), (w, None, None)])

    def by_formula(w):
        return (y @ w @ w.T).clamp_min(0) @ w.T

    torch.testing.assert_close(by_step(w), by_formula(w))
    torch.testing.assert_close(second(by_step, w), second(by_formula, w))


@pytest.mark.parametrize("silu", [False, True])
def test_a_norm_of_what_its_gain_made(silu):
    torch.manual_seed(0)
    norm = Norm(8, silu=silu).double()
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    found = []
    for layout in (torch.channels_last, torch.contiguous_format):

        def twice(w, layout=layout):
            made = (x * (1 + w[None, :, None, None].square())).contiguous(memory_format=layout)
            return torch.func.functional_call(norm, {"weight": w}, (made,))

        found.append(second(twice, norm.weight))
    torch.testing.assert_close(*found)


def test_a_norm_under_functional_transforms():
    torch.manual_seed(0)
    norm, x = Norm(8).double(), torch.randn(2, 8, 4, 4, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)
    slope = torch.func.grad(lambda x: norm(x).sin().sum())(x)
    again = x.clone().requires_grad_()
    norm(again).sin().sum().backward()
    torch.testing.assert_close(slope, again.grad)
