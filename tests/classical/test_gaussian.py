"""The closed-form Gaussian against scipy, numerical integration over cells, and sklearn's covariance estimators."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

import creo
from creo.classical import Gaussian
from creo.classical.covariance import Moments, optimal_shrinkage, shrunk_covariance
from creo.errors import OptionError, SpaceError
from creo.spaces import Categories, Continuous, Ordinal

COVARIANCE = torch.tensor([[2.0, 1.2], [1.2, 1.0]], dtype=torch.float64)


def correlated(n: int) -> torch.Tensor:
    return torch.randn(n, 2, dtype=torch.float64) @ torch.linalg.cholesky(COVARIANCE).T + torch.tensor(
        [3.0, -1.0]
    )


def test_fit_without_shrinkage_is_maximum_likelihood():
    torch.manual_seed(0)
    x = correlated(500)
    model = Gaussian(Continuous((2,)), shrinkage=0.0).double()
    model.initialise(x)
    oracle = scipy.stats.multivariate_normal(x.numpy().mean(0), np.cov(x.numpy().T, bias=True))
    # the guard of 1e-6 on the correlations moves the log-density by about that much
    np.testing.assert_allclose(model.log_prob(x).numpy(), oracle.logpdf(x.numpy()), atol=1e-4)
    assert model.players() == []


def test_image_shapes_and_scalars():
    torch.manual_seed(0)
    x = torch.randn(50, 1, 2, 3)
    model = Gaussian(Continuous((1, 2, 3)))
    model.initialise(x)
    assert model.log_prob(x).shape == (50,)
    assert model.sample(4).shape == (4, 1, 2, 3)
    scalar = Gaussian(Continuous(()))
    scalar.initialise(torch.randn(1000))
    assert scalar.sample(5).shape == (5,)
    assert float(scalar.log_prob(torch.zeros(1))) == pytest.approx(-0.919, abs=0.1)


def test_shrinkage_formula_pair_by_pair():
    torch.manual_seed(0)
    x = torch.randn(40, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    n, noise, signal = len(x), 0.0, 0.0
    for i in range(5):
        for j in range(5):
            if i != j:
                w = z[:, i] * z[:, j]
                noise += float(n / (n - 1) ** 3 * (w - w.mean()).square().sum())
                signal += float(w.mean() ** 2)
    assert optimal_shrinkage([Moments.of(x)]) == pytest.approx(noise / signal, rel=1e-10)
    assert optimal_shrinkage([Moments.of(1e3 * x + 7)]) == pytest.approx(noise / signal, rel=1e-6)


def test_shrinkage_is_near_the_best_and_vanishes_with_data():
    torch.manual_seed(1)
    truth = torch.linalg.inv(torch.eye(20).double() * 1.5 + 0.2 * torch.ones(20, 20).double())
    root = torch.linalg.cholesky(truth)
    errors, weights = [], []
    for _ in range(20):
        x = torch.randn(30, 20).double() @ root.T
        m = Moments.of(x)
        weights.append(optimal_shrinkage([m]))
        errors.append(
            [float((shrunk_covariance(m.scatter / 30, w) - truth).norm()) for w in (weights[-1], 0.0)]
        )
    chosen, raw = torch.tensor(errors).mean(0)
    assert chosen < 0.6 * raw
    assert optimal_shrinkage([Moments.of(correlated(50_000))]) < 1e-3


def test_fewer_samples_than_dimensions_and_constant_columns():
    torch.manual_seed(0)
    x = torch.randn(10, 40)
    x[:, :5] = 3.0
    model = Gaussian(Continuous((40,)))
    model.initialise(x)
    assert model.log_prob(x).isfinite().all()
    assert (model.sample(100)[:, :5] - 3).abs().max() < 0.01
    model.initialise(torch.full((10, 40), 2.0))
    assert model.log_prob(torch.full((1, 40), 2.0)).isfinite()


def test_ordinal_bound_is_the_expectation_over_dequantisation():
    torch.manual_seed(0)
    x = torch.randint(0, 5, (200, 3))
    model = Gaussian(Ordinal((3,), 5)).double()
    model.initialise(x)
    assert model.likelihood is creo.Likelihood.BOUND
    y = x[:5, None] + torch.rand(5, 40_000, 3, dtype=torch.float64)
    covariance = model.scale_tril[0] @ model.scale_tril[0].T
    density = torch.distributions.MultivariateNormal(model.mean[0], covariance).log_prob(y)
    error = density.std(1) / 200
    assert ((density.mean(1) - model.log_prob(x[:5])).abs() < 4 * error).all()


def test_ordinal_bound_is_below_the_mass_of_the_cell_and_close():
    torch.manual_seed(0)
    x = (
        (torch.randn(2000, 2) @ torch.tensor([[2.0, 1.0], [0.0, 1.5]]) + 8)
        .round()
        .clamp(0, 16)
        .to(torch.uint8)
    )
    model = Gaussian(Ordinal((2,), 17)).double()
    model.initialise(x)
    normal = scipy.stats.multivariate_normal(
        model.mean[0].numpy(), (model.scale_tril[0] @ model.scale_tril[0].T).numpy()
    )
    for cell in x[:10]:
        a, b = cell.tolist()
        mass, _ = scipy.integrate.dblquad(lambda v, u: normal.pdf([u, v]), a, a + 1, b, b + 1, epsabs=1e-10)
        bound = float(model.log_prob(cell[None]))
        assert bound <= np.log(mass) < bound + 0.1


def test_one_dimensional_cells_with_the_tails_on_the_edges():
    model = Gaussian(Ordinal((1,), 4)).double()
    model.initialise(torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])[:, None])
    normal = scipy.stats.norm(float(model.mean), float(model.scale_tril))
    edges = np.array([-np.inf, 1, 2, 3, np.inf])
    mass = np.log(np.diff(normal.cdf(edges)))
    bound = model.log_prob(torch.arange(4)[:, None]).numpy()
    assert (bound <= mass).all()
    torch.manual_seed(0)
    x = model.sample(20_000)
    assert x.dtype == torch.uint8
    counts = np.bincount(x.flatten().numpy(), minlength=4)
    assert scipy.stats.chisquare(counts, np.exp(mass) * 20_000).pvalue > 1e-3


def test_conditional_is_one_gaussian_per_class_and_needs_labels():
    torch.manual_seed(0)
    c = torch.randint(0, 2, (4000,))
    x = correlated(4000) + 10.0 * c[:, None]
    model = Gaussian(Continuous((2,)), Categories(3)).double()
    model.initialise(x, c)
    alone = Gaussian(Continuous((2,))).double()
    alone.initialise(x[c == 1])
    same = torch.ones(100, dtype=torch.long)
    torch.testing.assert_close(model.log_prob(x[:100], same), alone.log_prob(x[:100]), atol=0.05, rtol=0.02)
    draws = model.sample(2000, torch.tensor(1))
    assert (draws.mean(0) - alone.mean[0]).abs().max() < 4 * (2 / 2000) ** 0.5
    assert model.sample(1, torch.tensor(2)).isfinite().all()  # no data of class 2: the pooled Gaussian
    with pytest.raises(SpaceError, match="conditioned on Categories only"):
        Gaussian(Continuous((2,)), Continuous((1,)))


def test_state_dict_is_the_model():
    torch.manual_seed(0)
    x = correlated(50).float()
    model, copy = Gaussian(Continuous((2,))), Gaussian(Continuous((2,)))
    model.initialise(x)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.log_prob(x), model.log_prob(x))


def test_options_are_checked():
    with pytest.raises(OptionError, match="received 2"):
        creo.build("gaussian", Continuous((2,)), shrinkage=2.0)
    with pytest.raises(OptionError, match="received 0"):
        creo.build("gaussian", Continuous((2,)), prior=0)
