"""VQ-VAE and VQ-VAE-2: the two-part bound against enumeration, codes there and back, what learning does to them."""

import pytest
import torch

import creo
from creo.errors import OptionError, SpaceError
from creo.spaces import Continuous, Ordinal
from creo.testing.measure import everything
from creo.testing.tiny import settle, tiny_data

KINDS = {
    "ema": ("vqvae", {"quantiser": "ema"}),
    "gradient": ("vqvae", {"quantiser": "gradient"}),
    "residual": ("vqvae", {"quantiser": "residual"}),
    "fsq": ("vqvae", {"quantiser": "fsq", "levels": (3, 4)}),
    "two levels": ("vqvae2", {}),
}
SMALL = {"channels": 8, "blocks": 1}


@torch.enable_grad()
def settled(kind, space, **more):
    name, options = KINDS[kind]
    with creo.seeded(0):
        model = creo.build(name, space, **options, **more)
    return settle(model, *tiny_data(space), steps=5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ema", "gradient", "fsq"])
def test_the_bound_is_one_term_of_the_sum_over_codes(kind):
    """One place: p(x) = sum_k p(k) p(x | k) by enumeration; it sums to 1, and the bound is the term of k(x)."""
    space = Ordinal((4,), 3)
    model = settled(kind, space, codes=6, places=1, hidden=16).double()
    x = everything(space)
    codes = torch.cartesian_prod(*[torch.arange(model.code_space.levels)] * model.code_space.dims)
    codes = codes.reshape(-1, *model.code_space.shape)
    if kind == "fsq":
        codes = codes[(codes.flatten(1) < torch.tensor([3, 4])).all(1)]
    terms = torch.stack(
        [model.log_code_prior(k[None]) + model.log_likelihood(x, k.expand(len(x), *k.shape)) for k in codes]
    )
    exact = terms.logsumexp(0)
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-9)
    bound = model.log_prob(x)
    assert (bound <= exact + 1e-9).all()
    chosen = model.codes(x)
    own = torch.tensor([[bool((k == one).all()) for one in chosen] for k in codes])
    torch.testing.assert_close(bound, terms.T[own.T])


@torch.no_grad()
@pytest.mark.parametrize("space", [Ordinal((1, 7, 9), 4), Continuous((3, 8, 8)), Ordinal((5,), 9)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_codes_there_and_back(kind, space):
    if kind == "two levels" and not space.is_image:
        with pytest.raises(SpaceError, match="pictures"):
            settled(kind, space)
        return
    model, x = settled(kind, space, **SMALL), tiny_data(space)[0][:6]
    codes = model.codes(x)
    model.code_space.check(codes)
    torch.testing.assert_close(model.encode(x), model.vectors(codes))
    assert torch.equal(model.decode(model.encode(x)), model.decode_codes(codes))
    assert model.log_likelihood(x, codes).shape == (6,)
    model.code_space.check(model.draw_codes(5))


@torch.no_grad()
def test_the_loss_by_hand():
    space = Ordinal((1, 8, 8), 4)
    model, x = settled("ema", space, **SMALL, beta=0.5), tiny_data(space)[0][:10]
    terms = model.loss(x)
    distortion = -model.log_likelihood(x, model.codes(x)).mean()
    gap = (model.features(x) - model.encode(x)).square().flatten(1).sum(1).mean()
    torch.testing.assert_close(terms.parts["distortion"], distortion)
    torch.testing.assert_close(terms.parts["penalty"], gap)
    torch.testing.assert_close(terms.loss, distortion + 0.5 * gap)
    torch.testing.assert_close(terms.parts["rate"], -model.log_code_prior(model.codes(x)).mean())


@torch.no_grad()
def test_coarse_codes_lie_above_the_fine_ones():
    """7 x 9 pixels: fine grid 4 x 5, coarse 2 x 3, whose 6 codes take two rows of 5, the last four places empty."""
    space = Ordinal((1, 7, 9), 4)
    model, x = settled("two levels", space, **SMALL), tiny_data(space)[0][:6]
    assert (model.grid, model.top_grid, model.code_space.shape) == ((4, 5), (2, 3), (6, 5))
    codes = model.codes(x)
    assert (codes[:, :2].flatten(1)[:, 6:] == 0).all()
    changed = codes.clone()
    changed[:, 1, 2] = 3  # an empty place
    assert torch.equal(model.vectors(changed), model.vectors(codes))
    changed[:, 0, 0] = (codes[:, 0, 0] + 1) % model.code_space.levels
    moved = (model.vectors(changed) != model.vectors(codes)).any(1)
    assert moved[:, :2, :2].all()  # under the first coarse place
    assert not moved[:, 2:].any()


def test_learning_uses_the_codes_and_lowers_the_distortion():
    data = creo.load_data("digits")
    with creo.seeded(0):
        model = creo.build("vqvae", data.space, channels=8, blocks=1, codes=32)
    run = creo.fit(model, data, steps=100, progress=False, threads=1, sample_every=0)
    valid = [row["valid/distortion"] for row in run.history if "valid/distortion" in row]
    assert valid[-1] < 0.9 * valid[0]
    assert run.model.codes(data.test[:]).unique().numel() > 28


@pytest.mark.parametrize(
    "options", [{"quantiser": "none"}, {"beta": -1.0}, {"quantiser": "residual", "depth": 0}, {"codes": 1}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(OptionError):
        creo.build("vqvae", Ordinal((1, 8, 8), 4), **options)
