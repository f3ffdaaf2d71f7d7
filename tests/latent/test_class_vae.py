"""GMVAE and SSVAE against the mixtures that they are when decoders are linear, and against enumeration over classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from creo.distributions.heads import Gaussian
from creo.errors import OptionError, SpaceError
from creo.latent import GMVAE, SSVAE
from creo.spaces import Categories, Continuous, Ordinal, Tokens

STD = 0.7


class Linear(nn.Module):
    """z -> x = W z (+ a class's offset), as head parameters (B, D, 1)."""

    def __init__(self, w, offset=None):
        super().__init__()
        self.w, self.offset = nn.Parameter(w), offset

    def forward(self, z, e=None):
        x = z @ self.w.T
        return (x if e is None or self.offset is None else x + e @ self.offset).unsqueeze(-1)


def linear_gmvae():
    """A GMVAE with x = W z + noise: a mixture of three full-covariance Gaussians."""
    torch.manual_seed(0)
    model = GMVAE.for_space(Continuous((3,)), classes=3, latent=2, hidden=8, std=STD).double()
    model.decoder = Linear(torch.randn(3, 2, dtype=torch.float64))
    assert isinstance(model.head, Gaussian)
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.5, 0.0, -0.4]))
        model.log_std.copy_(0.3 * torch.randn(3, 2))
    w = model.decoder.w.detach()
    eye = STD**2 * torch.eye(3, dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(
        model.centre.detach() @ w.T,
        torch.stack([w @ (2 * s).exp().diag() @ w.T + eye for s in model.log_std.detach()]),
    )
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=model.logits.detach()), parts
    )
    return model.eval(), mixture


@torch.no_grad()
def test_gmvaes_bound_tends_to_the_mixtures_density_from_below():
    model, mixture = linear_gmvae()
    x = mixture.sample((6,))
    exact = mixture.log_prob(x)
    means = []
    for k in (1, 16, 256):
        draws = torch.stack([model.log_prob(x, samples=k) for _ in range(200)])
        assert (draws.mean(0) < exact + 4.5 * draws.std(0) / math.sqrt(200)).all()
        means.append(draws.mean())
    assert means[0] < means[1] < means[2]
    torch.testing.assert_close(model.log_prob(x, samples=60_000), exact, rtol=0, atol=0.15)


@torch.no_grad()
def test_the_loss_is_minus_the_bound_over_classes():
    """E[-loss] <= log p(x), and equals sum_y q(y | x) (L(x, y) - log q(y | x)) of one's own making."""
    model, mixture = linear_gmvae()
    x = mixture.sample((1,)).expand(4000, 3)
    terms = model.loss(x)
    log_q = model.class_log_posterior(x[:1])[0]
    total = 0.0
    for y in range(3):
        q = model._posterior(x, torch.full((4000,), y))
        z = q.mean + q.log_std.exp() * torch.randn_like(q.mean)
        log_prior = torch.distributions.Normal(model.centre[y], model.log_std[y].exp()).log_prob(z).sum(-1)
        likelihood = torch.distributions.Normal(z @ model.decoder.w.T, STD).log_prob(x).sum(-1)
        log_posterior = torch.distributions.Normal(q.mean, q.log_std.exp()).log_prob(z).sum(-1)
        joint = likelihood + log_prior - log_posterior + model.class_log_prior()[y]
        total += log_q[y].exp() * (joint.mean() - log_q[y])
    assert abs(-terms.loss - total) < 0.05 * abs(total)
    assert -terms.loss < mixture.log_prob(x[:1]).item()
    torch.testing.assert_close(terms.parts["nll"], terms.parts["distortion"] + terms.parts["rate"])


def test_samples_of_gmvae_follow_the_mixture():
    model, mixture = linear_gmvae()
    torch.manual_seed(1)
    x, n = model.sample(20_000), 20_000
    assert ((x.mean(0) - mixture.mean).abs() < 4.5 * mixture.variance.sqrt() / math.sqrt(n)).all()
    assert ((x.var(0) / mixture.variance - 1).abs() < 0.1).all()


def test_gmvae_finds_clusters():
    torch.manual_seed(2)
    centres = torch.tensor([[0.0, 6.0], [6.0, 0.0], [-6.0, -3.0]])
    y = torch.arange(600) % 3
    x = centres[y] + 0.5 * torch.randn(600, 2)
    model = GMVAE.for_space(Continuous((2,)), classes=3, latent=2, hidden=32)
    model.initialise(x)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(250):
        optimiser.zero_grad()
        model.loss(x[torch.randint(600, (128,))]).loss.backward()
        optimiser.step()
    found = model.class_log_posterior(x).argmax(1)
    agreement = [[int(((found == k) & (y == j)).sum()) for j in range(3)] for k in range(3)]
    assert sum(max(row) for row in agreement) > 580


# --- semi-supervised ----------------------------------------------------------------------------------------------


def moons(n=400):
    """Two classes that a line does not separate."""
    torch.manual_seed(3)
    y = torch.arange(n) % 2
    t = torch.rand(n) * math.pi
    x = torch.stack([torch.cos(t) + y * 1.0, torch.where(y == 0, torch.sin(t), 0.4 - torch.sin(t))], 1)
    return x + 0.08 * torch.randn(n, 2), y


def test_the_same_labels_are_kept_always_and_about_as_many_as_asked():
    x, _ = moons(4000)
    model = SSVAE.for_space(Continuous((2,)), Categories(2), labelled=0.2)
    kept = model.keeps_label(x)
    assert abs(kept.double().mean() - 0.2) < 4.5 * math.sqrt(0.16 / 4000)
    order = torch.randperm(4000)
    assert torch.equal(model.keeps_label(x[order]), kept[order])
    assert torch.equal(torch.cat([model.keeps_label(row[None]) for row in x[:20]]), kept[:20])
    other = SSVAE.for_space(Continuous((2,)), Categories(2), labelled=0.2, label_seed=1).keeps_label(x)
    both = (kept & other).double().mean()
    assert abs(both - 0.04) < 4.5 * math.sqrt(0.04 * 0.96 / 4000)  # independent choices
    assert not SSVAE.for_space(Continuous((2,)), Categories(2), labelled=0.0).keeps_label(x).any()
    assert SSVAE.for_space(Continuous((2,)), Categories(2), labelled=1.0).keeps_label(x).all()
    pixels = torch.randint(0, 2, (4000, 1, 5, 5), dtype=torch.uint8)
    share = SSVAE.for_space(Ordinal((1, 5, 5), 2), Categories(2), labelled=0.5).keeps_label(pixels)
    assert abs(share.double().mean() - 0.5) < 0.04


def test_labels_that_are_not_kept_change_nothing():
    x, y = moons(200)
    model = SSVAE.for_space(Continuous((2,)), Categories(2), labelled=0.3, hidden=8).eval()
    kept = model.keeps_label(x)
    wrong = torch.where(kept, y, 1 - y)
    losses = []
    for c in (y, wrong, 1 - y):
        torch.manual_seed(0)
        losses.append(model.loss(x, c).loss.item())
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_marginal_over_labels_is_the_sum_over_classes():
    torch.manual_seed(4)
    x, _ = moons(30)
    model = SSVAE.for_space(Continuous((2,)), Categories(2), latent=1, hidden=8).double().eval()
    free = SSVAE.for_space(Continuous((2,)), classes=2, latent=1, hidden=8).double().eval()
    free.load_state_dict(model.state_dict())
    with torch.no_grad():
        each = torch.stack([model.log_prob(x.double(), torch.full((30,), k), samples=4000) for k in (0, 1)])
        whole = free.log_prob(x.double(), samples=4000)
    torch.testing.assert_close(whole, each.logsumexp(0) - math.log(2), rtol=0, atol=0.1)


def test_few_labels_and_many_examples_are_enough_to_classify():
    x, y = moons()
    model = SSVAE.for_space(Continuous((2,)), Categories(2), labelled=0.1, latent=1, hidden=32)
    model.initialise(x, y)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(300):
        pick = torch.randint(len(x), (128,))
        optimiser.zero_grad()
        model.loss(x[pick], y[pick]).loss.backward()
        optimiser.step()
    hidden = ~model.keeps_label(x)
    accuracy = (model.classify(x).argmax(1) == y)[hidden].double().mean()
    assert accuracy > 0.9
    torch.testing.assert_close(model.classify(x).sum(1), torch.ones(len(x)))
    ones = model.sample(200, torch.tensor(1))
    assert (model.classify(ones).argmax(1) == 1).double().mean() > 0.8


def test_errors_say_what_to_do():
    with pytest.raises(SpaceError, match="gmvae finds classes by itself"):
        GMVAE.for_space(Continuous((2,)), Categories(2))
    with pytest.raises(SpaceError, match="labels of ssvae are Categories"):
        SSVAE.for_space(Continuous((2,)), Continuous((2,)))
    with pytest.raises(SpaceError, match="received Tokens"):
        GMVAE.for_space(Tokens(3, 2))
    with pytest.raises(OptionError, match="labelled is a share"):
        SSVAE.for_space(Continuous((2,)), Categories(2), labelled=2.0)
    with pytest.raises(OptionError, match="at least 1 sample"):
        GMVAE.for_space(Continuous((2,))).log_prob(torch.zeros(1, 2), samples=0)
