"""EM against scikit-learn from the same start, against enumeration on small ordinal spaces, and its own promises:
a rising objective, components that do not die or collapse, samples that follow the probabilities."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.mixture import GaussianMixture

import creo
from creo.classical.components import Categoricals, DiagonalGaussians, FullGaussians
from creo.classical.em import REVIVAL_ROUNDS, expectation_maximisation, revive
from creo.classical.indicators import Indicators
from creo.classical.kmeans import kmeans, plus_plus, squared_distances
from creo.errors import OptionError, SpaceError
from creo.spaces import Categories, Continuous, Ordinal


def blobs(n, dims=2, k=3):
    centres = 4 * torch.randn(k, dims, dtype=torch.float64)
    label = torch.randint(k, (n,))
    stretch = torch.eye(dims, dtype=torch.float64) + 0.5 * torch.randn(k, dims, dims, dtype=torch.float64)
    return centres[label] + torch.einsum(
        "nij,nj->ni", stretch[label], torch.randn(n, dims, dtype=torch.float64)
    )


@pytest.mark.parametrize(("family", "name"), [(FullGaussians, "full"), (DiagonalGaussians, "diag")])
def test_gaussians_equal_scikit_learn_from_the_same_start(family, name):
    torch.manual_seed(0)
    x = blobs(600, dims=3)
    start = torch.nn.functional.one_hot(squared_distances(x, plus_plus(x, 4)).argmin(1), 4).double()
    components = family(4, Continuous((3,)), ridge=1e-12).double()
    log_weight = expectation_maximisation(components, x, start, steps=300, tolerance=1e-10)
    components.maximise(x, start)  # scikit-learn is started from the parameters of the first M step
    means = components.mean.clone()
    scale = components.scale
    precision = torch.linalg.inv(scale @ scale.mT) if name == "full" else scale.square().reciprocal()
    oracle = GaussianMixture(
        4, covariance_type=name, reg_covar=0, tol=1e-10, max_iter=300,
        weights_init=start.mean(0), means_init=means, precisions_init=precision,
    ).fit(x.numpy())  # fmt: skip
    expectation_maximisation(components, x, start, steps=300, tolerance=1e-10)
    ours = (components.log_prob(x) + log_weight).logsumexp(1)
    np.testing.assert_allclose(ours.numpy(), oracle.score_samples(x.numpy()), atol=1e-3)


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (Continuous((3,)), {"ridge": 0.5}),
        (Continuous((3,)), {"ridge": 0.5, "covariance": "diagonal"}),
        (Ordinal((6,), 2), {"smoothing": 2.0}),
        (Ordinal((1, 2, 3), 5), {"smoothing": 2.0}),
    ],
)
def test_the_objective_never_falls(space, options):
    torch.manual_seed(0)
    x = blobs(300, dims=space.dims)
    if space.discrete:
        x = (
            (x + space.levels / 2)
            .round()
            .clamp(0, space.levels - 1)
            .to(torch.uint8)
            .reshape(-1, *space.shape)
        )
    losses = []
    model = creo.build("mixture", space, components=4, steps=50, tolerance=0.0, **options)
    model.initialise(x, report=lambda terms: losses.append(float(terms.loss)))
    steady = losses[REVIVAL_ROUNDS:]
    assert len(steady) > 5
    assert max(b - a for a, b in itertools.pairwise(steady)) < 1e-9
    assert steady[-1] < losses[0]


@pytest.mark.parametrize("family", [FullGaussians, DiagonalGaussians])
def test_the_m_step_is_where_likelihood_and_prior_are_stationary(family):
    torch.manual_seed(0)
    x, r = blobs(200), torch.rand(200, 3, dtype=torch.float64)
    part = family(3, Continuous((2,)), ridge=5.0).double()
    part.set_prior(x)
    part.maximise(x, r)
    for name in ("mean", "scale"):
        getattr(part, name).requires_grad_()
    ((r * part.log_prob(x)).sum() + part.log_prior()).backward()
    for gradient in (part.mean.grad, part.scale.grad.tril()):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


def test_recovers_a_known_mixture():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(3000, 2) * torch.tensor([0.5, 2.0]) - 4, torch.randn(1000, 2) + 4])
    model = creo.build("mixture", Continuous((2,)), components=2)
    model.initialise(x)
    big = int(model.log_weight[0].argmax())
    part = model.parts[0]
    assert math.exp(float(model.log_weight[0, big])) == pytest.approx(0.75, abs=1e-3)
    torch.testing.assert_close(part.mean[big], torch.tensor([-4.0, -4.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(part.scale[big].diagonal(), torch.tensor([0.5, 2.0]), atol=0.1, rtol=0)
    assert model.players() == []


def test_density_of_gaussians_integrates_to_one_and_its_samples_follow_it():
    torch.manual_seed(0)
    model = creo.build("mixture", Continuous((2,)), components=3).double()
    model.initialise(blobs(500))
    axis = torch.linspace(-25, 25, 501, dtype=torch.float64)
    log_p = model.log_prob(torch.cartesian_prod(axis, axis))
    assert float(log_p.exp().sum()) * 0.01 == pytest.approx(1, abs=1e-6)
    nll = -model.log_prob(model.sample(20_000))
    entropy = float(-(log_p.exp() * log_p).sum() * 0.01)
    assert abs(float(nll.mean()) - entropy) < 4 * float(nll.std()) / 20_000**0.5


@pytest.mark.parametrize("levels", [2, 3])
def test_ordinal_probabilities_sum_to_one_and_samples_follow_them(levels):
    torch.manual_seed(0)
    space = Ordinal((1, 2, 2), levels)
    x = torch.randint(0, levels, (50, 1, 2, 2), dtype=torch.uint8)
    x[:, 0, 1] = x[:, 0, 0]
    model = creo.build("mixture", space, components=3, smoothing=1.0).double()
    model.initialise(x)
    every = torch.cartesian_prod(*[torch.arange(levels)] * 4).reshape(-1, 1, 2, 2).to(torch.uint8)
    p = model.log_prob(every).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-10)
    draws = model.sample(20_000)
    space.check(draws)
    index = (draws.flatten(1).long() * levels ** torch.arange(3, -1, -1)).sum(1)
    counts = torch.bincount(index, minlength=len(every))
    assert scipy.stats.chisquare(counts.numpy(), 20_000 * p.numpy()).pvalue > 1e-3


def test_categoricals_are_their_formula():
    torch.manual_seed(0)
    space = Ordinal((4,), 3)
    x = torch.randint(0, 3, (30, 4))
    r = torch.rand(30, 2, dtype=torch.float64)
    part = Categoricals(2, space, smoothing=5.0).double()
    part.set_prior(part.encode(x))
    part.maximise(part.encode(x), r)
    onehot = torch.nn.functional.one_hot(x, 3).double()
    histogram = (onehot.sum(0) + 1 / 3) / 31
    theta = torch.einsum("nk,ndl->dlk", r, onehot) + 5 * histogram[..., None]
    theta = theta / (r.sum(0) + 5)
    torch.testing.assert_close(part.log_theta.exp(), theta)
    torch.testing.assert_close(
        part.log_prob(part.encode(x)), torch.einsum("ndl,dlk->nk", onehot, theta.log()), atol=1e-12, rtol=0
    )


def test_indicators_are_the_one_hot_matrix_without_level_zero():
    torch.manual_seed(0)
    x = torch.randint(0, 4, (7, 3))
    x[2] = 0
    dense = torch.nn.functional.one_hot(x, 4).double()
    dense[..., 0] = 0
    sparse = Indicators(x, 4, torch.float64)
    assert torch.equal(sparse.matrix.to_dense(), dense.flatten(1))
    assert torch.equal(sparse.transposed.to_dense(), dense.flatten(1).T)
    empty = Indicators(torch.zeros(2, 3, dtype=torch.uint8), 4, torch.float64)
    assert (empty.matrix @ torch.ones(12, 1, dtype=torch.float64)).tolist() == [[0.0], [0.0]]


def test_a_component_without_data_is_revived():
    torch.manual_seed(0)
    r = torch.zeros(1000, 3)
    r[:700, 0] = r[700:, 1] = 1
    revived = revive(r)
    torch.testing.assert_close(revived.sum(1), torch.ones(1000))
    assert 300 < revived[:, 2].sum() < 400
    assert revived.min() >= 0
    assert torch.equal(revive(revived), revived)


def test_fewer_samples_than_components_and_constant_data():
    torch.manual_seed(0)
    model = creo.build("mixture", Continuous((2,)), components=5)
    for x in (torch.randn(3, 2), torch.full((20, 2), 7.0)):
        model.initialise(x)
        assert model.log_prob(x).isfinite().all()
        assert model.sample(10).isfinite().all()


def test_conditional_has_a_mixture_per_class():
    torch.manual_seed(0)
    c = torch.randint(0, 2, (1000,))
    x = torch.randn(1000, 2) + 8.0 * c[:, None]
    model = creo.build("mixture", Continuous((2,)), Categories(3), components=2)
    model.initialise(x, c)
    assert (model.sample(500, torch.tensor(1)).mean(0) - 8).abs().max() < 0.3
    other = model.log_prob(x, 1 - c)
    assert (model.log_prob(x, c) > other).float().mean() > 0.999
    assert model.log_prob(x, torch.full((1000,), 2)).mean() > -6  # no data of class 2: the mixture of all
    with pytest.raises(SpaceError, match="Categories only"):
        creo.build("mixture", Continuous((2,)), Ordinal((1,), 3))


def test_state_dict_is_the_model():
    torch.manual_seed(0)
    for space in (Continuous((2,)), Ordinal((2,), 4)):
        x = torch.randint(0, 4, (60, 2)).to(space.dtype)
        model, copy = (creo.build("mixture", space, components=3) for _ in range(2))
        model.initialise(x)
        copy.load_state_dict(model.state_dict())
        assert torch.equal(copy.log_prob(x), model.log_prob(x))


def test_kmeans_finds_separated_clusters():
    torch.manual_seed(0)
    centres = 10.0 * torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = kmeans(centres.repeat(50, 1) + torch.randn(200, 2), 4)
    assert squared_distances(centres, found).min(1).values.max() < 1


def test_options_are_checked():
    for wrong in ({"components": 0}, {"ridge": 0.0}, {"covariance": "round"}, {"tolerance": -1.0}):
        with pytest.raises(OptionError, match="received"):
            creo.build("mixture", Continuous((2,)), **wrong)
