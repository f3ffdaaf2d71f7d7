"""Times that follow the loss: the density with the least variance, and the same objective."""

import pytest
import torch

from creo.diffusion import Choices, Diffusion, Objective
from creo.diffusion.history import FLOOR, LossHistory
from creo.diffusion.objective import WEIGHTS, Uniform, stratified
from creo.diffusion.paths import VP, Linear
from creo.diffusion.predictions import NOISE
from creo.diffusion.solvers import SOLVERS
from creo.errors import OptionError
from creo.model import seeded
from creo.nn.time import TimeMLP
from creo.spaces import Continuous

D = torch.float64


def e(t):
    """A loss that is large at small times."""
    return 0.05 + torch.exp(-20 * t)


def told(path, parts=20, rounds=60):
    history = LossHistory(parts)
    for _ in range(rounds):
        t = history(path, stratified(400, torch.zeros(1)))
        history.observe(path, t, e(t))
    return history


def test_density_follows_the_root_mean_square():
    path = Linear()
    with seeded(0):
        history = told(path)
    u = (torch.arange(20000, dtype=D) + 0.5) / 20000
    t = path.t_min + u * (path.t_max - path.t_min)
    root = e(t).square().view(20, 1000).mean(1).sqrt()
    want = FLOOR / 20 + (1 - FLOOR) * root / root.sum()
    torch.testing.assert_close(history.shares(), want, rtol=0.05, atol=0)
    assert (history.density(path, t).mean() * (path.t_max - path.t_min)).item() == pytest.approx(1, abs=1e-9)


def test_times_have_the_density_and_the_objective_stays():
    path = Linear()
    with seeded(0):
        history = told(path)
        u = torch.linspace(0.01, 0.99, 9, dtype=D).requires_grad_()
        t = history(path, u)
        slope = torch.autograd.grad(t.sum(), u)[0]
        torch.testing.assert_close(history.density(path, t.detach()), 1 / slope, rtol=1e-6, atol=0)
        drawn = history(path, torch.rand(200_000, dtype=D))
        even = Uniform()(path, torch.rand(200_000, dtype=D))
    value = history.correction(path, drawn) * e(drawn)
    assert value.mean().item() == pytest.approx(e(even).mean().item(), rel=0.01)
    assert value.std() < 0.35 * e(even).std()


@pytest.mark.parametrize("weight", ["output", *WEIGHTS])
def test_every_weight_is_corrected_once(weight):
    """The mean loss of a fixed network is that of uniform times, with every weight."""
    path = VP()
    with seeded(0):
        history = told(path).eval()
        x0, z = torch.randn(2, 40_000, 1, dtype=D)
        values = [
            Objective(NOISE, density, weight)(lambda x, t: 0.3 * x, path, x0, z).mean()
            for density in (history, Uniform())
        ]
    assert values[0].item() == pytest.approx(values[1].item(), rel=0.06)


def test_a_model_keeps_its_history():
    history = LossHistory(8)
    choices = Choices(Linear(), Objective(NOISE, history, "simple"), SOLVERS["ddim"])
    model = Diffusion(Continuous((2,)), TimeMLP((2,), hidden=(8,)), choices)
    x = torch.randn(64, 2)
    assert (history.shares() == 1 / 8).all()
    model.train().loss(x)
    assert history.seen.all()
    before = history.square.clone()
    model.eval().loss(x)
    assert torch.equal(history.square, before)
    assert any("square" in name for name in model.state_dict())
    with pytest.raises(OptionError, match="at least 1"):
        LossHistory(0)
