"""The densities against quadrature, independent formulas, and their own samplers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2, multivariate_normal

import creo
from creo.data.densities import DENSITIES, NoisyCurve, Rings, moons, two_spirals
from creo.model import seeded

NAMES = list(DENSITIES)
#: cells of the integration grid along one side: at most a quarter of the narrowest noise each
CELLS = {"25-gaussians": 720, "banana": 400, "two-spirals": 160, "moons": 160}


def masses(name: str, bins: int = 20) -> tuple[np.ndarray, float]:
    """Probability of each of bins x bins squares by the midpoint rule, and the half-width of all of them."""
    density = DENSITIES[name]()
    cells = CELLS.get(name, 360)
    line = (torch.arange(cells, dtype=torch.float64) + 0.5) * (2 * density.extent / cells) - density.extent
    p = density.log_prob(torch.cartesian_prod(line, line)).exp() * (2 * density.extent / cells) ** 2
    return p.reshape(bins, cells // bins, bins, cells // bins).sum((1, 3)).numpy(), density.extent


@pytest.mark.parametrize("name", NAMES)
def test_integrates_to_one_and_agrees_with_its_sampler(name: str) -> None:
    expected, half = masses(name)
    # the midpoint rule is exact to far below 1e-6 here; the square leaves out less than 1e-6 of the mass
    assert expected.sum() == pytest.approx(1, abs=1e-6)
    n = 100_000
    with seeded(5):
        x = DENSITIES[name]().sample((n,)).numpy()
    seen, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=len(expected), range=[[-half, half]] * 2)
    often = expected * n >= 8
    observed = np.append(seen[often], n - seen[often].sum())
    wanted = np.append(expected[often] * n, n - expected[often].sum() * n)
    if wanted[-1] < 1e-3:  # the checkerboard: nothing may fall elsewhere
        assert observed[-1] == 0
        observed, wanted = observed[:-1], wanted[:-1]
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    assert chi2.sf(statistic, len(wanted) - 1) > 1e-3


@pytest.mark.parametrize("density", [moons(), two_spirals()], ids=["moons", "two-spirals"])
def test_quadrature_is_good_to_a_millionth(density: NoisyCurve) -> None:
    """Against a composite rule with six times as many nodes (400 panels of 10), everywhere in the square."""
    with seeded(0):
        x = (torch.rand(150, 2, dtype=torch.float64) * 2 - 1) * density.extent
    roots, panel = map(torch.from_numpy, np.polynomial.legendre.leggauss(10))
    width = density.end / 400
    t = ((torch.arange(400)[:, None] + (roots + 1) / 2) * width).flatten()
    weights = (panel * width / 2).repeat(400) * density.weight(t) / 2
    squared = (x[:, None, None] - density.curve(t)).square().sum(-1)
    kernel = -squared / (2 * density.sigma**2) - math.log(2 * math.pi * density.sigma**2)
    truth = (kernel + weights.log()).flatten(1).logsumexp(1)
    assert (density.log_prob(x) - truth).abs().max() < 1e-6


@pytest.mark.parametrize("density", [moons(), two_spirals()], ids=["moons", "two-spirals"])
def test_curves_against_scipy(density: NoisyCurve) -> None:
    with seeded(1):
        x = density.sample((3,)).double()

    def joint(t: float, point: np.ndarray, arm: int) -> float:
        t_ = torch.tensor([t], dtype=torch.float64)
        centre = density.curve(t_)[arm, 0].numpy()
        return multivariate_normal.pdf(point, centre, density.sigma**2) * float(density.weight(t_)) / 2

    for point in x:
        steps = np.linspace(0, density.end, 13)
        total = sum(
            quad(joint, a, b, args=(point.numpy(), arm), epsabs=1e-12)[0]
            for arm in (0, 1)
            for a, b in itertools.pairwise(steps)
        )
        assert density.log_prob(point).item() == pytest.approx(math.log(total), abs=1e-6)


@pytest.mark.parametrize("density", [moons(), two_spirals()], ids=["moons", "two-spirals"])
def test_weight_is_the_derivative_of_the_cdf(density: NoisyCurve) -> None:
    u = torch.linspace(0.05, 0.95, 9, dtype=torch.float64, requires_grad=True)
    t = density.inverse_cdf(u)
    (slope,) = torch.autograd.grad(t.sum(), u)
    torch.testing.assert_close(density.weight(t), 1 / slope)


def test_rings_against_scipy() -> None:
    rings = Rings()

    def on_ring(angle: float, radius: float, x: list[float]) -> float:
        centre = [radius * math.cos(angle), radius * math.sin(angle)]
        return multivariate_normal.pdf(x, centre, rings.sigma**2) / (2 * math.pi * len(rings.radii))

    for x in ([0.0, 0.0], [0.8, 0.1], [-2.0, 2.4], [4.0, 4.0]):
        nearest = [math.atan2(x[1], x[0])]
        total = sum(
            quad(on_ring, -math.pi, math.pi, (r, x), points=nearest, epsabs=0, epsrel=1e-10)[0]
            for r in rings.radii.tolist()
        )
        value = rings.log_prob(torch.tensor(x, dtype=torch.float64)).item()
        assert value == pytest.approx(math.log(total), abs=1e-8)


@pytest.mark.parametrize("name", ["eight-gaussians", "25-gaussians"])
def test_modes_against_torch(name: str) -> None:
    density = DENSITIES[name]()
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(len(density.centres)).double()),
        torch.distributions.Independent(torch.distributions.Normal(density.centres, density.sigma), 1),
    )
    with seeded(2):
        x = torch.cat([density.sample((50,)).double(), 3 * torch.randn(50, 2).double()])
    torch.testing.assert_close(density.log_prob(x), mixture.log_prob(x))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "checkerboard"])
def test_score_against_finite_differences(name: str) -> None:
    density = DENSITIES[name]()
    with seeded(3):
        x = density.sample((5,)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: density.log_prob(v), (x,))


def test_score_is_finite_at_the_centre() -> None:
    for name in NAMES:
        x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        value = DENSITIES[name]().log_prob(x)
        if value.requires_grad:
            assert torch.autograd.grad(value.sum(), x)[0].isfinite().all(), name


def test_checkerboard_values() -> None:
    density = DENSITIES["checkerboard"]()
    x = torch.tensor([[-3.0, -3.0], [-1.0, -3.0], [1.0, 3.0], [3.0, 3.0], [5.0, 5.0]])
    inside = -math.log(32)
    assert density.log_prob(x).tolist() == pytest.approx([inside, -math.inf, -math.inf, inside, -math.inf])


@pytest.mark.parametrize("name", NAMES)
def test_data_set(name: str) -> None:
    data = creo.load_data(name)
    assert data.space == creo.Continuous((2,))
    assert (len(data.train), len(data.valid), len(data.test)) == (50_000, 5_000, 5_000)
    assert data.train.x.dtype == torch.float32
    assert data.density is not None
    assert data.density.log_prob(data.test[:1000]).isfinite().all()
    assert data.content_hash == creo.load_data(name).content_hash
    assert not torch.equal(data.train[:10], data.test[:10])


def test_loading_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    a = torch.rand(3)
    torch.manual_seed(0)
    creo.load_data("moons")
    assert torch.equal(a, torch.rand(3))


def test_distribution_shapes() -> None:
    density = DENSITIES["rings"]()
    assert isinstance(density, torch.distributions.Distribution)
    assert density.sample().shape == (2,)
    assert density.sample((3, 4)).shape == (3, 4, 2)
    assert density.log_prob(torch.zeros(3, 4, 2)).shape == (3, 4)
    assert density.log_prob(torch.zeros(2)).shape == ()
    assert density.log_prob(torch.zeros(3, 2)).dtype == torch.float32
