"""Models of the family against closed forms: what a linear flow must learn, and that each model learns what it can."""

import math

import pytest
import torch

import creo
from creo.errors import OptionError, SpaceError
from creo.flows import MAF, AutoregressiveNSF
from creo.spaces import Categories, Continuous, Ordinal


def train(model, x, c=None, steps=300, lr=1e-2):
    model.initialise(x, c)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(x), (256,))
        optimiser.zero_grad()
        model.loss(x[rows], None if c is None else c[rows]).loss.backward()
        optimiser.step()
    return model.eval()


def banana(n):
    x = torch.randn(n, 2)
    return torch.stack([x[:, 0], 0.3 * x[:, 1] + x[:, 0].square() - 1], 1)


def banana_log_prob(x):
    e = (x[:, 1] - x[:, 0].square() + 1) / 0.3
    return -0.5 * (x[:, 0].square() + e.square()) - math.log(2 * math.pi * 0.3)


def test_the_linear_flow_learns_the_maximum_likelihood_gaussian():
    torch.manual_seed(0)
    x = torch.randn(2000, 3) @ torch.tensor([[1.0, 0.4, -0.3], [0.0, 0.8, 0.5], [0.0, 0.0, 1.2]])
    model = creo.build("linear-flow", Continuous((3,)))
    train(model, x, steps=300)
    covariance = torch.cov(x.T, correction=0)
    best = -0.5 * torch.logdet(2 * math.pi * math.e * covariance)
    with torch.no_grad():
        found = model.log_prob(x).mean()
    assert -0.02 < float(found - best) < 1e-4


@pytest.mark.parametrize(
    ("name", "options", "gap"),
    [
        ("nsf-ar", {"hidden": (32, 32), "layers": 1}, 0.12),
        ("nsf", {"hidden": (32, 32), "layers": 2, "residual": True}, 0.08),
    ],
)
def test_a_banana_is_learned(name, options, gap):
    torch.manual_seed(0)
    model = train(creo.build(name, Continuous((2,)), **options), banana(5000), steps=400, lr=3e-3)
    test = banana(4000)
    with torch.no_grad():
        divergence = float((banana_log_prob(test) - model.log_prob(test)).mean())
    assert -0.02 < divergence < gap


def test_autoregressive_flows_of_one_dimension_are_conditional_densities():
    torch.manual_seed(0)
    c = torch.randint(0, 2, (4000,))
    x = torch.where(c == 0, torch.randn(4000) - 2, 0.5 * torch.randn(4000) + 2)[:, None]
    model = train(creo.build("maf", Continuous((1,)), Categories(2), hidden=(16,)), x, c)
    drawn = model.sample(4000, torch.tensor(1))
    assert abs(float(drawn.mean()) - 2) < 0.15
    assert abs(float(drawn.std()) - 0.5) < 0.1


def test_a_compiled_training_step_has_no_graph_break():
    torch.manual_seed(0)
    for cls in (MAF, AutoregressiveNSF):
        model = cls.for_space(Continuous((4,)), layers=2, hidden=(8, 8)).double()
        x = torch.randn(16, 4, dtype=torch.float64)
        compiled = torch.compile(model.forward, backend="eager", fullgraph=True)
        for a, b in zip(compiled(x), model.forward(x), strict=True):
            torch.testing.assert_close(a, b)


def test_wrong_options_get_one_line():
    for name in ("nsf", "maf", "iaf", "nsf-ar", "nice", "planar", "radial", "sylvester"):
        with pytest.raises(OptionError, match="layers must be at least 1"):
            creo.build(name, Continuous((2,)), layers=0)
    with pytest.raises(OptionError, match="split is one of alternating, halves; received 'thirds'"):
        creo.build("nsf", Continuous((2,)), split="thirds")
    with pytest.raises(OptionError, match="lu or qr"):
        creo.build("linear-flow", Continuous((2,)), matrix="svd")
    with pytest.raises(SpaceError, match="even height and width"):
        creo.build("glow", Ordinal((1, 3, 4), 4))
    with pytest.raises(OptionError, match="scales must be at least 1"):
        creo.build("glow", Ordinal((1, 4, 4), 4), scales=0)


@pytest.mark.parametrize("name", ["nice", "realnvp", "maf", "nsf", "nsf-ar"])
@pytest.mark.parametrize("batch", [0, 1])
def test_no_sample_and_one(name, batch):
    model = creo.build(name, creo.Continuous((8,)), hidden=(128, 128)).eval()
    x = torch.randn(9, 8)
    model.initialise(x)
    together = model.log_prob(x)[:batch]
    torch.testing.assert_close(model.log_prob(x[:batch]), together, rtol=0, atol=1e-4)
    z, log_det = model.forward(x[:batch])
    back, inverse_log_det = model.inverse(z)
    assert z.shape == (batch, 8)
    torch.testing.assert_close(back, x[:batch], rtol=0, atol=1e-4)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["realnvp", "maf", "nsf", "nsf-ar"])
def test_what_a_flow_returns_lies_as_a_batch_does(name):
    model = creo.build(name, creo.Continuous((8,)), hidden=(128, 128))
    x = torch.randn(9, 8)
    assert all(y.is_contiguous() for y in (model.forward(x)[0], model.inverse(x)[0], model.sample(9)))
