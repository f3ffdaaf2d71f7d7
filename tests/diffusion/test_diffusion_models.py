"""Recipes, networks and the model around them; `tests/test_every_model.py` holds them to the contract's rules."""

import pytest
import torch
from torch import nn

from creo.diffusion import DDPM, EDM, NCSN, SOLVERS, Diffusion, FlowMatching, Mixture, OTFlowMatching
from creo.diffusion.recipes import VESDE, VPSDE, RectifiedFlow, SubVPSDE
from creo.diffusion.solvers import find_solver
from creo.errors import OptionError, SpaceError, UnknownName
from creo.model import seeded
from creo.nn.time import TimeEmbedding, TimeMLP
from creo.nn.unet import Attention, UNet
from creo.spaces import Categories, Continuous, Ordinal
from creo.testing import settle, tiny_data

RECIPES = (DDPM, NCSN, VPSDE, VESDE, SubVPSDE, EDM, FlowMatching, OTFlowMatching, RectifiedFlow)
each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.__name__)


class Best(nn.Module):
    """A network whose model is the exact denoiser of a mixture, whatever the recipe predicts."""

    def __init__(self, recipe, weights, means, stds):
        super().__init__()
        self.choices = recipe.recipe_choices
        self.mixture = Mixture(self.choices.path, weights, means, stds)
        self.anchor = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x, u, e=None):
        path, prediction = self.choices.path, self.choices.objective.prediction
        t = path.time(-2 * u).clamp(path.t_min, path.t_max)
        (alpha, sigma), (a, b) = ([k[:, None] for k in pair] for pair in (path(t), prediction.row(path, t)))
        variance = alpha**2 + sigma**2
        noisy = x * variance.sqrt()
        x0 = self.mixture(noisy, t)
        return a * x0 + b * (noisy - alpha * x0) / sigma - (a * alpha + b * sigma) / variance * noisy


MEAN, STD = 3.0, 0.5


def exact_model(recipe):
    """The mixture in units of its own variance 1, and a model of it in raw units, mean 3 and deviation 1/2."""
    parts = [
        torch.tensor(v, dtype=torch.float64) for v in ([0.5, 0.5], [[0.8, 0.6], [-0.8, -0.6]], [0.6, 0.6])
    ]
    model = Diffusion(
        Continuous((2,)), Best(recipe, *parts), recipe.recipe_choices, likelihood_steps=96
    ).double()
    model.units.mean.fill_(MEAN)
    model.units.log_std.fill_(torch.tensor(STD).log())
    return model.eval(), Mixture(recipe.recipe_choices.path, *parts)


@each
def test_log_prob_score_and_denoiser_are_in_raw_units(recipe):
    """All of a model around an exact network: densities, scores and denoised samples of raw data."""
    model, mixture = exact_model(recipe)
    with seeded(0):
        y = mixture.sample(16)
    path = recipe.recipe_choices.path
    t = torch.tensor(path.t_min, dtype=torch.float64)
    want = mixture.log_prob(path(t)[0] * y, t) + 2 * path(t)[0].log() - 2 * torch.tensor(STD).log()
    # NCSN's largest noise, 20, leaves the most of the data's shape in what should be normal noise.
    atol = 5e-3 if recipe is NCSN else 1e-3
    torch.testing.assert_close(model.log_prob(MEAN + STD * y), want, rtol=0, atol=atol)

    t = path.time(torch.full((16,), 1.0, dtype=torch.float64))
    y = y.requires_grad_()
    slope = torch.autograd.grad(mixture.log_prob(y, t).sum(), y)[0]
    y = y.detach()
    torch.testing.assert_close(model.score(MEAN + STD * y, t), slope / STD, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        model.denoise(MEAN + STD * y, t), MEAN + STD * mixture(y, t), rtol=1e-6, atol=1e-7
    )


@each
def test_default_sampler_samples_the_data(recipe):
    model, _ = exact_model(recipe)
    with seeded(1):
        x = model.sample(4000)
    y = (x - MEAN) / STD
    cov = torch.tensor([[1.0, 0.48], [0.48, 0.72]], dtype=torch.float64)
    assert (y.mean(0)).abs().max() < 4.5 / 4000**0.5 + 0.03
    assert (y.T.cov() - cov).abs().max() < 0.12


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_samples_a_model(name):
    model, _ = exact_model(NCSN if name == "annealed-langevin" else FlowMatching)
    with seeded(1):
        y = (model.sample(4000, solver=name, steps=60) - MEAN) / STD
    assert y.mean(0).abs().max() < 0.12
    # Five Langevin steps a level do not reach each level's equilibrium.
    assert (y.var(0) - torch.tensor([1.0, 0.72])).abs().max() < (
        0.25 if name == "annealed-langevin" else 0.15
    )


@pytest.mark.parametrize("solver", [FlowMatching, DDPM], ids=lambda r: r.__name__)
def test_steps_is_the_number_of_network_calls(solver):
    model, _ = exact_model(solver)
    calls = []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    model.sample(2, steps=7)
    assert len(calls) == 7
    calls.clear()
    model.log_prob(torch.zeros(2, 2, dtype=torch.float64), steps=5)
    assert len(calls) == 5


def test_guidance_needs_a_condition_and_costs_two_calls():
    space, condition = Continuous((2,)), Categories(3)
    x, c = tiny_data(space, condition)
    model = settle(FlowMatching.for_space(space, condition, hidden=(16,)), x, c)
    calls = []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    out = []
    for scale in (1.0, 0.0, 3.0):
        calls.clear()
        with seeded(0):
            out.append(model.sample(5, torch.tensor(1), steps=4, guidance=scale))
        assert len(calls) == (8 if scale == 3 else 4)
    assert not torch.equal(out[0], out[2])
    with seeded(0):  # without the condition, which one was given does not matter
        torch.testing.assert_close(model.sample(5, torch.tensor(2), steps=4, guidance=0.0), out[1])
    with pytest.raises(OptionError, match="guidance"):
        exact_model(FlowMatching)[0].sample(2, guidance=2.0)


def test_levels_are_cells_and_constant_borders_are_no_trouble():
    space = Ordinal((1, 4, 4), 5)
    x = torch.randint(0, 5, (64, *space.shape), dtype=torch.uint8)
    x[:, :, 0] = 0
    model = DDPM.for_space(space)
    model.initialise(x)
    y = model.units(x)
    assert torch.equal(model.units.data(y), x)
    assert abs(y.mean()) < 0.1
    assert abs(y.std() - 1) < 0.1
    flat = FlowMatching.for_space(Continuous((3,)))
    flat.initialise(torch.randn(50, 3) * torch.tensor([0.0, 2.0, 5.0]) + 1)
    assert flat.units.log_std.isfinite().all()
    assert flat.units(torch.ones(2, 3)).isfinite().all()


def test_unet_starts_at_zero_keeps_sizes_and_is_reached_by_gradients():
    for shape in ((1, 28, 28), (3, 16, 12), (1, 9, 7)):
        net = UNet(shape, channels=8, context=4)
        x, u, e = torch.randn(2, *shape), torch.randn(2), torch.randn(2, 4)
        assert torch.equal(net(x, u, e), torch.zeros_like(x))
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.05 * torch.randn_like(p))
        assert net(x, u, e).shape == x.shape
        net(x, u, e).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
        assert not torch.equal(net(x, u, e), net(x, u + 1, e))


def test_attention_is_the_fused_kernels():
    layer = Attention(8).double()
    nn.init.normal_(layer.out.weight)
    h = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = layer.qkv(layer.norm(h)).flatten(2).transpose(1, 2).chunk(3, -1)
    y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(layer(h), h + layer.out(y))


def test_a_unet_model_passes_through_training_and_back():
    space = Ordinal((1, 16, 16), 4)
    x = torch.randint(0, 4, (64, *space.shape), dtype=torch.uint8)
    model = settle(EDM.for_space(space, channels=8), x, steps=2)
    assert isinstance(model.network, UNet)
    assert model.sample(2, steps=3).shape == (2, 1, 16, 16)
    assert model.log_prob(x[:2], steps=4).isfinite().all()


def test_options_and_inputs_are_checked():
    model, _ = exact_model(FlowMatching)
    with pytest.raises(UnknownName, match="dpm"):
        find_solver("dpm+")
    with pytest.raises(OptionError, match="times"):
        model.score(torch.zeros(2, 2), torch.full((2,), 2.0))
    with pytest.raises(SpaceError, match="floating"):
        model.denoise(torch.zeros(2, 2).long(), torch.full((2,), 0.5))
    with pytest.raises(SpaceError, match="Continuous"):
        DDPM.for_space(Categories(3))
    with pytest.raises(OptionError, match="dropout"):
        DDPM.for_space(Continuous((2,)), label_dropout=1.0)
    with pytest.raises(OptionError, match="width"):
        TimeEmbedding(3)
    with pytest.raises(OptionError, match="images"):
        UNet((4,))
    assert TimeMLP((2, 3))(torch.ones(5, 2, 3), torch.zeros(5)).shape == (5, 2, 3)
    chosen = DDPM.for_space(Continuous((2,)), prediction="v", weight="min-snr").choices.objective
    assert (chosen.prediction.name, chosen.weight) == ("v", "min-snr")
