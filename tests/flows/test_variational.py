"""Reverse divergence: a Gaussian target is found with its constant, and the path gradient has no variance there."""

import math

import pytest
import torch

import creo
from creo.errors import OptionError
from creo.flows.variational import fit_to_density, freeze, interpolate, reverse_divergence
from creo.spaces import Continuous, Ordinal

LOG_Z = 1.7
MEAN = torch.tensor([1.0, -2.0, 0.5])
FACTOR = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.4, 0.3, 1.5]])


def target(x):
    gaussian = torch.distributions.MultivariateNormal(MEAN.to(x), scale_tril=FACTOR.to(x))
    return gaussian.log_prob(x) + LOG_Z


def fitted(name="linear-flow", estimator="path", **options):
    torch.manual_seed(0)
    model = creo.build(name, Continuous((3,)), **options).double()
    return fit_to_density(model, target, steps=500, n=64, lr=0.1, estimator=estimator)


def test_a_gaussian_is_recovered_with_its_normalising_constant():
    for estimator in ("path", "total"):
        model = fitted(estimator=estimator)
        terms = reverse_divergence(model, target, n=4000)
        tolerance = 1e-3 if estimator == "path" else 3e-2
        assert float(terms.parts["bound"]) == pytest.approx(LOG_Z, abs=tolerance)
        with torch.no_grad():
            x = MEAN.double() + torch.randn(5, 3, dtype=torch.float64)
            torch.testing.assert_close(model.log_prob(x), target(x) - LOG_Z, rtol=0, atol=0.15)


def test_at_the_optimum_the_path_gradient_is_zero_and_the_total_one_is_not():
    model = creo.build("linear-flow", Continuous((3,)), matrix="lu").double()

    def own(x):
        return frozen.log_prob(x)

    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    frozen = freeze(model)
    norms = {}
    for estimator in ("path", "total"):
        loss = reverse_divergence(model, own, n=16, estimator=estimator).loss
        parameters = list(model.parameters())
        gradient = torch.autograd.grad(loss, parameters, allow_unused=True)
        norms[estimator] = sum(float(g.square().sum()) for g in gradient if g is not None)
    assert norms["path"] < 1e-24
    assert norms["total"] > 1e-3


def test_both_estimators_have_the_same_mean():
    torch.manual_seed(0)
    model = creo.build("realnvp", Continuous((3,)), layers=2, hidden=(8,)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    bias = next(p for name, p in model.named_parameters() if name.endswith("layers.0.bias"))
    draws = {
        estimator: torch.stack([
            torch.autograd.grad(reverse_divergence(model, target, n=200, estimator=estimator).loss, bias)[0]
            for _ in range(60)
        ])
        for estimator in ("path", "total")
    }  # fmt: skip
    gap = draws["path"].mean(0) - draws["total"].mean(0)
    error = (draws["path"].var(0) / 60 + draws["total"].var(0) / 60).sqrt()
    assert ((gap / error).abs() < 4).all()


def test_a_bent_target_is_approached():
    def banana(x):
        bend = (x[:, 1] - x[:, 0].square() + 1) / 0.4
        return -0.5 * (x[:, 0].square() + bend.square()) - math.log(2 * math.pi * 0.4)

    torch.manual_seed(0)
    model = creo.build("nsf", Continuous((2,)), layers=2, hidden=(32,))
    fit_to_density(model, banana, steps=120, n=256, lr=1e-2)
    with torch.no_grad():
        divergence = float(reverse_divergence(model, banana, n=4000).loss)
    assert -0.02 < divergence < 0.2


def test_interpolation_keeps_its_ends_and_the_length_of_noise():
    torch.manual_seed(0)
    model = creo.build("realnvp", Continuous((6,)), layers=2, hidden=(8,)).double()
    a, b = torch.randn(2, 5, 6, dtype=torch.float64)
    path = interpolate(model, a, b, steps=5)
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    lengths = torch.stack([model.forward(x)[0].norm(dim=1) for x in path])
    torch.testing.assert_close(lengths[2], (lengths[0] + lengths[4]) / 2)
    space = Ordinal((4,), 5)
    levels = creo.build("maf", space, layers=1).eval()
    x = torch.randint(5, (3, 4), dtype=torch.uint8)
    assert torch.equal(interpolate(levels, x, x, steps=2)[1], x)


def test_wrong_use_gets_one_line():
    with pytest.raises(OptionError, match="path or total"):
        reverse_divergence(creo.build("maf", Continuous((2,))), target, estimator="score")
    with pytest.raises(OptionError, match="unconditional model of a Continuous"):
        reverse_divergence(creo.build("maf", Ordinal((2,), 4)), target)
    with pytest.raises(OptionError, match="two ends"):
        interpolate(creo.build("maf", Continuous((2,))), torch.zeros(1, 2), torch.zeros(1, 2), steps=1)
