"""Scores by a classifier, known modes, perplexity: closed forms and counts."""

import math

import pytest
import torch

from creo.data import load_data
from creo.errors import DataError
from creo.evaluation.judging import reference_of
from creo.evaluation.likelihood import likelihood_values
from creo.evaluation.modes import mode_values
from creo.evaluation.score import classifier_score
from creo.model import GenerativeModel, seeded
from creo.spaces import Tokens


def test_certain_and_balanced_is_the_number_of_classes():
    assert classifier_score(torch.eye(5).repeat(4, 1))[0] == pytest.approx(5.0)
    assert classifier_score(torch.full((9, 5), 0.2))[0] == pytest.approx(1.0)
    one = torch.zeros(9, 5)
    one[:, 2] = 1
    assert classifier_score(one) == (pytest.approx(1.0), pytest.approx(0.0))


def test_the_score_by_its_definition_and_its_error():
    """exp(H(mean) - mean H); the standard error is the spread over fresh samples."""
    found, errors = [], []
    with seeded(0):
        for _ in range(200):
            p = (2 * torch.randn(150, 4, dtype=torch.float64)).softmax(1)
            entropy = lambda q: -(q * q.log()).sum(-1)
            score, error = classifier_score(p)
            assert score == pytest.approx(math.exp(entropy(p.mean(0)) - entropy(p).mean()), rel=1e-9)
            found.append(score)
            errors.append(error)
    spread = torch.tensor(found).std().item()  # known to 5 %
    assert sum(errors) / 200 == pytest.approx(spread, rel=0.2)
    with pytest.raises(DataError, match="finite"):
        classifier_score(torch.full((3, 2), math.nan))
    with pytest.raises(DataError, match="2 samples"):
        classifier_score(torch.ones(1, 2))


def test_modes_are_counted():
    data = load_data("25-gaussians")
    density = data.density
    x = torch.cat([density.centres[:3].repeat(2, 1), density.centres[:1] + 0.14, density.centres[3:4] + 0.5])
    modes, quality = mode_values(x, density)  # 0.14 sqrt(2) is 3.96 sigma
    assert (modes.value, modes.unit) == (3.0, "of 25")
    assert quality.value == pytest.approx(6 / 8)
    near = mode_values(density.centres[:1] + torch.tensor([0.149, 0.0]), density)
    assert (near[0].value, near[1].value) == (1.0, 1.0)


def test_the_truth_has_all_modes():
    data = load_data("25-gaussians")
    reference = reference_of(data.test, data.space, samples=1000)
    with seeded(1):
        found = {v.name: v for v in reference.judge(data.density.sample((1000,)))}
    share = 1 - math.exp(-4.5)
    for values in (found, reference.floor):
        assert values["modes"].value == 25
        assert abs(values["high quality"].value - share) < 4 * math.sqrt(share * (1 - share) / 1000)
        assert values["high quality"].better == "higher"


class Dice(GenerativeModel):
    """Every symbol alike."""

    def log_prob(self, x, c=None):
        return torch.full((len(x),), -self.space.length * math.log(self.space.size)) + 0.1 * x[:, 0]

    def sample(self, n, c=None):
        return torch.randint(self.space.size, (n, self.space.length))


def test_perplexity_is_the_number_of_equally_likely_symbols():
    space = Tokens(20, 6)
    x = torch.zeros(50, 20, dtype=torch.long)
    found = {v.name: v for v in likelihood_values(Dice(space), x)}
    assert found["perplexity"].value == pytest.approx(6.0, rel=1e-5)
    x[::2, 0] = 5
    found = {v.name: v for v in likelihood_values(Dice(space), x, split="test")}
    nll = found["NLL"]
    assert found["perplexity"].value == pytest.approx(math.exp(nll.value / 20), rel=1e-6)
    assert found["perplexity"].stderr == pytest.approx(found["perplexity"].value * nll.stderr / 20, rel=1e-6)
    assert found["perplexity"].context == "test, n=50"
