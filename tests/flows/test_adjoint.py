"""The continuous adjoint against backpropagation through the steps and against closed forms."""

import math
import weakref
from itertools import pairwise

import pytest
import torch
from torch import nn

import creo
from creo.errors import OptionError
from creo.flows import Continuous, Velocity
from creo.spaces import Categories
from creo.spaces import Continuous as Reals


def layer_of(**options):
    torch.manual_seed(0)
    velocity = Velocity(3, hidden=(8,), context=2)
    with torch.no_grad():
        for p in velocity.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return Continuous(velocity, **options).double()


def gradients(layer, inverse=False):
    """Of a function of both outputs and the penalty, by x, e and every parameter."""
    torch.manual_seed(1)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    e = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    y, log_det = (layer.inverse if inverse else layer.forward)(x, e)
    value = (y.square().sum(1) * log_det.sin()).sum() + (0.0 if layer.penalty is None else layer.penalty)
    return torch.autograd.grad(value, (x, e, *layer.parameters()))


def largest_difference(a, b):
    return max(float((x - y).abs().max() / (1 + y.abs().max())) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("inverse", [False, True])
def test_adaptive_gradients_agree_to_the_tolerance(inverse):
    exact = gradients(layer_of(tolerance=1e-9).eval(), inverse)
    errors = [
        largest_difference(gradients(layer_of(adjoint=True, tolerance=t).eval(), inverse), exact)
        for t in (1e-4, 1e-7)
    ]
    assert errors[0] < 1e-2
    assert errors[1] < 1e-5


@pytest.mark.parametrize("trace", ["exact", "rademacher"])
def test_fixed_steps_agree_at_the_methods_order(trace):
    errors = []
    for steps in (3, 6, 12):
        options = {"steps": steps, "trace": trace, "kinetic": 0.3, "jacobian": 0.2}
        plain, adjoint = (gradients(layer_of(adjoint=a, **options).train()) for a in (False, True))
        errors.append(largest_difference(adjoint, plain))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] > 3.4
    assert errors[-1] < 1e-4


def test_a_linear_field_has_the_gradient_of_its_closed_form():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.tensor([[0.3, -0.5], [0.2, 0.1]], dtype=torch.float64))

        def forward(self, t, x, e=None):
            return x @ self.matrix.T

    layer = Continuous(Linear(), adjoint=True, tolerance=1e-11).eval()
    x = torch.randn(7, 2, dtype=torch.float64)
    y, log_det = layer.forward(x)
    (found,) = torch.autograd.grad(y.sin().sum() + log_det.sum(), layer.velocity.matrix)
    a = layer.velocity.matrix.detach().requires_grad_()
    closed = (x @ torch.linalg.matrix_exp(a).T).sin().sum() + 7 * a.trace()
    torch.testing.assert_close(found, torch.autograd.grad(closed, a)[0], rtol=1e-8, atol=1e-8)


class Held:
    """A tensor that a graph keeps."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_nothing_is_kept_whatever_the_number_of_steps():
    def kept(**options):
        held = weakref.WeakSet()

        def pack(tensor):
            holder = Held(tensor)
            held.add(holder)
            return holder

        layer, x, e = layer_of(**options).train(), torch.randn(5, 3).double(), torch.randn(5, 2).double()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
            graph = layer.forward(x.requires_grad_(), e)
        assert graph[1].requires_grad
        return len(held)

    assert kept(adjoint=True, steps=2) == kept(adjoint=True, steps=9)
    assert kept(steps=9) > 10 * kept(adjoint=True, steps=9)


def test_a_model_trains_with_the_adjoint():
    torch.manual_seed(0)
    model = creo.build("ffjord", Reals((2,)), Categories(2), hidden=(8,), steps=4, adjoint=True)
    x, c = torch.randn(64, 2), torch.randint(0, 2, (64,))
    model.initialise(x, c)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-2)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = model.train().loss(x + 2 * c[:, None], c).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_adjoint_and_checkpoint_exclude_each_other():
    with pytest.raises(OptionError, match="two ways to the same end"):
        creo.build("cnf", Reals((2,)), checkpoint=True, adjoint=True)
