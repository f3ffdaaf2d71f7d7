"""Inversion in rounds against forward substitution: answers, errors, numbers of rounds, and who chooses."""

import math

import pytest
import torch

import creo
from creo.errors import OptionError
from creo.flows import Affine, Autoregressive, RationalQuadratic, Sigmoidal
from creo.flows.jacobi import BLOCK, FEW, MANY, Rounds, block_size
from creo.spaces import Continuous


def layer_of(dims, hidden=(24, 24), elementwise=None, context=0, spread=0.1, **options):
    torch.manual_seed(0)
    order = torch.randperm(dims)
    layer = Autoregressive((dims,), elementwise, hidden=hidden, context=context, order=order, **options)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(spread * torch.randn_like(p))
    return layer.double().eval()


def answers(layer, y, e, **changes):
    """(x, log_det) by one method."""
    for name, value in changes.items():
        setattr(layer, name, value)
    with torch.no_grad():
        return layer.inverse(y, e)


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("inversion", ["jacobi", "gauss-seidel"])
@pytest.mark.parametrize("dims", [1, 7, BLOCK + 5])
@pytest.mark.parametrize("elementwise", [Affine(), RationalQuadratic(3), Sigmoidal(2)])
def test_equals_substitution(dims, inversion, elementwise, context):
    layer = layer_of(dims, (40, 24), elementwise, context)
    y = torch.randn(4, dims, dtype=torch.float64)
    e = torch.randn(4, context, dtype=torch.float64) if context else None
    expected, log_det = answers(layer, y, e, inversion="incremental")
    assert (layer.rounds, layer.change) == (dims, 0.0)
    x, found = answers(layer, y, e, inversion=inversion)
    assert 1 <= layer.rounds <= dims
    torch.testing.assert_close(x, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(found, log_det, atol=1e-9, rtol=0)


@pytest.mark.parametrize("inversion", ["jacobi", "gauss-seidel"])
def test_the_error_is_of_the_tolerances_size(inversion):
    layer = layer_of(70, (64, 64))
    y = torch.randn(16, 70, dtype=torch.float64)
    exact, _ = answers(layer, y, None, inversion="incremental")
    taken = []
    for tolerance in (1e-2, 1e-5, 1e-8):
        x, _ = answers(layer, y, None, inversion=inversion, tolerance=tolerance)
        assert layer.change <= tolerance
        assert ((x - exact).abs() / (1 + exact.abs())).max() <= 10 * tolerance
        taken.append(layer.rounds)
    assert taken[0] < taken[1] < taken[2] < 70


def test_as_many_rounds_as_entries_are_exact_whatever_the_map():
    layer = layer_of(12, (24, 24), Affine(3.0), spread=0.7)  # far from a contraction
    y = torch.randn(8, 12, dtype=torch.float64)
    exact, log_det = answers(layer, y, None, inversion="incremental")
    x, found = answers(layer, y, None, inversion="jacobi", tolerance=0.0)
    assert 6 <= layer.rounds <= 12  # an entry's degree bounds them, not the slopes
    torch.testing.assert_close(x, exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, log_det, rtol=1e-9, atol=1e-9)


class Overflowing:
    """x = y - 100 + exp(h)."""

    parameters = 1

    def inverse(self, y, h):
        return y - 100 + h[:, 0].exp(), torch.zeros_like(y)


def test_infinities_on_the_way_do_not_spoil_the_answer():
    layer = Autoregressive((6,), Overflowing(), hidden=(12,), tolerance=0.0)
    with torch.no_grad():
        for part in layer.network.layers:
            part.weight.fill_(10.0)
            part.bias.fill_(-3.0)
    y = torch.full(
        (2, 6), 99.0
    )  # as a first guess it makes h 10^4 and exp(h) infinite; the answer is below 0
    x, _ = answers(layer, y, None, inversion="incremental")
    torch.testing.assert_close(x, torch.full((2, 6), -1 + math.exp(-3.0)), rtol=0, atol=1e-4)
    for inversion in ("jacobi", "gauss-seidel"):
        torch.testing.assert_close(answers(layer, y, None, inversion=inversion)[0], x, rtol=0, atol=1e-5)


def test_a_gradient_takes_single_steps():
    layer = layer_of(20, inversion="jacobi")
    y = torch.randn(3, 20, dtype=torch.float64, requires_grad=True)
    x, log_det = layer.inverse(y)
    assert layer.rounds == 20
    (x.sum() + log_det.sum()).backward()
    assert y.grad.isfinite().all()


def test_auto_takes_blocks_for_few_samples_of_many_entries(monkeypatch):
    assert block_size("auto", FEW, MANY) == BLOCK
    assert block_size("auto", FEW + 1, MANY) == block_size("auto", FEW, MANY - 1) == 0
    assert block_size("jacobi", 10_000, 100) == 100
    taken = []
    solve = Rounds.solve
    monkeypatch.setattr(Rounds, "solve", lambda self: taken.append(self.block) or solve(self))
    answers(layer_of(MANY), torch.randn(FEW, MANY, dtype=torch.float64), None)
    answers(layer_of(MANY), torch.randn(FEW + 1, MANY, dtype=torch.float64), None)
    assert taken == [BLOCK]


@pytest.mark.parametrize("name", ["maf", "iaf", "nsf-ar", "naf"])
def test_models_choose_and_report(name):
    space = Continuous((18,))
    torch.manual_seed(0)
    model = creo.build(name, space, hidden=(20,), layers=2, inversion="jacobi").double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randn(5, 18, dtype=torch.float64)
    with torch.no_grad():
        z, _ = model.forward(x)
        back, _ = model.inverse(z)
        assert 2 <= model.rounds < 36
        torch.testing.assert_close(back, x, atol=1e-9, rtol=0)


def test_wrong_options_get_one_line():
    for wrong in ({"inversion": "newton"}, {"tolerance": -1.0}):
        with pytest.raises(OptionError, match="inversion is one of auto, incremental"):
            Autoregressive((3,), **wrong)
