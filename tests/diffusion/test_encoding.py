"""Data to latents and back: Gaussians in closed form, round trips, levels, what is said of the error."""

import pytest
import torch

from creo.diffusion import DDPM, EDM, Diffusion, FlowMatching, Mixture
from creo.diffusion.encoding import encoded, to_data, to_noise
from creo.diffusion.paths import EDM as EDMPath
from creo.diffusion.paths import VE, VP, Linear, SubVP
from creo.errors import SpaceError
from creo.model import questions, seeded
from creo.spaces import Categories, Continuous, Ordinal
from creo.testing import settle, tiny_data

D = torch.float64
PATHS = {"vp": VP(), "sub-vp": SubVP(), "ve": VE(0.01, 50.0), "edm": EDMPath(), "linear": Linear()}
each = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def mixture(path, weights, means, stds):
    return Mixture(path, *(torch.tensor(v, dtype=D) for v in (weights, means, stds)))


@each
def test_a_gaussians_latent_is_the_closed_form(path):
    """The flow of N(m, s^2) is affine: it keeps (x_t - alpha_t m) / sqrt(alpha_t^2 s^2 + sigma_t^2)."""
    denoiser = mixture(path, [1.0], [[0.4]], [0.7])
    y = torch.linspace(-2, 2, 5, dtype=D)[:, None]
    ends = torch.tensor([path.t_min, path.t_max], dtype=D)
    (a0, a1), (s0, s1) = path(ends)
    std0, std1 = ((a**2 * 0.49 + s**2).sqrt() for a, s in ((a0, s0), (a1, s1)))
    want = (a1 * 0.4 + std1 * (a0 * y - a0 * 0.4) / std0) / (a1**2 + s1**2).sqrt()
    got = to_noise(denoiser, path, y, tolerance=1e-8)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    torch.testing.assert_close(to_data(denoiser, path, got, tolerance=1e-8), y, rtol=0, atol=1e-6)


@each
def test_round_trips_err_as_much_as_they_say(path):
    denoiser = mixture(path, [0.5, 0.5], [[0.8, 0.6], [-0.8, -0.6]], [0.6, 0.6])
    with seeded(0):
        y = denoiser.sample(32)
    found = {t: encoded(denoiser, path, y, tolerance=t) for t in (1e-3, 1e-6)}
    for tolerance, encoding in found.items():
        again = to_data(denoiser, path, encoding.latent, tolerance=tolerance)
        torch.testing.assert_close(encoding.error, (again - y).square().mean(1).sqrt())
        assert encoding.error.max() < 20 * tolerance
    assert found[1e-3].evaluations < found[1e-6].evaluations


def test_latents_of_a_mixture_are_standard_normal():
    path = VP()
    denoiser = mixture(path, [0.5, 0.5], [[0.8, 0.6], [-0.8, -0.6]], [0.6, 0.6])
    with seeded(0):
        w = to_noise(denoiser, path, denoiser.sample(4000))
    assert w.mean(0).abs().max() < 4.5 / 4000**0.5 + 0.01
    assert (w.T.cov() - torch.eye(2, dtype=D)).abs().max() < 4.5 * (2 / 4000) ** 0.5 + 0.01


@pytest.mark.parametrize("recipe", [DDPM, EDM, FlowMatching], ids=lambda r: r.__name__)
def test_a_model_decodes_what_it_encodes(recipe):
    """Trained models of vectors and of levels, with a condition; levels come back exactly."""
    assert {"encode", "decode"} <= set(questions(recipe))
    for space in (Continuous((2,)), Ordinal((1, 2, 2), 3)):
        x, c = tiny_data(space, Categories(3))
        model = settle(recipe.for_space(space, Categories(3), hidden=(16,)), x, c)
        z = model.encode(x[:8], c[:8])
        assert z.shape == x[:8].shape
        assert torch.equal(z, model.encode(x[:8], c[:8]))
        again = model.decode(z, c[:8])
        space.check(again)
        most = (
            1e-3 * space.dims**0.5 * float(x.double().std(0).max())
        )  # of one entry, for the root mean square below
        torch.testing.assert_close(again, x[:8], rtol=0, atol=0 if space.discrete else most)
        found = model.encoding(x[:8], c[:8])
        assert torch.equal(found.latent, z)
        assert found.error.shape == (8,)
        assert found.error.max() < 1e-3
        assert not torch.allclose(model.encode(x[:8], (c[:8] + 1) % 3), z, atol=1e-3)


def test_what_is_no_latent_is_refused():
    model = FlowMatching.for_space(Continuous((2,)))
    for bad in (torch.zeros(3, 3), torch.zeros(3, 2, dtype=torch.int64)):
        with pytest.raises(SpaceError, match="latents"):
            model.decode(bad)


def test_error_of_the_likelihood_is_its_change_with_the_steps():
    """Same dequantisation and same trace: the two values differ by the solver alone."""
    space = Ordinal((1, 2, 2), 3)
    x, _ = tiny_data(space)
    model: Diffusion = settle(FlowMatching.for_space(space, hidden=(16,)), x)
    with seeded(0):
        value, error = model.log_prob_with_error(x[:6], steps=32)
    with seeded(0):
        _, finer = model.log_prob_with_error(x[:6], steps=128)
    assert value.shape == error.shape == (6,)
    assert 0 < finer.max() < error.max() / 8
