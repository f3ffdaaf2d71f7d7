"""The GAN: losses and penalty against their formulas, the two players' separation, and a game that converges."""

from __future__ import annotations

import math

import pytest
import torch

from creo.adversarial import GAN
from creo.adversarial.gan import gradient_penalty
from creo.errors import NoLikelihood, OptionError, SpaceError
from creo.model import Likelihood
from creo.spaces import Categories, Continuous, Ordinal, Tokens

SPACES = [Continuous((2,)), Ordinal((1, 8, 8), 17), Ordinal((1, 28, 28), 256), Ordinal((5,), 2)]


def batch(space, n=6):
    if space.kind == "Continuous":
        return 3 * torch.randn(n, *space.shape) + 1
    return torch.randint(0, space.levels, (n, *space.shape)).to(space.dtype)


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("condition", [None, Categories(3)], ids=str)
def test_each_player_moves_all_of_its_own_parameters_and_no_others(space, condition):
    torch.manual_seed(0)
    model = GAN.for_space(space, condition, hidden=32, channels=4)
    x, c = batch(space), None if condition is None else torch.arange(6) % 3
    model.initialise(x, c)
    names = {id(p): name for name, p in model.named_parameters()}
    players = {p.name: p for p in model.players()}
    assert sorted(names[id(p)] for player in players.values() for p in player.parameters) == sorted(
        names.values()
    )
    for player in players.values():
        model.zero_grad()
        player.loss(x, c).loss.backward()
        for p in player.parameters:
            # A bias of the critic's last layer cancels where the two classes balance, so only ask for a gradient.
            assert p.grad is not None, names[id(p)]
    model.zero_grad()
    players["discriminator"].loss(x, c).loss.backward()
    assert all(p.grad is None for p in model.generator.parameters())


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_samples_are_raw_data(space):
    torch.manual_seed(1)
    model = GAN.for_space(space, Categories(3), hidden=32, channels=4)
    model.initialise(batch(space))
    assert space.check(model.sample(4, torch.tensor(2))).dtype == space.dtype
    assert space.check(model.decode(torch.randn(3, 32), torch.tensor([0, 1, 2]))).shape == (3, *space.shape)


def test_losses_are_the_formulas():
    torch.manual_seed(2)
    model = GAN.for_space(Continuous((2,)), hidden=16, r1=0.5).double()
    x = batch(model.space).double()
    model.initialise(x)
    torch.manual_seed(3)
    terms = model.discriminator_loss(x)
    torch.manual_seed(3)
    fake = model.generate(torch.randn(6, 32, dtype=torch.float64))
    unit = (x - x.mean(0)) / x.std(0, correction=0)
    real_p = model.discriminator(unit).sigmoid()
    fake_p = model.discriminator(fake).sigmoid()
    entropy = -real_p.log().mean() - (1 - fake_p).log().mean()
    torch.testing.assert_close(terms.parts["cross_entropy"], entropy)
    torch.testing.assert_close(terms.loss, entropy + 0.25 * terms.parts["gradient_penalty"])
    torch.manual_seed(3)
    torch.testing.assert_close(model.generator_loss(x).loss, -fake_p.log().mean())


def test_penalty_is_of_each_sample_not_of_the_batch():
    """D(x) = |x|^2 has gradient 2 x: the penalty is 4 E|x|^2, whatever the batch size."""
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]], requires_grad=True)
    penalty = gradient_penalty(x.square().sum(1, keepdim=True), x)
    torch.testing.assert_close(penalty, torch.tensor(4 * (1 + 4 + 25) / 3))
    (again,) = torch.autograd.grad(penalty, x)
    torch.testing.assert_close(again, 8 * x.detach() / 3)


def test_levels_go_to_the_unit_interval_and_back():
    torch.manual_seed(4)
    for levels in (2, 17, 256):
        model = GAN.for_space(Ordinal((3,), levels), hidden=8)
        x = torch.arange(levels)[:, None].expand(-1, 3).to(model.space.dtype)
        unit = model._unit(x)
        assert -1 <= unit.min() <= unit.max() <= 1
        assert torch.equal(model._raw(unit), x)
        assert model._raw(torch.ones(1, 3)).max() == levels - 1  # tanh saturated
        assert model._raw(-torch.ones(1, 3)).min() == 0


def test_there_is_no_likelihood_and_it_says_so():
    model = GAN.for_space(Continuous((2,)), hidden=8)
    assert model.likelihood is Likelihood.NONE
    with pytest.raises(NoLikelihood, match="defines samples, not their density"):
        model.log_prob(torch.zeros(1, 2))


def test_the_game_recovers_a_gaussian():
    torch.manual_seed(5)
    model = GAN.for_space(Continuous((2,)), hidden=32, layers=2, latent=4, r1=0.3)
    mean, scale = torch.tensor([4.0, -1.0]), torch.tensor([0.5, 2.0])
    x = mean + scale * torch.randn(4000, 2)
    model.initialise(x)
    players = model.players()
    optimisers = [torch.optim.Adam(p.parameters, lr=2e-3, betas=p.optimiser["betas"]) for p in players]
    average: list[torch.Tensor] = []
    for step in range(500):
        for player, optimiser in zip(players, optimisers, strict=True):
            optimiser.zero_grad()
            player.loss(x[torch.randint(len(x), (128,))], None).loss.backward()
            optimiser.step()
        if step >= 300:
            average.append(model.sample(100))
    drawn = (torch.cat(average) - mean) / scale
    assert drawn.mean(0).abs().max() < 0.25
    assert (drawn.std(0) - 1).abs().max() < 0.3
    # At equilibrium the discriminator's cross-entropy is 2 ln 2.
    assert abs(model.discriminator_loss(x[:1000]).parts["cross_entropy"] - 2 * math.log(2)) < 0.15


def test_errors_say_what_to_do():
    with pytest.raises(SpaceError, match="Continuous and Ordinal; received Tokens"):
        GAN.for_space(Tokens(3, 4))
    with pytest.raises(OptionError, match="r1 must be at least 0"):
        GAN.for_space(Continuous((2,)), r1=-1.0)
