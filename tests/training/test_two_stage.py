"""Two stages as one model: the bound in closed form, exact resuming, errors of one line, conditions, both spaces."""

import shutil

import pytest
import torch

import creo
from creo.errors import OptionError, RunError
from creo.model import Likelihood, seeded
from creo.spaces import Ordinal, Tokens
from creo.training import RunFolder, TwoStage, checkpoint, codes_of, second_stage
from creo.training.stages import fingerprint

SMALL = {"channels": 8, "blocks": 1, "codes": 16, "dim": 4}
QUIET = {"progress": False, "threads": 1, "sample_every": 0, "log_every": 10, "eval_every": 20}


@pytest.fixture(scope="module")
def first(tmp_path_factory, digits):
    """The folder of a briefly trained first stage."""
    out = tmp_path_factory.mktemp("two") / "first"
    with seeded(0):
        model = creo.build("vqvae", digits.space, **SMALL)
    creo.fit(model, digits, steps=30, out=out, **QUIET)
    return out


def prior_on(first, name="gated-pixelcnn", **options):
    with seeded(0):
        return second_stage(name, first, **options)


def test_codes_are_those_of_the_first_stage_in_order(first, digits):
    model, codes = creo.load(first), codes_of(first)
    assert codes.space == Ordinal((4, 4), 16)
    assert codes.condition == digits.condition
    for name in ("train", "valid", "test"):
        x, c = digits.split(name).head(40)
        assert torch.equal(codes.split(name).head(40)[0].long(), model.codes(x))
        assert torch.equal(codes.split(name).c[:40], c)
        assert len(codes.split(name)) == len(digits.split(name))
    assert codes.content_hash == digits.content_hash


def test_the_bound_and_the_samples_go_through_both(first, digits):
    """log_prob is log p(k(x)) + log p(x | k(x)) by hand; samples decode codes drawn from the prior."""
    run = creo.fit(*prior_on(first), steps=5, **QUIET)
    both, x = run.model, digits.test[:20]
    assert isinstance(both, TwoStage)
    assert both.likelihood is Likelihood.BOUND
    codes = both.first.codes(x)
    params = both.first.decoder(both.first.vectors(codes), None)
    residue = both.first.head.log_prob(params, x).flatten(1).sum(1)
    torch.testing.assert_close(both.log_prob(x), both.prior.log_prob(codes.to(torch.uint8)) + residue)
    with seeded(3):
        drawn = both.sample(7)
    with seeded(3):
        by_hand = both.first.decode_codes(both.prior.sample(7), draw=True)
    assert torch.equal(drawn, by_hand)
    digits.space.check(drawn)


def test_a_second_stage_beats_the_first_ones_own_prior(first, digits):
    alone = creo.load(first).log_prob(digits.test[:]).mean()
    both = creo.fit(*prior_on(first), steps=300, **QUIET).model
    assert both.log_prob(digits.test[:]).mean() > alone + 3


def test_tokens_for_models_of_tokens_and_codes_without_order(first):
    made, codes = prior_on(first, "made", hidden=(8,))
    assert codes.space == Tokens(16, 16)
    assert creo.fit(made, codes, steps=2, **QUIET).model.sample(3).shape == (3, 1, 8, 8)
    assert made.recipe["options"] == {"hidden": (8,)}
    assert prior_on(first)[0].recipe["options"]["head"] == "categorical"
    assert prior_on(first, head="logistic")[0].recipe["options"]["head"] == "logistic"


def test_ordered_digits_keep_the_models_own_defaults(digits):
    with seeded(0):
        model = creo.build("vqvae", digits.space, quantiser="fsq", levels=(5, 3), channels=8, blocks=1)
    prior, codes = second_stage("gated-pixelcnn", model, digits)
    assert codes.space == Ordinal((2, 4, 4), 5)
    assert prior.recipe["options"] == {}
    assert creo.fit(prior, codes, steps=2, **QUIET).model.sample(2).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("of_first", [False, True])
def test_conditions_reach_whoever_takes_them(first, digits, of_first, tmp_path):
    on = first
    if of_first:
        on = tmp_path / "conditional"
        with seeded(0):
            model = creo.build("vqvae", digits.space, digits.condition, **SMALL)
        creo.fit(model, digits, steps=5, out=on, **QUIET)
    prior, codes = second_stage("gated-pixelcnn", on, conditional=True)
    both = creo.fit(prior, codes, steps=5, out=tmp_path / "second", **QUIET).model
    assert both.condition == digits.condition
    x, c = digits.test.head(10)
    assert not torch.equal(both.log_prob(x, c), both.log_prob(x, (c + 1) % 10))
    again = creo.load(tmp_path / "second")
    assert torch.equal(again.log_prob(x, c), both.log_prob(x, c))
    assert again.sample(4, torch.tensor(3)).shape == (4, 1, 8, 8)


def test_load_evaluate_and_resume_go_through_both(first, digits, tmp_path):
    """A run stopped half-way and resumed ends with the bits of the one that was not."""
    settings = QUIET | {"schedule": "constant"}
    creo.fit(*prior_on(first), steps=40, out=tmp_path / "whole", **settings)
    creo.fit(*prior_on(first), steps=20, out=tmp_path / "halves", **settings)
    run = creo.resume(tmp_path / "halves", steps=40, progress=False)
    ta, tb = (RunFolder(tmp_path / name).newest()[0] for name in ("whole", "halves"))
    assert all(torch.equal(ta[n], tb[n]) for n in ta)
    best = [checkpoint.read(RunFolder(tmp_path / n).best)[0] for n in ("whole", "halves")]
    assert all(torch.equal(best[0][n], best[1][n]) for n in best[0])
    assert isinstance(run.model, TwoStage)
    loaded = creo.load(tmp_path / "halves")
    x = digits.test[:10]
    assert torch.equal(loaded.log_prob(x), run.model.log_prob(x))
    found = creo.evaluate(loaded, digits.test, samples=50, pictures=False)
    assert (found.model, found["NLL"].kind) == ("gated-pixelcnn on vqvae", "<=")
    assert found["NLL"].value == pytest.approx(-loaded.log_prob(digits.test[:]).mean().item(), rel=1e-4)


def test_runs_can_be_moved_together(first, digits, tmp_path):
    (tmp_path / "a").mkdir()
    shutil.copytree(first, tmp_path / "a" / "first")
    creo.fit(*prior_on(tmp_path / "a" / "first"), steps=3, out=tmp_path / "a" / "second", **QUIET)
    (tmp_path / "a").rename(tmp_path / "b")
    assert creo.load(tmp_path / "b" / "second").sample(1).shape == (1, 1, 8, 8)


def test_a_missing_or_changed_first_stage_is_one_line(first, tmp_path):
    on = tmp_path / "first"
    shutil.copytree(first, on)
    creo.fit(*prior_on(on), steps=3, out=tmp_path / "second", **QUIET)
    creo.resume(on, steps=60, progress=False)
    with pytest.raises(RunError, match="weights have changed since") as changed:
        creo.load(tmp_path / "second")
    shutil.rmtree(on)
    with pytest.raises(RunError, match="not there any more") as missing:
        creo.resume(tmp_path / "second", steps=9, progress=False)
    assert "\n" not in str(changed.value) + str(missing.value)


def test_what_has_no_codes_is_refused(digits, tmp_path):
    made = creo.build("made", digits.space, hidden=(8,))
    with pytest.raises(OptionError, match="has no codes"):
        second_stage("made", made, digits)
    with pytest.raises(RunError, match="does not exist"):
        second_stage("made", tmp_path / "nowhere")
    model = creo.build("vqvae", digits.space, **SMALL)
    with pytest.raises(OptionError, match="pass data"):
        second_stage("made", model)
    prior, codes = second_stage("made", model, digits, hidden=(8,))
    with pytest.raises(RunError, match="needs a first stage with one"):
        creo.fit(prior, codes, steps=1, out=tmp_path / "second", **QUIET)


def test_the_fingerprint_sees_one_weight(digits):
    model = creo.build("vqvae", digits.space, **SMALL)
    before = fingerprint(model)
    assert before == fingerprint(model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert before != fingerprint(model)
