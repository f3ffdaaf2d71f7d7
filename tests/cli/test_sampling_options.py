"""Options of sampling on the command line: every one reaches the model, and what does not fit is one line."""

import numpy as np
import pytest

from creo.cli.main import main

TRAIN = "--data digits --hidden 32 --lr 0.02 --ema 0 --steps 80 --no-progress --sample-every 0"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A conditional flow, a weaker one, one guided by a classifier, and a latent diffusion on a VAE."""
    at = tmp_path_factory.mktemp("sampling")
    words = {
        "flow": f"flow-matching {TRAIN} --conditional",
        "weak": f"flow-matching {TRAIN} --conditional --seed 1",
        "classifier": f"vp-sde {TRAIN} --conditional --guide classifier",
        "vae": f"vae {TRAIN} --latent 4",
        "latent": f"latent-diffusion --on {at / 'vae'} --hidden 16 --steps 20 --no-progress --sample-every 0",
    }
    for name, text in words.items():
        assert main(f"train {text} --out {at / name}".split()) == 0
    return at


def drawn(creo, words):
    said = creo(f"sample {words} -n 3 --out s.npz")
    assert said.status == 0, said.err
    return np.load("s.npz")["x"]


@pytest.mark.parametrize(
    "options",
    [
        "--guidance 6",
        "--guidance 6 --interval 0.2 0.6",
        "--guidance 6 --rescale 0.7",
        "--guidance 6 --negative 1",
        "--guidance 6 --weaker WEAK",
        "--temperature 0.3",
        "--solver ddim --steps 4",
        "--solver adaptive --tolerance 0.2",
    ],
)
def test_every_option_changes_the_samples(creo, runs, options):
    options = options.replace("WEAK", str(runs / "weak"))
    plain = drawn(creo, f"{runs / 'flow'} --c 7")
    made = drawn(creo, f"{runs / 'flow'} --c 7 {options}")
    assert not np.array_equal(made, plain)
    assert np.array_equal(made, drawn(creo, f"{runs / 'flow'} --c 7 {options}"))
    if options.startswith("--guidance 6 "):
        assert not np.array_equal(made, drawn(creo, f"{runs / 'flow'} --c 7 --guidance 6"))


def test_classifier_guidance_and_second_stages_take_them_too(creo, runs):
    one, three = (drawn(creo, f"{runs / 'classifier'} --c 7 --guidance {w} --steps 5") for w in (1, 3))
    assert not np.array_equal(one, three)
    few, cold = (drawn(creo, f"{runs / 'latent'} {o}") for o in ("--steps 3", "--steps 3 --temperature 0"))
    assert not np.array_equal(few, cold)


def test_latents_of_a_diffusion_come_back_and_lie_between(creo, runs):
    run = runs / "flow"
    assert creo(f"encode {run} -n 4 --out z.npz").status == 0
    assert np.load("z.npz")["z"].shape == (4, 1, 8, 8)
    assert creo(f"decode {run} z.npz --out x.npz").status == 0
    from creo.data import load_data

    assert np.array_equal(np.load("x.npz")["x"], load_data("digits").test[:4].numpy())
    said = creo(f"interpolate {run} -n 2 --steps 3 --path spherical --out between.npz")
    assert said.status == 0, said.err
    assert np.load("between.npz")["x"].shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("flow --c 7 --solver heuny", "did you mean 'heun'"),
        ("flow --c 7 --negative 1", "give a scale"),
        ("flow --c 7 --tolerance 0.1", "adaptive"),
        ("vae --guidance 2", "samples of VAE have no --guidance"),
        ("latent --guidance 2", "guidance needs a conditional model"),
        ("flow --c 7 --guidance 2 --weaker nowhere", "nowhere does not exist"),
    ],
)
def test_what_does_not_fit_is_one_line(creo, runs, words, message):
    said = creo(f"sample {runs}/{words} -n 2 --out s.npz")
    assert said.status == 2
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
