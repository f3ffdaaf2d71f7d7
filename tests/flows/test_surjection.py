"""Surjections and learned dequantisation: their likelihood contributions against closed forms and enumeration."""

import math
from itertools import product

import pytest
import torch

import creo
from creo.distributions.gaussian import standard_log_prob
from creo.errors import OptionError
from creo.flows import (
    Absolute,
    Compose,
    Flow,
    Inverted,
    Log,
    RealNVP,
    Slice,
    Standardise,
    UniformDequantise,
    VariationalDequantise,
)
from creo.model import Likelihood
from creo.spaces import Categories, Continuous, Ordinal


def moved(module, spread=0.3, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(spread * torch.randn_like(p))
    return module.double()


def test_a_slice_is_the_density_of_the_rest_given_what_stays():
    layer = Slice(3, 1, hidden=(8,)).double()
    raw = torch.tensor([0.4, -0.3, 1.0, 2.0], dtype=torch.float64)
    with torch.no_grad():  # mean and scale of the others that do not depend on the first
        layer.network.out.bias.copy_(raw)
    x = torch.randn(5, 3, dtype=torch.float64)
    y, log_det = layer.forward(x)
    std = (3 * torch.tanh(raw[:2] / 3)).exp()
    expected = torch.distributions.Normal(raw[2:], std).log_prob(x[:, 1:]).sum(1)
    torch.testing.assert_close(y, x[:, :1])
    torch.testing.assert_close(log_det, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layer", [Slice(4, 2, hidden=(8,), context=2), Absolute((4,), hidden=(8,), context=2)]
)
def test_an_inverse_draws_what_forward_weighs(layer):
    layer = moved(layer)
    y, e = torch.rand(6, layer.output_shape((4,))[0], dtype=torch.float64), torch.randn(6, 2).double()
    x, log_det = layer.inverse(y, e)
    again, weight = layer.forward(x, e)
    torch.testing.assert_close(again, y, rtol=0, atol=1e-12)
    torch.testing.assert_close(weight, -log_det, rtol=0, atol=1e-9)
    assert not torch.equal(layer.inverse(y, e)[0], x)


def test_signs_are_probabilities():
    layer = moved(Absolute((3,), hidden=(8,)))
    y = torch.rand(1, 3, dtype=torch.float64)
    signs = torch.tensor([*product((-1.0, 1.0), repeat=3)], dtype=torch.float64)
    log_p = layer.forward(signs * y)[1]
    assert float(log_p.logsumexp(0).detach()) == pytest.approx(0, abs=1e-12)
    assert len({round(v, 9) for v in log_p.tolist()}) == 8
    torch.manual_seed(0)
    drawn = layer.inverse(y.expand(20_000, -1))[0].sign()
    counts = torch.stack([(drawn == s).all(1).double().mean() for s in signs])
    error = (log_p.exp() * (1 - log_p.exp()) / 20_000).sqrt()
    assert ((counts - log_p.exp()).abs() < 4 * error).all()


def test_a_symmetric_density_integrates_to_one():
    flow = Compose([Absolute((1,), hidden=None), Log(), moved(Standardise((1,)))])
    model = Flow(Continuous((1,)), flow).double()
    assert model.likelihood is Likelihood.EXACT
    x = torch.linspace(-60, 60, 240_001, dtype=torch.float64)[:, None]
    density = model.log_prob(x[x[:, 0] != 0]).exp()
    assert float(density.sum() * (x[1] - x[0])) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(model.log_prob(x[:9] + 1), model.log_prob(-x[:9] - 1))
    assert model.sample(100).sign().unique().numel() == 2


def test_signs_for_data_that_have_none_are_averaged_to_the_density():
    """q over signs, p normal with a mean: the mean of the weights is p(x) + p(-x)."""
    signs = moved(Absolute((2,), hidden=(8,)))
    model = Flow(Continuous((2,)), Compose([Inverted(signs), moved(Standardise((2,)))])).double()
    assert model.likelihood is Likelihood.BOUND
    base = model.flow.layers[1]
    with torch.no_grad():
        base.mean.copy_(torch.tensor([0.5, -0.3]))
    x = torch.tensor([[0.7, 1.2]], dtype=torch.float64)
    folded = [x * torch.tensor(s).double() for s in product((-1.0, 1.0), repeat=2)]
    truth = torch.stack(
        [standard_log_prob(base.forward(z)[0]) + base.forward(z)[1] for z in folded]
    ).logsumexp(0)
    torch.manual_seed(0)
    weights = model.log_prob(x.expand(20_000, -1)).exp()
    assert abs(float(weights.mean() - truth.exp())) < 4 * float(weights.std()) / 20_000**0.5
    assert float(weights.log().mean()) < float(truth)


def test_augmentation_by_noise_is_a_bound_whose_weights_average_to_the_marginal():
    matrix = torch.tensor([[1.0, 0.6], [0.0, 0.8]], dtype=torch.float64)  # p(x, u) = N(0, matrix^T matrix)

    class Joint(Standardise):
        def forward(self, x, e=None):
            log_det = -matrix.diagonal().log().sum()
            return torch.linalg.solve_triangular(matrix, x, upper=True, left=False), log_det.expand(len(x))

    augment = Inverted(moved(Slice(2, 1, hidden=(8,))))
    model = Flow(Continuous((1,)), Compose([augment, Joint((2,))])).double()
    assert model.likelihood is Likelihood.BOUND
    x = torch.tensor([[0.8]], dtype=torch.float64)
    truth = torch.distributions.Normal(0.0, 1.0).log_prob(x[0, 0])
    torch.manual_seed(0)
    weights = model.log_prob(x.expand(50_000, -1)).exp()
    assert abs(float(weights.mean() - truth.exp())) < 4 * float(weights.std()) / 50_000**0.5


SPACE = Ordinal((2,), 3)


def density():
    """A flow on the plane over the cells of SPACE, in float64, with mass bent inside the cells."""
    torch.manual_seed(0)
    model = RealNVP.for_space(SPACE, layers=2, hidden=(16,), dropout=0.0, preprocess="scale").double().eval()
    model.initialise(torch.randint(3, (500, 2), dtype=torch.uint8))
    return moved(model, 0.2, seed=1)


def enumerated(model):
    """All levels (9, 2) and their probabilities, by the midpoint rule over 200 x 200 points of every cell."""
    levels = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    grid = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    inside = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        cells = [model.flow.forward(level + inside) for level in levels]
        mass = torch.stack([(standard_log_prob(z) + log_det).exp().mean() for z, log_det in cells])
    return levels.to(torch.uint8), mass.log()


def draws(model, dequantise, levels, n):
    """log-weights (n, 9)."""
    y, log_det = dequantise.forward(levels.repeat(n, 1))
    z, inner = model.flow.forward(y)
    return (standard_log_prob(z) + inner + log_det).unflatten(0, (n, len(levels)))


def test_learned_noise_has_the_density_that_it_says():
    model = density()
    levels, truth = enumerated(model)
    noise = moved(VariationalDequantise(SPACE, hidden=8), 0.1)
    torch.manual_seed(0)
    with torch.no_grad():
        weights = draws(model, noise, levels, 4000).exp()
    error = weights.std(0) / 4000**0.5
    # the margin leaves out 4 10^-4 of a cell
    assert ((weights.mean(0) - truth.exp()).abs() < 4 * error + 1e-3 * truth.exp()).all()
    assert (weights.log().mean(0) < truth).all()


def test_learned_noise_starts_as_uniform_noise():
    noise = VariationalDequantise(SPACE, hidden=8).double()
    y, log_det = noise.forward(torch.randint(3, (4000, 2), dtype=torch.uint8))
    assert log_det.abs().max() < 1e-3
    u = (y - y.floor()).flatten().sort().values
    assert (u - torch.linspace(0, 1, len(u), dtype=torch.float64)).abs().max() < 0.025
    assert torch.equal(noise.inverse(y)[0], y.floor().to(torch.uint8))


def test_the_bound_becomes_tight_by_learning_the_noise_alone():
    model = density()
    levels, truth = enumerated(model)
    torch.manual_seed(0)
    noise = VariationalDequantise(SPACE, hidden=16).double()
    optimiser = torch.optim.Adam(noise.parameters(), lr=1e-2)

    def gap(dequantise):
        with torch.no_grad():
            return float((truth.exp() * (truth - draws(model, dequantise, levels, 2000).mean(0))).sum())

    uniform = gap(UniformDequantise(SPACE).double())
    for _ in range(80):
        optimiser.zero_grad()
        (-(draws(model, noise, levels, 30).mean(0) * truth.exp()).sum()).backward()
        optimiser.step()
    learned = gap(noise)
    assert uniform > 0.01
    assert 0 < learned < uniform / 3


@pytest.mark.parametrize("condition", [None, Categories(3)])
def test_flows_take_learned_noise(condition):
    torch.manual_seed(0)
    model = creo.build("nsf", Ordinal((1, 2, 2), 5), condition, hidden=(8,), dequantise="variational")
    assert model.likelihood is Likelihood.BOUND
    assert "variational" in model.likelihood_note
    x, c = torch.randint(5, (32, 1, 2, 2), dtype=torch.uint8), None
    if condition is not None:
        c = torch.randint(3, (32,))
    model.initialise(x, c)
    model.train().loss(x, c).loss.backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    assert float(model.dequantise.network.out.weight.grad.abs().sum()) >= 0
    assert model.eval().log_prob(x, c).shape == (32,)
    assert math.isfinite(float(model.log_prob(x, c, samples=2).mean()))


def test_wrong_options_get_one_line():
    with pytest.raises(OptionError, match="keeps some"):
        Slice(3, 3)
    with pytest.raises(OptionError, match="at least 1 layer"):
        VariationalDequantise(SPACE, layers=0)
