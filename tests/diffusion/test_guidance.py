"""Guidance of every kind against Gaussians, whose guided denoisers are Gaussians' again."""

import math

import pytest
import torch
from torch import nn

from creo.diffusion import DDPM, EDM, Diffusion, FlowMatching, Mixture, NoisyClassifier, classified, guided
from creo.diffusion.objective import UniformLogSNR
from creo.diffusion.paths import EDM as EDMPath
from creo.diffusion.paths import VE, VP, Linear, SubVP
from creo.diffusion.recipes import VPSDE
from creo.errors import OptionError
from creo.model import seeded
from creo.spaces import Categories, Continuous, Ordinal
from creo.testing import check_instance, settle, tiny_data

D = torch.float64
PATHS = {"vp": VP(), "sub-vp": SubVP(), "ve": VE(0.02, 10.0), "edm": EDMPath(), "linear": Linear()}
STD, MEANS = 0.6, [[-1.0, 0.3], [1.2, 0.0], [0.1, -0.8]]
WEIGHTS = [0.2, 0.5, 0.3]


def double(v):
    return torch.tensor(v, dtype=D)


def gaussian(path, mean):
    return Mixture(path, double([1.0]), double([mean]), double([STD]))


def everything(path):
    return Mixture(path, double(WEIGHTS), double(MEANS), double([STD] * 3))


def exact_log_probs(path, x, t):
    """log p_t(c | x) of the classes, by Bayes's rule."""
    joint = torch.stack(
        [w.log() + gaussian(path, m).log_prob(x, t) for w, m in zip(double(WEIGHTS), MEANS, strict=True)], 1
    )
    return joint.log_softmax(1)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_classifier_conditions_a_denoiser_by_bayes_rule(path):
    """D_0 and the gradient of the exact classifier make the class's own denoiser."""
    with seeded(0):
        x = torch.randn(20, 2, dtype=D)
    for level in (-3.0, 0.0, 4.0):
        t = path.time(double(level)).clamp(path.t_min, path.t_max)
        for c in range(3):
            made = classified(everything(path), path, lambda x, t, c=c: exact_log_probs(path, x, t)[:, c])
            torch.testing.assert_close(made(x, t), gaussian(path, MEANS[c])(x, t), rtol=1e-9, atol=1e-9)
            assert not made(x, t).requires_grad


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("w", [0.0, 2.5])
def test_guided_classes_of_one_variance_are_a_gaussian_further_out(path, w):
    """D_w of N(m_1, s^2) away from N(m_0, s^2) is the denoiser of N(m_0 + w (m_1 - m_0), s^2)."""
    with seeded(0):
        x = torch.randn(20, 2, dtype=D)
    t = path.time(double(0.5)).clamp(path.t_min, path.t_max)
    away = (double(MEANS[0]) + w * (double(MEANS[1]) - double(MEANS[0]))).tolist()
    made = guided(gaussian(path, MEANS[1]), gaussian(path, MEANS[0]), w)
    torch.testing.assert_close(made(x, t), gaussian(path, away)(x, t), rtol=1e-10, atol=1e-10)


class ByClass(nn.Module):
    """A network whose model is the exact denoiser of N(m_c, s^2), or of m[3] without a class."""

    def __init__(self, choices, means):
        super().__init__()
        self.choices, self.means = choices, double(means)
        self.anchor = nn.Parameter(torch.zeros(1, dtype=D))

    def forward(self, x, u, e):
        path, prediction = self.choices.path, self.choices.objective.prediction
        t = path.time(-2 * u).clamp(path.t_min, path.t_max)
        (alpha, sigma), (a, b) = ([k[:, None] for k in pair] for pair in (path(t), prediction.row(path, t)))
        variance = alpha**2 + sigma**2
        noisy, mean = x * variance.sqrt(), self.means[e[:, 0].round().long()]
        x0 = mean + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (noisy - alpha * mean)
        return a * x0 + b * (noisy - alpha * x0) / sigma - (a * alpha + b * sigma) / variance * noisy


class Index(nn.Module):
    """Labels as their numbers."""

    width = 1

    def forward(self, c):
        return c[:, None].to(D)


def model_of(means, recipe=VPSDE):
    """A model of three classes and of none, in units of its own: mean 0, deviation 1."""
    model = Diffusion(
        Continuous((2,)), ByClass(recipe.recipe_choices, means), recipe.recipe_choices,
        condition=Categories(3), embedding=Index(),
    ).double()  # fmt: skip
    nn.init.constant_(model.nothing, 3.0)
    return model.eval()


NOTHING = [0.1, 0.1]


@pytest.mark.parametrize("how", ["free", "negative", "weaker", "weaker and negative"])
def test_guided_samples_are_the_gaussian_of_the_closed_form(how):
    """Samples of the guided flow: mean m_0 + w (m_1 - m_0) and the classes' variance."""
    model, w = model_of([*MEANS, NOTHING]), 1.7
    weak = [[-0.5, 0.5], [0.7, 0.2], [0.0, 0.4], NOTHING]
    away, options = {
        "free": (NOTHING, {}),
        "negative": (MEANS[2], {"negative": torch.tensor(2)}),
        "weaker": (weak[1], {"weaker": model_of(weak)}),
        "weaker and negative": (weak[2], {"weaker": model_of(weak), "negative": torch.tensor(2)}),
    }[how]
    n = 4000
    with seeded(0):
        x = model.sample(n, torch.tensor(1), guidance=w, **options)
    want = double(away) + w * (double(MEANS[1]) - double(away))
    assert (x.mean(0) - want).abs().max() < 4.5 * STD / n**0.5 + 0.01
    assert (x.var(0) / STD**2 - 1).abs().max() < 4.5 * (2 / n) ** 0.5 + 0.02


def test_temperature_of_a_models_samples():
    model, n = model_of([*MEANS, NOTHING]), 4000
    with seeded(0):
        x = model.sample(n, torch.tensor(1), temperature=0.25, solver="sde-dpm++", steps=60)
    assert (x.mean(0) - double(MEANS[1])).abs().max() < 4.5 * STD / 2 / n**0.5 + 0.01
    assert (x.var(0) / (STD**2 / 4) - 1).abs().max() < 4.5 * (2 / n) ** 0.5 + 0.03


def test_an_unconditional_weaker_model_and_what_does_not_fit():
    model, c = model_of([*MEANS, NOTHING]), torch.tensor(1)
    alone = Diffusion(Continuous((2,)), nn.Identity(), VPSDE.recipe_choices).double()
    assert alone.condition is None
    alone._denoiser = lambda e: gaussian(VPSDE.recipe_choices.path, NOTHING)
    with seeded(1):
        got = model.sample(8, c, guidance=3.0, weaker=alone)
    with seeded(1):
        torch.testing.assert_close(got, model.sample(8, c, guidance=3.0), rtol=1e-6, atol=1e-6)
    with pytest.raises(OptionError, match="give a scale"):
        model.sample(2, c, weaker=alone)
    with pytest.raises(OptionError, match="same path"):
        model.sample(2, c, guidance=2.0, weaker=model_of(MEANS, FlowMatching))
    other = model_of(MEANS)
    other.units.mean += 1.0
    with pytest.raises(OptionError, match="same data"):
        model.sample(2, c, guidance=2.0, weaker=other)
    with pytest.raises(OptionError, match="given"):
        alone.sample(2, guidance=2.0, weaker=model)
    with pytest.raises(OptionError, match="diffusion"):
        model.sample(2, c, guidance=2.0, weaker=nn.Identity())


def test_interval_and_rescale_reach_the_sampler():
    model, c = model_of([*MEANS, NOTHING]), torch.tensor(1)
    how = {"seeds": [1, 2], "guidance": 3.0}
    plain = model.sample(2, c, seeds=[1, 2])
    assert torch.equal(model.sample(2, c, interval=(2.0, 3.0), **how), plain)
    full = model.sample(2, c, **how)
    assert not torch.allclose(model.sample(2, c, interval=(0.3, 0.6), **how), full)
    assert not torch.allclose(model.sample(2, c, rescale=0.7, **how), full)


# -- the classifier that the package trains ------------------------------------------------------------------------


def test_a_trained_classifier_is_the_exact_one():
    """Cross-entropy on noised classes is lowered to that of Bayes's rule, at every noise level."""
    path = VP()
    with seeded(0):
        classifier = NoisyClassifier((2,), Categories(3), path)
        optimiser = torch.optim.Adam(classifier.parameters(), 3e-3)
        for _ in range(300):
            c = torch.multinomial(torch.tensor(WEIGHTS), 256, replacement=True)
            x0 = torch.tensor(MEANS)[c] + STD * torch.randn(256, 2)
            optimiser.zero_grad()
            classifier.loss(x0, c, UniformLogSNR()).backward()
            optimiser.step()
        for level in (-4.0, 0.0, 5.0):
            t = path.time(torch.tensor(level, dtype=D))
            c = torch.multinomial(torch.tensor(WEIGHTS), 4000, replacement=True)
            x = path.perturb(torch.tensor(MEANS)[c] + STD * torch.randn(4000, 2), torch.randn(4000, 2), t)
            with torch.no_grad():
                got, want = classifier.log_probs(x, t), exact_log_probs(path, x.double(), t)
            kl = (want.exp() * (want - got)).sum(1).mean()
            assert kl < 1e-2, (level, kl)
    assert got.exp().sum(1).allclose(torch.ones(4000))


def test_a_classifier_guided_model_learns_its_classes():
    """Unconditional network and classifier together: samples of the class that was asked for, further out with w."""
    space, condition = Continuous((2,)), Categories(2)
    with seeded(0):
        c = torch.randint(2, (2000,))
        x = torch.where(c == 1, 1.5, -1.5)[:, None] + 0.5 * torch.randn(2000, 2)
        model = VPSDE.for_space(space, condition, hidden=(64, 64), guide="classifier")
        settled = settle(model, x, c, steps=400, lr=3e-3, noise=0.0)
        one, two = (settled.sample(500, torch.tensor(1), guidance=w) for w in (1.0, 3.0))
        none = settled.sample(500, torch.tensor(1), guidance=0.0)
    assert abs(one.mean() - 1.5) < 0.3
    assert (one[:, 0] > 0).double().mean() > 0.85
    assert two.mean() > one.mean() + 0.05
    assert 0.3 < (none[:, 0] > 0).double().mean() < 0.7
    density = settled.log_prob(x[:50], c[:50])
    truth = -(((x[:50] - torch.where(c[:50] == 1, 1.5, -1.5)[:, None]) / 0.5) ** 2).sum(1) / 2 - math.log(
        2 * math.pi * 0.25
    )
    assert (density - truth).abs().mean() < 0.8
    assert (density - settled.log_prob(x[:50], 1 - c[:50])).mean() > 2
    assert settled.network.time.context is None


def test_a_classifier_guided_model_keeps_the_contracts_rules():
    space, condition = Ordinal((1, 2, 2), 3), Categories(3)
    x, c = tiny_data(space, condition)

    def build():
        return EDM.for_space(space, condition, hidden=(16,), guide="classifier")

    with seeded(0):
        model = settle(build(), x, c)
    tried = check_instance(
        model, x, c, rebuild=build, only=["conditional", "gradients_reach_parameters", "save_load"]
    )
    assert len(tried) == 3


def test_classifiers_need_labels():
    for condition in (None, Continuous((2,))):
        with pytest.raises(OptionError, match="labels"):
            DDPM.for_space(Continuous((2,)), condition, guide="classifier")


def test_pictures_have_a_convolutional_classifier():
    classifier = NoisyClassifier((1, 16, 16), Categories(4), VP())
    x = torch.randn(3, 1, 16, 16)
    log_p = classifier.log_probs(x, torch.tensor([0.2, 0.5, 0.9]))
    torch.testing.assert_close(log_p, torch.full((3, 4), -math.log(4)))
    with torch.no_grad():
        nn.init.normal_(classifier.network.inner.out.weight)
    assert classifier.log_probs(x, torch.tensor(0.5)).shape == (3, 4)
    assert not torch.equal(
        classifier.log_probs(x, torch.tensor(0.5)), classifier.log_probs(x, torch.tensor(0.6))
    )
