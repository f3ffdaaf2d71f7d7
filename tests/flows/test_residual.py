"""Residual layers: contractions contract, the estimate of the log-determinant is unbiased, and so is its gradient."""

import pytest
import torch

from creo.errors import OptionError
from creo.flows import Contraction, Residual, Sigmoidal


def layer(log_det="exact", lipschitz=0.9):
    torch.manual_seed(0)
    made = Residual(Contraction(3, hidden=(8, 8), lipschitz=lipschitz), log_det=log_det).double()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(3.0)
    return made


@pytest.mark.parametrize("lipschitz", [0.5, 0.97])
def test_distances_shrink_by_the_constant_whatever_the_weights(lipschitz):
    network = layer(lipschitz=lipschitz).network
    weights = network.weights()
    assert all(torch.linalg.matrix_norm(w, 2) < network.largest + 1e-12 for w in weights)
    x, y = 5 * torch.randn(2, 1000, 3, dtype=torch.float64)
    moved = (network(x, None, weights) - network(y, None, weights)).norm(dim=1)
    assert (moved <= lipschitz * (x - y).norm(dim=1)).all()


def test_roulette_is_unbiased_and_so_is_its_gradient():
    exact, estimated = layer(), layer("roulette")
    x = torch.randn(1, 3, dtype=torch.float64)
    truth = exact.forward(x)[1]
    gradient = torch.autograd.grad(truth.sum(), exact.network.layers[0].weight)[0]
    values, gradients = [], []
    for _ in range(150):
        value = estimated.forward(x.expand(100, -1))[1].mean()
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, estimated.network.layers[0].weight)[0])
    for found, wanted in ((torch.stack(values), truth[0]), (torch.stack(gradients), gradient)):
        error = found.std(0) / 150**0.5
        assert ((found.mean(0) - wanted).abs() < 4.5 * error + 1e-6).all()
        assert (error < 0.1).all()


def test_evaluation_is_exact_and_repeats():
    estimated = layer("roulette").eval()
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(estimated.forward(x)[1], layer().forward(x)[1])


def test_the_inverse_carries_the_exact_gradient():
    made = layer()
    y = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: made.inverse(v), (y,), atol=1e-6)
    bias = made.network.layers[0].bias
    analytic = torch.autograd.grad(made.inverse(y)[0].sum(), bias)[0]
    step = 1e-6
    with torch.no_grad():
        bias[0] += step
        above = made.inverse(y)[0].sum()
        bias[0] -= 2 * step
        below = made.inverse(y)[0].sum()
    assert float(analytic[0]) == pytest.approx(float(above - below) / (2 * step), rel=1e-4)


def test_sigmoidal_maps_keep_their_digits_far_out_and_learn_nothing_at_one_unit():
    torch.manual_seed(0)
    unit = Sigmoidal(6)
    h = 2 * torch.randn(7, unit.parameters, 3, dtype=torch.float64)
    for far in (-1e4, -50.0, 0.0, 50.0, 1e4):
        x = torch.full((7, 3), far, dtype=torch.float64)
        y, log_slope = unit.forward(x, h)
        back, inverse_log_slope = unit.inverse(y, h)
        torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-9)
        torch.testing.assert_close(inverse_log_slope, -log_slope, rtol=0, atol=1e-8)
    x = torch.randn(7, 3, dtype=torch.float64)
    single = Sigmoidal(1)
    torch.testing.assert_close(single.forward(x, torch.zeros(7, 3, 3, dtype=torch.float64))[0], x)


def test_wrong_options_get_one_line():
    with pytest.raises(OptionError, match="exact or roulette"):
        Residual(Contraction(2, hidden=(4,)), log_det="trace")
    with pytest.raises(OptionError, match="lipschitz"):
        Contraction(2, hidden=(4,), lipschitz=1.0)
    with pytest.raises(OptionError, match="hidden"):
        Contraction(2, hidden=())
    with pytest.raises(OptionError, match="at least 1 sigmoid"):
        Sigmoidal(0)
