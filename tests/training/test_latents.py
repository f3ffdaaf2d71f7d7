"""Second stages on latents: the bound by hand and in closed form, every kind of first stage, runs that come back."""

import math

import pytest
import torch

import creo
from creo.diffusion.latent import LatentDiffusion
from creo.errors import NoLikelihood, OptionError, SpaceError
from creo.model import Likelihood, seeded
from creo.nn.dit import DiT
from creo.nn.time import TimeMLP
from creo.nn.unet import UNet
from creo.spaces import Continuous
from creo.training import LatentTwoStage, RunFolder, latents_of, second_stage

QUIET = {"progress": False, "threads": 1, "sample_every": 0, "log_every": 10, "eval_every": 20}
SMALL = {
    "vae": {"latent": 3, "hidden": 16},
    "autoencoder": {"latent": 3, "hidden": 16},
    "vqvae": {"channels": 8, "blocks": 1, "codes": 16, "dim": 4},
}


@pytest.fixture(scope="module")
def firsts(tmp_path_factory, digits):
    """Folders of briefly trained first stages."""
    found = {}
    for name, options in SMALL.items():
        found[name] = tmp_path_factory.mktemp("latents") / name
        with seeded(0):
            model = creo.build(name, digits.space, **options)
        creo.fit(model, digits, steps=20, out=found[name], **QUIET)
    return found


def test_latents_are_those_of_the_first_stage(firsts, digits):
    """What encode answers, or draws of the posterior around it, in the order of the data."""
    for name, shape in (("autoencoder", (3,)), ("vqvae", (4, 4, 4)), ("vae", (3,))):
        model, latents = creo.load(firsts[name]), latents_of(firsts[name])
        assert latents.space == Continuous(shape)
        assert latents.content_hash == digits.content_hash
        x, c = digits.test.head(300)
        z, kept = latents.test.head(300)
        assert torch.equal(kept, c)
        if name != "vae":
            torch.testing.assert_close(z, model.encode(x))
            continue
        q = model.posterior(x)
        white = (z - q.mean) / q.log_std.exp()
        assert white.mean().abs() < 4.5 / 900**0.5
        assert (white.var() - 1).abs() < 4.5 * (2 / 900) ** 0.5


class Normal(torch.nn.Module):
    """N(0, I) as a second stage: the VAE's own prior."""

    likelihood, likelihood_note, condition, recipe = Likelihood.EXACT, "", None, None

    def __init__(self, d):
        super().__init__()
        self.space = Continuous((d,))

    def log_prob(self, z, c=None):
        return -(z.square() + math.log(2 * math.pi)).sum(1) / 2

    def sample(self, n, c=None):
        return torch.randn(n, *self.space.shape)


def test_with_its_own_prior_a_vae_is_itself(firsts, digits):
    """The bound and the samples of both stages are the VAE's, number by number."""
    vae, x = creo.load(firsts["vae"]), digits.test[:8]
    both = LatentTwoStage(vae, Normal(3), samples=5)
    assert both.likelihood is Likelihood.BOUND
    with seeded(1):
        want = vae.log_prob(x, samples=5)
    with seeded(1):
        torch.testing.assert_close(both.log_prob(x), want)
    with seeded(2):
        want = vae.sample(6)
    with seeded(2):
        assert torch.equal(both.sample(6), want)


def test_a_fitted_prior_raises_the_elbo_of_the_first_one(firsts, digits):
    """With one draw of the posterior, the same one, the difference is that of the priors at the latents."""
    vae = creo.load(firsts["vae"])
    both = creo.fit(*second_stage("gaussian", firsts["vae"]), **QUIET).model
    assert isinstance(both, LatentTwoStage)
    assert both.likelihood is Likelihood.BOUND
    with seeded(0):
        new = both.log_prob(digits.test[:], samples=1)
    with seeded(0):
        gain = new - vae.log_prob(digits.test[:], samples=1)
    assert gain.mean() > 2 * gain.std() / len(gain) ** 0.5


def test_the_kind_of_number_is_the_honest_one(firsts, digits):
    """Exact priors make a bound, estimates an estimate, first stages without a posterior no density."""
    options = {"hidden": (16,), "likelihood_steps": 4}
    flow = creo.fit(*second_stage("flow-matching", firsts["vae"], **options), steps=2, **QUIET).model
    assert flow.likelihood is Likelihood.ESTIMATE
    assert "probability flow" in flow.likelihood_note
    assert flow.log_prob(digits.test[:3], samples=2).shape == (3,)
    for name in ("autoencoder", "vqvae"):
        both = creo.fit(*second_stage("gaussian", firsts[name]), **QUIET).model
        assert both.likelihood is Likelihood.NONE
        with pytest.raises(NoLikelihood, match="posterior"):
            both.log_prob(digits.test[:3])
        digits.space.check(both.sample(3))


@pytest.mark.parametrize(
    ("first", "second", "options", "network"),
    [
        ("vae", "latent-diffusion", {"hidden": (16,)}, TimeMLP),
        ("vqvae", "latent-diffusion", {"channels": 8}, DiT),
        ("autoencoder", "flow-matching", {"hidden": (16,)}, TimeMLP),
        ("autoencoder", "nsf", {}, None),
        ("vae", "realnvp", {}, None),
    ],
)
def test_any_model_of_real_numbers_is_a_second_stage(firsts, digits, first, second, options, network):
    prior, latents = second_stage(second, firsts[first], **options)
    if network is not None:
        assert isinstance(prior.network, network)
    both = creo.fit(prior, latents, steps=2, **QUIET).model
    digits.space.check(both.sample(4))
    x = digits.test[:2]
    torch.testing.assert_close(both.decode(both.encode(x)), both.first.decode(both.first.encode(x)))


def test_codes_stay_what_models_of_symbols_are_trained_on(firsts):
    assert second_stage("gated-pixelcnn", firsts["vqvae"])[1].space.kind == "Ordinal"
    assert second_stage("made", firsts["vqvae"], hidden=(8,))[1].space.kind == "Tokens"


def test_runs_resume_to_the_bit_and_load_with_conditions_and_options(firsts, digits, tmp_path):
    """Half-way stopped and resumed is the same as not stopped; samples take the options of the second stage."""
    settings = QUIET | {"schedule": "constant"}

    def stage():
        with seeded(0):
            return second_stage("latent-diffusion", firsts["vae"], conditional=True, hidden=(16,))

    creo.fit(*stage(), steps=20, out=tmp_path / "whole", **settings)
    creo.fit(*stage(), steps=10, out=tmp_path / "halves", **settings)
    run = creo.resume(tmp_path / "halves", steps=20, progress=False)
    ta, tb = (RunFolder(tmp_path / name).newest()[0] for name in ("whole", "halves"))
    assert all(torch.equal(ta[n], tb[n]) for n in ta)
    loaded = creo.load(tmp_path / "halves")
    assert isinstance(loaded, LatentTwoStage)
    assert loaded.condition == digits.condition
    for model in (loaded, run.model):
        with seeded(3):
            x = model.sample(4, torch.tensor(7), guidance=2.0, solver="ddim", steps=3, temperature=0.5)
        digits.space.check(x)
    with seeded(3):
        z = loaded.prior.sample(4, torch.tensor(7), guidance=2.0, solver="ddim", steps=3, temperature=0.5)
        assert torch.equal(loaded.first.decode(z, draw=True), x)
    found = creo.evaluate(loaded, digits.test, samples=50, pictures=False)
    assert found.model == "latent-diffusion on vae"


def test_what_has_no_latents_is_refused(digits):
    made = creo.build("made", digits.space, hidden=(8,))
    with pytest.raises(OptionError, match="has no latents"):
        second_stage("nsf", made, digits)
    vae = creo.build("vae", digits.space, **SMALL["vae"])
    with pytest.raises(OptionError, match="pass data"):
        second_stage("nsf", vae)
    with pytest.raises(OptionError, match="at least 1 sample"):
        LatentTwoStage(vae, Normal(3)).log_prob(digits.test[:2], samples=0)
    with pytest.raises(SpaceError, match="train a first stage such as vae") as error:
        creo.build("latent-diffusion", digits.space)
    assert "\n" not in str(error.value)


def test_the_network_suits_the_latents_shape():
    assert isinstance(LatentDiffusion.for_space(Continuous((16,))).network, TimeMLP)
    assert isinstance(LatentDiffusion.for_space(Continuous((8, 7, 7))).network, DiT)
    assert isinstance(LatentDiffusion.for_space(Continuous((4, 8, 8)), channels=8).network, UNet)
