"""The affine map's gradient, written out, against finite differences and plain operations."""

import math

import pytest
import torch

from creo.flows.affine_gradient import AffineStep, bounded, plain
from creo.flows.coupling import Affine


def inputs():
    torch.manual_seed(0)
    x, h = torch.randn(3, 5, dtype=torch.float64), 2 * torch.randn(3, 2, 5, dtype=torch.float64)
    return x.requires_grad_(), h.requires_grad_()


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_first_and_second_order_against_finite_differences(bound):
    def step(x, h):
        return AffineStep.apply(x, h, bound)

    assert torch.autograd.gradcheck(step, inputs())
    assert torch.autograd.gradgradcheck(step, inputs())


@pytest.mark.parametrize("which", [0, 1])
def test_one_answer_alone(which):
    x, h = inputs()
    found = torch.autograd.grad(AffineStep.apply(x, h, 1.5)[which].sum(), (x, h), allow_unused=True)
    wanted = torch.autograd.grad(plain(x, h, 1.5)[which].sum(), (x, h), allow_unused=True)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=0, atol=1e-14)


def test_the_bound_is_a_hyperbolic_tangent():
    raw = torch.linspace(-40, 40, 1001, dtype=torch.float64)
    wanted = torch.tensor([2 * math.tanh(r / 2) for r in raw.tolist()], dtype=torch.float64)
    torch.testing.assert_close(bounded(raw, 2.0), wanted, rtol=0, atol=1e-15)


def test_under_functional_transforms():
    x, h = inputs()

    def y(x, h):
        return Affine(1.5).forward(x[None], h[None])[0].sum()

    found = torch.func.vmap(torch.func.grad(y))(x, h)
    torch.testing.assert_close(found, torch.autograd.grad(plain(x, h, 1.5)[0].sum(), x)[0])
