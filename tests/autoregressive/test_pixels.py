"""Every pixel model: causality for all pairs, sums by enumeration, steps against whole passes, chi-square."""

from __future__ import annotations

import itertools

import pytest
import torch

from creo.autoregressive import GatedPixelCNN, ImageTransformer, PixelCNN, PixelCNNpp
from creo.errors import SpaceError
from creo.model import seeded
from creo.spaces import Categories, Ordinal
from creo.testing import check_cached_equals_uncached, check_causal, check_samples_match_log_prob
from creo.testing.tiny import shake

MODELS = {
    "gated": (GatedPixelCNN, {}),
    "attending": (GatedPixelCNN, {"attention": 2}),
    "masked": (PixelCNN, {"first": 11}),
    "coupled": (PixelCNNpp, {"components": 3}),
    "transformer": (ImageTransformer, {"heads": 2}),
    "learned": (GatedPixelCNN, {"coding": "learned"}),
    "learned-masked": (PixelCNN, {"first": 11, "coding": "learned"}),
    "learned-transformer": (ImageTransformer, {"heads": 2, "coding": "learned"}),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def build(request):
    cls, options = request.param

    def make(space, condition=None, **more):
        with seeded(0):
            model = cls.for_space(space, condition, **{"width": 8, "layers": 3, **options, **more})
        return shake(model, 0.2).eval()

    return make


def batch(space, n=4):
    with seeded(1):
        return torch.randint(space.levels, (n, *space.shape)).to(space.dtype)


@pytest.mark.parametrize("levels", [2, 3])
def test_probabilities_of_all_images_of_nine_pixels_sum_to_one(build, levels):
    space = Ordinal((3, 3), levels)
    rows = torch.tensor(list(itertools.product(range(levels), repeat=9))).to(space.dtype).view(-1, 3, 3)
    with torch.no_grad():
        total = build(space).double().log_prob(rows).exp().sum()
    assert abs(total - 1) < 1e-10


@pytest.mark.parametrize("space", [Ordinal((1, 4, 6), 3), Ordinal((2, 3, 4), 3)], ids=str)
def test_each_symbol_depends_on_all_before_it_and_on_no_other(build, space):
    check_causal(build(space), batch(space, 3))


@pytest.mark.parametrize("condition", [None, Categories(3)], ids=str)
@pytest.mark.parametrize("space", [Ordinal((1, 7, 9), 2), Ordinal((3, 5, 9), 40)], ids=str)
def test_steps_give_the_logits_of_the_whole_pass(build, space, condition):
    c = None if condition is None else torch.tensor([0, 1, 2, 1])
    check_cached_equals_uncached(build(space, condition), batch(space), c, tolerance=1e-10)


def test_samples_follow_the_probabilities(build):
    check_samples_match_log_prob(build(Ordinal((1, 2, 3), 2)))


def test_sampling_through_the_cache_is_sampling_by_whole_passes(build):
    model = build(Ordinal((2, 3, 5), 3)).double()
    with seeded(5):
        quick = model.sample(6)
    x = torch.zeros(6, 2, 3, 5, dtype=torch.uint8)
    with seeded(5), torch.no_grad():
        for i, place in enumerate(model.order.tolist()):
            token = torch.multinomial(model.logits(x)[:, i].softmax(-1), 1).squeeze(1)
            x.view(6, -1)[:, place] = token.to(x.dtype)
    assert torch.equal(quick, x)


def test_vectors_are_declined(build):
    with pytest.raises(SpaceError, match=r"needs Ordinal images \(C, H, W\)"):
        build(Ordinal((4,), 2))
