"""RealNVP: its density integrates to 1, its bound to at most 1, both agree with its samples, and it learns."""

import math

import pytest
import torch

import creo
from creo.errors import OptionError, SpaceError
from creo.flows import RealNVP
from creo.spaces import Categories, Continuous, Ordinal, Table

SMALL = {"layers": 4, "hidden": (16, 16)}


def shaken(model, scale=0.3):
    """The model in float64 with every parameter moved away from its neutral start."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn_like(p))
    return model.double().eval()


def train(model, x, c=None, steps=600, lr=5e-3):
    model.initialise(x, c)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(x), (256,))
        optimiser.zero_grad()
        model.loss(x[rows], None if c is None else c[rows]).loss.backward()
        optimiser.step()
    return model.eval()


def grid_around(model, c=None, side=200):
    """Points of a grid that holds all of the density (samples' range and half as much again), and a cell's area."""
    x = model.sample(4000, c)
    low, high = x.amin(0), x.amax(0)
    low, high = low - (high - low) / 2, high + (high - low) / 2
    axes = [
        torch.linspace(float(a), float(b), side, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    return torch.cartesian_prod(*axes), float(((high - low) / (side - 1)).prod())


@pytest.mark.parametrize("condition", [None, Categories(3), Continuous((2,)), Table({"a": Continuous()})])
def test_density_integrates_to_one(condition):
    torch.manual_seed(0)
    model = shaken(creo.build("realnvp", Continuous((2,)), condition, **SMALL), 0.15)
    c = None if condition is None else torch.ones(condition.shape, dtype=condition.dtype)
    points, area = grid_around(model, c)
    e = None if c is None else c.expand(len(points), *condition.shape)
    assert float(model.log_prob(points, e).exp().sum()) * area == pytest.approx(1, abs=1e-3)


def test_samples_follow_the_density():
    torch.manual_seed(0)
    model = shaken(creo.build("realnvp", Continuous((2,)), **SMALL))
    points, area = grid_around(model)
    log_p = model.log_prob(points)
    entropy = float(-(log_p.exp() * log_p).sum() * area)
    nll = -model.log_prob(model.sample(20_000))
    # the mean of -log p over samples is the entropy, which the grid integrates
    assert abs(float(nll.mean()) - entropy) < 4 * float(nll.std()) / 20_000**0.5 + 1e-3
    mean = (points * log_p.exp()[:, None]).sum(0) * area
    x = model.sample(20_000)
    assert ((x.mean(0) - mean).abs() < 4 * x.std(0) / 20_000**0.5 + 1e-3 * x.std(0)).all()


def test_model_level_forward_and_inverse():
    torch.manual_seed(0)
    for space in (Continuous((3,)), Ordinal((1, 2, 2), 5)):
        model = shaken(creo.build("realnvp", space, Categories(2), **SMALL), 0.1)
        c = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
        z = torch.randn(8, *space.shape, dtype=torch.float64)
        x, log_det = model.inverse(z, c)
        back, forward_log_det = model.forward(x, c)
        torch.testing.assert_close(back, z, atol=1e-8, rtol=0)
        torch.testing.assert_close(forward_log_det, -log_det, atol=1e-6, rtol=0)


def test_ordinal_probabilities_sum_to_at_most_one_and_nearly_one_with_many_samples():
    torch.manual_seed(0)
    space = Ordinal((2,), 4)
    x = torch.randint(0, 4, (500, 2), dtype=torch.uint8)
    model = shaken(creo.build("realnvp", space, **SMALL), 0.1)
    model.initialise(x)
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4)).to(torch.uint8)
    with torch.no_grad():
        few = torch.stack([model.log_prob(every, samples=1) for _ in range(400)]).mean(0)
        total = torch.stack([model.log_prob(every, samples=500).exp().sum() for _ in range(20)])
    assert float(few.exp().sum()) < 1
    assert abs(float(total.mean()) - 1) < 4 * float(total.std()) / 20**0.5
    assert float(total.std()) < 0.2


def test_bound_tightens_with_samples():
    torch.manual_seed(0)
    model = shaken(creo.build("realnvp", Ordinal((6,), 4), **SMALL), 0.3)
    x = torch.randint(0, 4, (400, 6), dtype=torch.uint8)
    with torch.no_grad():
        one, eight, many = (float(model.log_prob(x, samples=k).mean()) for k in (1, 8, 128))
    assert one < eight < many


def test_a_fresh_ordinal_model_is_the_independent_histogram():
    torch.manual_seed(0)
    x = torch.multinomial(torch.tensor([0.6, 0.1, 0.3]), 3000, replacement=True).reshape(-1, 3)
    model = creo.build("realnvp", Ordinal((3,), 3), **SMALL)
    model.initialise(x)
    counts = torch.stack([torch.bincount(column, minlength=3) for column in x.T])
    histogram = ((counts + 1 / 3) / 1001).log()
    expected = -histogram[torch.arange(3), x].sum(1).mean()
    # activation normalisation of noise that is normal already moves it by O(1/N)
    assert abs(float(model.loss(x).loss) - float(expected)) < 0.02


def arcs(angle, upper):
    """Points on the two half circles."""
    x = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    return torch.where(upper[:, None], x, torch.tensor([1.0, 0.5]) - x)


def moons(n):
    upper = torch.rand(n) < 0.5
    return arcs(math.pi * torch.rand(n), upper) + 0.15 * torch.randn(n, 2), upper.long()


def moons_log_prob(x):
    """By quadrature over the angle (midpoints; the integrand is smooth on the scale of the step)."""
    angle = math.pi * (torch.arange(500) + 0.5) / 500
    centres = torch.cat([arcs(angle, torch.full((500,), side)) for side in (True, False)])
    log_normal = -torch.cdist(x, centres).square() / (2 * 0.15**2) - math.log(2 * math.pi * 0.15**2)
    return log_normal.logsumexp(1) - math.log(1000)


def test_learns_two_moons_with_and_without_labels():
    torch.manual_seed(0)
    x, label = moons(5000)
    test, test_label = moons(4000)
    options = {"layers": 6, "hidden": (32, 32)}
    model = train(creo.build("realnvp", Continuous((2,)), **options), x)
    conditional = train(creo.build("realnvp", Continuous((2,)), Categories(2), **options), x, label)
    truth = moons_log_prob(test).mean()
    with torch.no_grad():
        divergence = float(truth - model.log_prob(test).mean())
        gain = float(conditional.log_prob(test, test_label).mean() - truth)
    # a Gaussian diverges by 0.56; a perfect conditional model gains I(x; label), just under ln 2 = 0.69
    assert -0.02 < divergence < 0.2
    assert 0.45 < gain < 0.69


def test_samples_of_ordinal_spaces_are_levels():
    torch.manual_seed(0)
    model = shaken(creo.build("realnvp", Ordinal((1, 4, 4), 17), **SMALL), 1.0).float()
    x = model.sample(50)
    assert x.dtype == torch.uint8
    model.space.check(x)
    assert model.sample(2, temperature=0.0).unique(dim=0).shape[0] == 1


def test_state_dict_is_the_model():
    torch.manual_seed(0)
    x = torch.randint(0, 5, (300, 1, 4, 4), dtype=torch.uint8)
    model = creo.build("realnvp", Ordinal((1, 4, 4), 5), **SMALL).eval()
    model.initialise(x)
    torch.manual_seed(7)  # random choices at construction must not matter
    copy = creo.build("realnvp", Ordinal((1, 4, 4), 5), **SMALL).eval()
    copy.load_state_dict(model.state_dict())
    with creo.seeded(1):
        expected = model.log_prob(x)
    with creo.seeded(1):
        assert torch.equal(copy.log_prob(x), expected)


def test_units_of_continuous_data_do_not_matter():
    torch.manual_seed(0)
    x = torch.randn(500, 3).double()
    models = [creo.build("realnvp", Continuous((3,)), **SMALL).double().eval() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    models[0].initialise(x)
    models[1].initialise(1e4 * x + 1e6)
    difference = models[0].log_prob(x) - models[1].log_prob(1e4 * x + 1e6)
    torch.testing.assert_close(difference, torch.full_like(difference, 3 * math.log(1e4)), atol=1e-6, rtol=0)


def test_bfloat16_autocast_stays_near():
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    model = shaken(creo.build("realnvp", Continuous((4,)), **SMALL), 0.05).float()
    with torch.autocast("cpu", torch.bfloat16):
        low = model.log_prob(x)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, model.log_prob(x), atol=0.3, rtol=0.05)


def test_wrong_input_gets_one_line():
    with pytest.raises(SpaceError, match="at least 2 dimensions"):
        creo.build("realnvp", Continuous((1,)))
    with pytest.raises(OptionError, match="received 0"):
        creo.build("realnvp", Continuous((2,)), layers=0)
    model = creo.build("realnvp", Ordinal((2,), 3), **SMALL)
    with pytest.raises(OptionError, match="samples must be at least 1"):
        model.log_prob(torch.zeros(1, 2, dtype=torch.uint8), samples=0)
    with pytest.raises(OptionError, match="or neither"):
        RealNVP(Continuous((2,)), model.flow, condition=Categories(2))
