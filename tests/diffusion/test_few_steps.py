"""Reflow and consistency models on Gaussians, whose flow, straightened flow and consistency function are known."""

import pytest
import torch
from torch import nn

from creo.diffusion import Diffusion, FlowMatching
from creo.diffusion.consistency import EPS, TOP, Consistency
from creo.diffusion.recipes import EDM, VPSDE
from creo.diffusion.reflow import Paired, crookedness, few_steps, pairs
from creo.errors import NoLikelihood, OptionError
from creo.model import seeded
from creo.spaces import Categories, Continuous, Ordinal
from creo.training.reflow import reflow

D = torch.float64
STD = 0.4
LINE = Continuous((1,))


class Answers(nn.Module):
    """A network that makes a diffusion's denoiser this one, of (x, alpha, sigma)."""

    def __init__(self, recipe, denoise):
        super().__init__()
        self.choices, self.denoise = recipe.recipe_choices, denoise
        self.anchor = nn.Parameter(torch.zeros(1, dtype=D))

    def forward(self, x, u, e=None):
        path = self.choices.path
        t = path.time(-2 * u).clamp(path.t_min, path.t_max)
        row = self.choices.objective.prediction.row(path, t)
        (alpha, sigma), (a, b) = ([k[:, None] for k in pair] for pair in (path(t), row))
        variance = alpha**2 + sigma**2
        noisy = x * variance.sqrt()
        x0 = self.denoise(noisy, alpha, sigma)
        return a * x0 + b * (noisy - alpha * x0) / sigma - (a * alpha + b * sigma) / variance * noisy


def gaussian(x, alpha, sigma):
    return alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x


def straightened(x, alpha, sigma):
    """What is denoised after reflow: x_t = (alpha s + sigma) z, y = s z."""
    return STD / (alpha * STD + sigma) * x


def model_of(denoise, recipe=FlowMatching):
    return Diffusion(LINE, Answers(recipe, denoise), recipe.recipe_choices).double().eval()


def test_pairs_of_a_gaussian_are_multiples():
    with seeded(0):
        y, z = pairs(model_of(gaussian), 200)
    torch.testing.assert_close(y, STD * z, rtol=0, atol=5e-3)


def test_crookedness_has_its_closed_form():
    """x_t = z r, r = sqrt(alpha^2 s^2 + sigma^2): S = int (r' - (1 - s))^2 dt; nothing after reflow."""
    t = (torch.arange(20000, dtype=D) + 0.5) / 20000
    r = ((1 - t) ** 2 * STD**2 + t**2).sqrt()
    want = (((t - (1 - t) * STD**2) / r - (1 - STD)) ** 2).mean()
    with seeded(0):
        before = crookedness(model_of(gaussian), 4000, steps=400)
        after = crookedness(model_of(straightened), 4000, steps=40)
    assert before == pytest.approx(float(want), rel=0.05)
    assert after < 1e-12


def test_one_step_is_exact_after_reflow_and_not_before():
    for calls in (1, 2, 5):
        with seeded(0):
            straight = few_steps(model_of(straightened), 5, calls=calls)
        with seeded(0):
            z = torch.randn(5, 1, dtype=D)
        torch.testing.assert_close(straight, STD * z, rtol=0, atol=2e-3)  # t_max = 0.999
    with seeded(0):
        one, many = (few_steps(model_of(gaussian), 4000, calls=k).std() for k in (1, 64))
    assert one < 0.01  # at t = 1 the mean of the data, whatever the noise
    assert many == pytest.approx(STD, rel=0.06)


def test_loss_on_pairs_vanishes_for_the_straightened_flow():
    with seeded(0):
        z = torch.randn(500, 1, dtype=D)
        pair = torch.cat([STD * z, z], 1)
        after, before = (Paired(model_of(f)).loss(pair).loss for f in (straightened, gaussian))
    assert after < 1e-20
    assert before > 0.01
    with pytest.raises(OptionError, match="straight lines"):
        Paired(model_of(gaussian, VPSDE))


def test_reflow_straightens_a_trained_flow():
    with seeded(0):
        x = torch.tensor([[1.0], [-1.0]])[torch.randint(2, (2000,))] + 0.2 * torch.randn(2000, 1)
        model = FlowMatching.for_space(LINE, hidden=(32, 32))
        model.initialise(x)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(200):
            optimiser.zero_grad()
            model.loss(x[torch.randint(2000, (128,))]).loss.backward()
            optimiser.step()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    straight = reflow(model.eval(), pairs=2000, steps=250, lr=5e-3, progress=False)
    with seeded(1):
        before, after = crookedness(model, 500), crookedness(straight, 500)
        one_before, one_after = (few_steps(m, 2000, calls=1) for m in (model, straight))
        truth = model.sample(2000)
    assert after < 0.35 * before
    assert one_before.std() < 0.3 * truth.std()
    assert one_after.std() == pytest.approx(float(truth.std()), rel=0.1)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_reflow_says_what_it_needs():
    model = FlowMatching.for_space(LINE, Categories(2), hidden=(8,))
    with pytest.raises(OptionError, match="conditions"):
        reflow(model, pairs=100, steps=1)
    with pytest.raises(OptionError, match="at least 20"):
        reflow(FlowMatching.for_space(LINE, hidden=(8,)), pairs=3, steps=1)


class Ends(nn.Module):
    """The network with which f is x sqrt((s^2 + eps^2) / (s^2 + sigma^2)), times a wrong factor away from eps."""

    def __init__(self, wrong=1.0):
        super().__init__()
        self.wrong, self.anchor = wrong, nn.Parameter(torch.zeros(1, dtype=D))

    def forward(self, x, u, e=None):
        sigma = u.exp()[:, None]
        total, noisy = (1 + sigma**2).sqrt(), x * (1 + sigma**2).sqrt()
        f = noisy * ((STD**2 + EPS**2) / (STD**2 + sigma**2)).sqrt()
        skip, out = 1 / (1 + (sigma - EPS) ** 2), (sigma - EPS) / total
        return torch.where(out.abs() < 1e-9, 0.0, self.wrong * (f - skip * noisy) / out)


def consistency(wrong=1.0, finest=True):
    model = Consistency(LINE, Ends(wrong)).double().eval()
    model.trained.fill_(10_000 if finest else 0)
    return model


def test_one_call_draws_the_gaussian():
    with seeded(0):
        x = torch.stack([consistency().sample(20000, steps=k).std() for k in (1, 3)])
    torch.testing.assert_close(x, torch.full((2,), STD, dtype=D), rtol=0.025, atol=0)


def test_distillation_is_satisfied_by_the_true_function_only():
    """Along the exact flow the true f agrees with itself up to Heun's error, which finer grids make small."""
    teacher = model_of(gaussian, EDM)
    with seeded(0):
        x = STD * torch.randn(2000, 1, dtype=D)
        losses = {}
        for wrong, finest in ((1.0, True), (1.0, False), (1.1, True)):
            with seeded(1):
                model = consistency(wrong, finest).taught_by(teacher)
                losses[wrong, finest] = float(model.loss(x).parts["gap"])
    assert losses[1.0, True] < 2e-4
    assert losses[1.0, True] < losses[1.0, False] / 100
    assert losses[1.1, True] > 10 * losses[1.0, True]


def test_levels_double_and_reach_both_ends():
    model = Consistency.for_space(LINE, hidden=(8,), doubling=10)
    sizes = []
    for count in (0, 9, 10, 25, 10_000):
        model.trained.fill_(count)
        levels = model.levels()
        sizes.append(len(levels) - 1)
        torch.testing.assert_close(levels[[0, -1]], torch.tensor([EPS, TOP], dtype=D))
    assert sizes == [10, 10, 20, 40, 640]
    model.train().trained.zero_()
    model.loss(torch.randn(8, 1))
    model.eval().loss(torch.randn(8, 1))
    assert model.trained == 1


@pytest.mark.parametrize("taught", [False, True])
def test_training_finds_the_consistency_function(taught):
    with seeded(0):
        x = STD * torch.randn(4000, 1)
        model = Consistency.for_space(LINE, hidden=(32, 32), doubling=100)
        if taught:
            model.taught_by(model_of(lambda x, a, s: (a / (a**2 + s**2)) * x, EDM).float())
            model._teacher[0].units.initialise(x)
        model.initialise(x)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, 400)
        for _ in range(400):
            optimiser.zero_grad()
            model.loss(x[torch.randint(4000, (256,))]).loss.backward()
            optimiser.step()
            falling.step()
        model.eval()
        sigma = torch.tensor([0.1, 0.5, 2.0, 6.0])
        got = model.ends((1 + sigma**2).sqrt()[:, None], sigma)[:, 0]
        spread = model.sample(4000, steps=1).std()
    torch.testing.assert_close(
        got, torch.ones(4), rtol=0.4, atol=0
    )  # of unit variance: f = x / sqrt(1 + sigma^2)
    assert 0.5 * STD < spread < 1.5 * STD  # levels as high as the first are seldom trained: before, 0.01


def test_what_is_not_there_is_said():
    space = Ordinal((4,), 3)
    model = Consistency.for_space(space, Categories(2), hidden=(8,))
    with pytest.raises(NoLikelihood, match="invertibly"):
        model.log_prob(torch.zeros(2, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(OptionError, match="teacher"):
        model.taught_by(FlowMatching.for_space(space, hidden=(8,)))
    with pytest.raises(OptionError, match="at least 1"):
        Consistency.for_space(LINE, hidden=(8,)).sample(2, steps=0)
