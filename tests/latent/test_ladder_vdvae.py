"""Hierarchical VAEs: importance weights against quadrature over the latents, KLs, layouts, latents there and back."""

import math

import pytest
import torch
from torch.distributions import Normal as Truth
from torch.distributions import kl_divergence

import creo
from creo.errors import OptionError, SpaceError
from creo.latent.chooser import Given, Normal
from creo.latent.ladder_vae import product
from creo.latent.vdvae import default_layout, parse_layout
from creo.spaces import Continuous, Ordinal
from creo.testing.measure import everything
from creo.testing.tiny import settle, tiny_data

BINARY = Ordinal((1, 2, 2), 2)
CASES = {
    "one layer": ("ladder-vae", {"latents": (1,)}),
    "two layers": ("ladder-vae", {"latents": (1, 1)}),
    "maps": ("vdvae", {"layout": "1x2", "latent": 1, "channels": 8}),
    "pixels": ("pixelvae", {"latent": 1, "features": 4, "hidden": 8}),
}


@torch.enable_grad()
def settled(name, space, *, steps=5, noise=0.1, **options):
    with creo.seeded(0):
        model = creo.build(name, space, **options)
    return settle(model, *tiny_data(space), steps=steps, noise=noise)


def widen(model):
    """Make posteriors so wide that the weights' variance is finite, and small."""
    for estimate in getattr(model, "estimate", ()):
        estimate.bias[1] += 2
    if hasattr(model, "encoder"):
        model.encoder.inner.out.bias[1] += 0.5


class Weighed(Given):
    """Latents that are given, with their log density under the prior."""

    log_p = 0.0

    def pick(self, p, q):
        z = super().pick(p, q)
        self.log_p = self.log_p + p.log_prob(z)
        return z


def by_quadrature(model, x, total):
    """log p(x) by the trapezoidal rule over all latents."""
    axis = torch.linspace(-9, 9, 181 if total == 2 else 1001, dtype=torch.float64)
    z = torch.cartesian_prod(*[axis] * total).reshape(-1, total)
    choose = Weighed(z)
    features = model.descend(len(z), None, None, choose)
    log_cell = total * math.log(float(axis[1] - axis[0]))
    return (
        torch.stack(
            [
                (
                    choose.log_p + model.log_likelihood(one.expand(len(z), *one.shape), features, None)
                ).logsumexp(0)
                for one in x
            ]
        )
        + log_cell
    )


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_importance_weights_have_the_mean_that_quadrature_gives(case):
    name, options = CASES[case]
    model = settled(name, BINARY, steps=0, noise=0.05, **options).double()
    widen(model)
    x = everything(BINARY)
    exact = by_quadrature(model, x, 2 if case in ("two layers", "maps") else 1)
    assert exact.exp().sum().item() == pytest.approx(1, abs=2e-3)
    with creo.seeded(1):
        w = model.log_weights(x, samples=4000).exp()
    error = w.std(0) / len(w) ** 0.5
    assert ((w.mean(0) - exact.exp()).abs() < 4.5 * error + 1e-4).all()
    with creo.seeded(2):
        elbo, many = (model.log_prob(x.repeat(300, 1, 1, 1), samples=k).view(300, -1) for k in (1, 16))
    assert elbo.mean() < many.mean()
    assert (many.mean(0) < exact + 4.5 * many.std(0) / 300**0.5 + 1e-6).all()
    nll = torch.stack([model.loss(x).parts["nll"] for _ in range(300)])
    assert abs(nll.mean() + elbo.mean()) < 4.5 * (nll.var() / 300 + elbo.mean(1).var() / 300).sqrt()


def test_normal_distributions_and_their_product():
    torch.manual_seed(0)
    a, b = (Normal(torch.randn(4, 3), 0.3 * torch.randn(4, 3)) for _ in range(2))
    true = [Truth(n.mean, n.log_std.exp()) for n in (a, b)]
    z = torch.randn(4, 3)
    torch.testing.assert_close(a.log_prob(z), true[0].log_prob(z).sum(1))
    torch.testing.assert_close(a.kl(b), kl_divergence(*true).sum(1))
    joint = product(a, b)
    other = torch.randn(4, 3)
    gain = (
        true[0].log_prob(z) + true[1].log_prob(z) - true[0].log_prob(other) - true[1].log_prob(other)
    ).sum(1)
    torch.testing.assert_close(joint.log_prob(z) - joint.log_prob(other), gain)


@torch.no_grad()
@pytest.mark.parametrize("name", ["ladder-vae", "vdvae", "pixelvae"])
def test_latents_there_and_back(name):
    """encode gives the latents of all layers; decode takes them in the same order, and changes when the top changes."""
    space = Ordinal((3, 7, 5), 6)
    model, x = settled(name, space), tiny_data(space)[0][:4]
    z = model.encode(x)
    back = model.decode(z)
    space.check(back)
    assert torch.equal(back, model.decode(z))
    assert not torch.equal(back, model.decode(z + 3))
    if name != "pixelvae":
        with pytest.raises(SpaceError, match="too few"):
            model.decode(z[:, :-1])


def test_warmup_and_free_bits_change_the_loss_only():
    x = tiny_data(BINARY)[0]
    model = creo.build("ladder-vae", BINARY, warmup=10, latents=(2, 2)).train()
    with creo.seeded(0):
        terms = model.loss(x)
    torch.testing.assert_close(terms.loss.detach(), terms.parts["distortion"] + 0.1 * terms.parts["rate"])
    model.eval()
    terms = model.loss(x)
    torch.testing.assert_close(terms.loss.detach(), terms.parts["nll"])
    assert int(model.steps) == 1
    model.free_bits = 100.0
    terms = model.loss(x)
    torch.testing.assert_close(terms.loss.detach(), terms.parts["distortion"] + 200.0)


def test_layouts():
    assert parse_layout("8x2,4x4,1x2", 8) == [(8, 2), (4, 4), (1, 2)]
    assert default_layout(28) == [(14, 2), (7, 2), (4, 2), (1, 1)]
    assert default_layout(8) == [(8, 2), (4, 2), (1, 1)]
    assert default_layout(1) == [(1, 2)]
    for wrong in ("8", "4x2,8x2", "4x2,4x1", "9x1", "4x0", "axb", "4x1,"):
        with pytest.raises(OptionError, match="HEIGHTxLAYERS"):
            parse_layout(wrong, 8)


@torch.no_grad()
def test_a_layout_has_that_many_layers_of_these_sizes():
    model = settled("vdvae", Continuous((1, 8, 6)), layout="8x1,4x3,1x2", latent=3, channels=8)
    x = tiny_data(model.space)[0][:5]
    assert model.rates(x).shape == (6,)
    assert model.encode(x).shape == (5, 3 * (8 * 6 + 3 * 4 * 3 + 2))


@pytest.mark.parametrize("name", ["vdvae", "pixelvae"])
def test_what_is_no_picture_is_declined(name):
    with pytest.raises(SpaceError, match="pictures"):
        creo.build(name, Ordinal((4,), 3))


@pytest.mark.parametrize("options", [{"latents": (0,)}, {"samples": 0}, {"free_bits": -1.0}])
def test_nonsense_is_refused(options):
    with pytest.raises(OptionError):
        creo.build("ladder-vae", BINARY, **options)
