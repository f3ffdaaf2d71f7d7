"""Quantisers against hand computations: assignment, moving averages, gradients, k-means, revival, finite scalars."""

import pytest
import torch

from creo.errors import OptionError
from creo.latent.fsq import FSQ
from creo.latent.nearest import kmeans, nearest
from creo.latent.quantise import EMACodebook, GradientCodebook, Residual, perplexity


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("chunk", [1, 50, 2**20])
def test_nearest_is_the_argmin_of_all_distances(monkeypatch, chunk):
    monkeypatch.setattr("creo.latent.nearest.CHUNK_SCORES", chunk)
    z, codes = torch.randn(57, 5, dtype=torch.float64), torch.randn(23, 5, dtype=torch.float64)
    assert torch.equal(nearest(z, codes), torch.cdist(z, codes).argmin(1))


def test_nearest_takes_the_first_of_equal_codes():
    assert nearest(torch.ones(1, 2), torch.ones(4, 2)).item() == 0


def test_moving_averages_by_hand():
    """Two codes, decay 0.9, three vectors: shares, sums and codes as computed on paper."""
    book = EMACodebook(1, 2, decay=0.9, revive=0.0).double()
    book._set(torch.arange(2), torch.tensor([[0.0], [10.0]]).double(), torch.tensor([0.5, 0.5]).double())
    found = book.train()(torch.tensor([[1.0], [2.0], [12.0]], dtype=torch.float64))
    assert found.digits[:, 0].tolist() == [0, 0, 1]
    assert found.penalty.tolist() == [1.0, 4.0, 4.0]
    n = [0.9 * 0.5 + 0.1 * 2 / 3, 0.9 * 0.5 + 0.1 * 1 / 3]
    m = [0.9 * 0.0 + 0.1 * 3 / 3, 0.9 * 5.0 + 0.1 * 12 / 3]
    assert book.shares[0].tolist() == pytest.approx(n, rel=1e-12)
    assert book.codes[:, 0].tolist() == pytest.approx([m[0] / n[0], m[1] / n[1]], rel=1e-12)


def test_moving_averages_tend_to_the_means():
    book = EMACodebook(2, 2, decay=0.5, revive=0.0)
    z = torch.cat([torch.randn(50, 2) - 5, torch.randn(150, 2) + 5])
    book.initialise(z)
    for _ in range(60):
        book.train()(z)
    order = book.codes[:, 0].argsort()
    torch.testing.assert_close(book.codes[order], torch.stack([z[:50].mean(0), z[50:].mean(0)]))
    torch.testing.assert_close(book.shares[0, order], torch.tensor([0.25, 0.75]))


def test_evaluation_and_no_grad_learn_nothing():
    book = EMACodebook(3, 4)
    before = {k: v.clone() for k, v in book.state_dict().items()}
    book.eval()(torch.randn(9, 3))
    with torch.no_grad():
        book.train()(torch.randn(9, 3))
    assert all(torch.equal(v, before[k]) for k, v in book.state_dict().items())


def test_straight_through_and_commitment_gradients():
    """d/dz of f(vectors) is f'(code), of the penalty 2 (z - code); the codes get none of either."""
    book = EMACodebook(3, 4).double().eval()
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    found = book(z)
    torch.testing.assert_close(found.vectors.detach(), book.lookup(found.digits))
    (slope,) = torch.autograd.grad((found.vectors**3).sum(), z)
    torch.testing.assert_close(slope, 3 * book.lookup(found.digits) ** 2)
    (pull,) = torch.autograd.grad(book(z).penalty.sum(), z)
    torch.testing.assert_close(pull, 2 * (z - book.lookup(found.digits)).detach())


def test_gradient_codebook_has_both_pulls_at_their_weights():
    beta = 0.25
    book = GradientCodebook(3, 4, beta=beta).double().eval()
    z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    found = book(z)
    pull, drawn = torch.autograd.grad(beta * found.penalty.sum(), [z, book.codes])
    gap = (z - book.lookup(found.digits)).detach()
    torch.testing.assert_close(pull, 2 * beta * gap)
    want = torch.zeros_like(book.codes).index_add(0, found.digits[:, 0], -2 * gap)
    torch.testing.assert_close(drawn, want)


@pytest.mark.parametrize("kind", [EMACodebook, GradientCodebook])
def test_dead_codes_come_back(kind):
    book = kind(2, 8, decay=0.5)
    z = torch.randn(400, 2)
    with torch.no_grad():
        book.codes.copy_(torch.full((8, 2), 100.0) + torch.arange(8)[:, None])
        book.codes[0] = 0
    for _ in range(30):
        book.train()(z)
    assert book.index(z).unique().numel() == 8


def test_kmeans_finds_separate_clusters():
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    z = (centres[:, None] + torch.randn(3, 40, 2)).flatten(0, 1)
    best = min(
        (kmeans(z, 3, steps=20) for _ in range(5)), key=lambda r: (z - r[0][nearest(z, r[0])]).square().sum()
    )
    index = nearest(z, best[0])
    assert sorted(best[1].tolist()) == [40, 40, 40]
    for k in range(3):
        torch.testing.assert_close(best[0][k], z[index == k].mean(0))


def test_kmeans_with_more_codes_than_vectors():
    codes, counts = kmeans(torch.randn(3, 2), 7, steps=3)
    assert codes.isfinite().all()
    assert counts.sum() == 3


def test_residual_codes_are_sums_and_each_level_lowers_the_error():
    books = [EMACodebook(4, 16) for _ in range(3)]
    model, z = Residual(books), torch.randn(500, 4)
    model.initialise(z)
    found = model.eval()(z)
    torch.testing.assert_close(found.vectors, sum(b.codes[found.digits[:, l]] for l, b in enumerate(books)))
    torch.testing.assert_close(model.lookup(model.index(z)), found.vectors)
    partial = [sum(b.codes[found.digits[:, l]] for l, b in enumerate(books[:n])) for n in (1, 2, 3)]
    errors = [float((z - p).square().sum(1).mean()) for p in partial]
    assert errors[0] > errors[1] > errors[2]
    assert found.penalty.mean().item() == pytest.approx(sum(errors), rel=1e-5)


def test_finite_scalars_by_hand():
    """Far out every coordinate is at its last level; at 0 the level is the middle one; all levels are reached."""
    model = FSQ((5, 4)).eval()
    far = torch.tensor([[9.0, 9.0], [-9.0, -9.0], [0.0, 0.0]])
    assert model.index(far).tolist() == [[4, 3], [0, 0], [2, 2]]
    assert model.lookup(model.index(far)).tolist() == [[1.0, 0.5], [-1.0, -1.0], [0.0, 0.0]]
    z = torch.linspace(-4, 4, 500)[:, None].expand(-1, 2)
    assert model.index(z).unique(dim=0).T.max(1).values.tolist() == [4, 3]
    assert [model.index(z)[:, i].unique().numel() for i in (0, 1)] == [5, 4]
    torch.testing.assert_close(model(z).vectors, model.lookup(model.index(z)))


def test_finite_scalars_pass_the_gradient_of_the_bounded_value():
    model = FSQ((5, 5)).double().eval()
    z = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(z).vectors.sum(), z)
    (want,) = torch.autograd.grad((model.bounded(z) / 2).sum(), z)
    torch.testing.assert_close(slope, want)


def every():
    return {
        "ema": EMACodebook(3, 8),
        "gradient": GradientCodebook(3, 8),
        "residual": Residual([EMACodebook(3, 8), EMACodebook(3, 8)]),
        "fsq": FSQ((8, 5, 4)),
    }


@pytest.mark.parametrize("name", every())
def test_round_trip_of_codes(name):
    """Encoding what a code decodes to gives a code that decodes to the same."""
    model, z = every()[name].eval(), torch.randn(300, 3)
    model.initialise(z)
    index = model.index(z)
    assert index.shape == (300, model.digits)
    assert index.min() >= 0
    assert index.max() < model.size
    found = model(z)
    assert torch.equal(found.digits, index)
    torch.testing.assert_close(found.vectors, model.lookup(index))
    if name in ("ema", "gradient"):
        assert torch.equal(model.index(model.lookup(index)), index)


@pytest.mark.parametrize("name", every())
def test_the_prior_is_normalised_and_is_that_of_the_draws(name):
    model = every()[name]
    model.initialise(torch.randn(300, 3))
    for _ in range(20):
        model.train()(torch.randn(300, 3) * 0.5)
    table = model.table()
    torch.testing.assert_close(table.sum(1), torch.ones(model.digits))
    drawn = model.draw(4000)
    assert drawn.shape == (4000, model.digits)
    for l in range(model.digits):
        share = torch.bincount(drawn[:, l], minlength=model.size) / 4000
        assert ((share - table[l]).abs() <= 4.5 * (table[l] * (1 - table[l]) / 4000).sqrt() + 1e-12).all()
    index = drawn[:5]
    want = torch.stack([table[l, index[:, l]].log() for l in range(model.digits)]).sum(0)
    torch.testing.assert_close(model.log_prior(index), want)


def test_perplexity():
    assert perplexity(torch.arange(8).repeat(3)).item() == pytest.approx(8)
    assert perplexity(torch.zeros(5, dtype=torch.long)).item() == pytest.approx(1)
    share = torch.tensor([0.25, 0.75]).double()
    assert perplexity(torch.tensor([0, 1, 1, 1])).item() == pytest.approx(
        float((-share * share.log()).sum().exp())
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: EMACodebook(0, 4),
        lambda: EMACodebook(2, 1),
        lambda: EMACodebook(2, 4, revive=2.0),
        lambda: FSQ((8, 1)),
    ],
)
def test_nonsense_is_refused_in_one_line(make):
    with pytest.raises(OptionError) as error:
        make()
    assert "\n" not in str(error.value)
