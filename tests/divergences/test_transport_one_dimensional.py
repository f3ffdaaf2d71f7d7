"""One-dimensional and sliced transport against scipy, the assignment, and closed forms."""

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from creo.divergences.transport import max_sliced_wasserstein, sliced_wasserstein, wasserstein_1d
from creo.errors import DataError, OptionError

F64 = torch.float64


def _points(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def _weights(*shape, seed=0):
    return torch.rand(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed)) + 0.05


@pytest.mark.parametrize(("n", "m"), [(7, 7), (6, 9), (1, 5)])
@pytest.mark.parametrize("weighted", [False, True])
def test_order_one_agrees_with_scipy(n, m, weighted):
    x, y = _points(4, n), _points(4, m, seed=1) + 0.3
    a, b = (_weights(4, n), _weights(4, m, seed=1)) if weighted else (None, None)
    got = wasserstein_1d(x, y, a=a, b=b)
    for i in range(4):
        weights = (a[i].numpy(), b[i].numpy()) if weighted else (None, None)
        assert got[i].item() == pytest.approx(
            wasserstein_distance(x[i].numpy(), y[i].numpy(), *weights), rel=1e-12
        )


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 4.0])
def test_every_order_agrees_with_the_assignment(p):
    x, y = _points(9), 2 * _points(9, seed=1)
    cost = (x[:, None] - y[None]).abs().numpy() ** p
    i, j = linear_sum_assignment(cost)
    assert wasserstein_1d(x, y, p=p).item() == pytest.approx(cost[i, j].mean() ** (1 / p), rel=1e-12)


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_unequal_sizes_and_integer_weights_are_repeated_points(p):
    x, y = _points(4), _points(6, seed=1)
    repeated = wasserstein_1d(x.repeat_interleave(3), y.repeat_interleave(2), p=p)
    torch.testing.assert_close(wasserstein_1d(x, y, p=p), repeated, rtol=1e-12, atol=0)
    counts = torch.tensor([1, 3, 0, 2])
    by_weight = wasserstein_1d(x, y, a=counts.to(F64), p=p)
    torch.testing.assert_close(
        by_weight, wasserstein_1d(x.repeat_interleave(counts), y, p=p), rtol=1e-12, atol=0
    )


def test_infinite_order_is_the_limit():
    x, y = _points(20), _points(30, seed=1)
    limit = wasserstein_1d(x, y, p=math.inf).item()
    assert wasserstein_1d(x, y, p=400.0).item() == pytest.approx(limit, rel=0.02)
    assert wasserstein_1d(x, y, p=400.0).item() < limit


def test_gradients_in_points_and_weights():
    x, y = _points(2, 5).requires_grad_(), _points(2, 7, seed=1).requires_grad_()
    a, b = _weights(2, 5).requires_grad_(), _weights(2, 7, seed=1).requires_grad_()
    for p in (1.0, 2.0, 3.0):
        assert torch.autograd.gradcheck(lambda x, y: wasserstein_1d(x, y[:, :5], p=p), (x, y))  # noqa: B023
        assert torch.autograd.gradcheck(lambda x, y: wasserstein_1d(x, y, p=p), (x, y))  # noqa: B023
        assert torch.autograd.gradcheck(lambda x, y, a, b: wasserstein_1d(x, y, a=a, b=b, p=p), (x, y, a, b))  # noqa: B023


def test_gradient_at_zero_distance_is_zero():
    x = _points(5).requires_grad_()
    value = wasserstein_1d(x, x.detach().clone(), p=2)
    (grad,) = torch.autograd.grad(value, x)
    assert value == 0
    assert (grad == 0).all()


def test_sliced_along_given_directions_is_the_mean_of_one_dimensional():
    x, y, theta = (
        _points(30, 3),
        _points(40, 3, seed=1),
        torch.nn.functional.normalize(_points(5, 3, seed=2), dim=-1),
    )
    a = _weights(30)
    for weights in (None, a):
        each = torch.stack([wasserstein_1d(x @ t, y @ t, a=weights, p=3) for t in theta])
        got = sliced_wasserstein(x, y, a=weights, p=3, directions=theta)
        torch.testing.assert_close(got.value, each.pow(3).mean() ** (1 / 3))


def test_sliced_distance_of_a_shift_within_its_standard_error():
    torch.manual_seed(0)
    x, shift = _points(50, 6), _points(6, seed=3)
    got = sliced_wasserstein(x, x + shift, directions=4000)
    exact = shift.norm().item() / math.sqrt(6)
    assert abs(got.value.item() - exact) < 4 * got.standard_error.item()
    # p = 2: the cost <theta, s>^2 is |s|^2 Beta(1/2, (d-1)/2), variance 2 (d-1) / (d^2 (d+2)) |s|^4; delta method
    spread = math.sqrt(2 * 5 / (36 * 8)) * shift.norm().item() ** 2 / (2 * exact) / math.sqrt(4000)
    assert got.standard_error.item() == pytest.approx(spread, rel=0.1)


def test_sliced_in_blocks_is_the_same(monkeypatch):
    from creo.divergences.transport import sliced

    x, y, theta = (
        _points(30, 3),
        _points(30, 3, seed=1),
        torch.nn.functional.normalize(_points(20, 3, seed=2), dim=-1),
    )
    whole = sliced_wasserstein(x, y, directions=theta)
    monkeypatch.setattr(sliced, "_BLOCK", 200)
    torch.testing.assert_close(sliced_wasserstein(x, y, directions=theta).value, whole.value)


def test_sliced_gradient():
    x, y = _points(6, 2).requires_grad_(), _points(6, 2, seed=1)
    theta = torch.nn.functional.normalize(_points(4, 2, seed=2), dim=-1)
    assert torch.autograd.gradcheck(lambda x: sliced_wasserstein(x, y, directions=theta).value, (x,))


def test_max_sliced_finds_the_direction_of_a_shift():
    torch.manual_seed(0)
    x, shift = _points(60, 5), _points(5, seed=3)
    got = max_sliced_wasserstein(x, x + shift)
    assert got.value.item() == pytest.approx(shift.norm().item(), rel=1e-12)


def test_max_sliced_finds_the_direction_of_a_stretch():
    """Centred points stretched by a matrix: on the line theta, W_2 of scaled copies; here only one axis differs."""
    torch.manual_seed(0)
    x = _points(400, 4)
    x = x - x.mean(0)
    y = x * torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=F64)
    got = max_sliced_wasserstein(x, y)
    assert got.direction[2].abs() > 0.99
    along_axis = wasserstein_1d(x[:, 2], y[:, 2], p=2)
    assert got.value >= along_axis * (1 - 1e-6)
    grid = torch.nn.functional.normalize(_points(500, 4, seed=5), dim=-1)
    assert got.value >= wasserstein_1d(grid @ x.T, grid @ y.T, p=2).max()


NAN = torch.tensor([0.0, math.nan])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: wasserstein_1d(NAN, NAN), DataError, "NaN"),
        (
            lambda: wasserstein_1d(torch.zeros(2, 3), torch.zeros(3, 3)),
            DataError,
            r"received \(2, 3\), \(3, 3\)",
        ),
        (lambda: wasserstein_1d(torch.zeros(0), torch.zeros(3)), DataError, "empty"),
        (lambda: wasserstein_1d(torch.zeros(3), torch.zeros(3), p=0.5), OptionError, "p must be"),
        (
            lambda: wasserstein_1d(torch.zeros(2), torch.zeros(2), a=torch.tensor([1.0, -1.0])),
            DataError,
            "negative",
        ),
        (lambda: wasserstein_1d(torch.zeros(2), torch.zeros(2), b=torch.zeros(2)), DataError, "no mass"),
        (lambda: wasserstein_1d(torch.zeros(2), torch.zeros(2), b=torch.ones(3)), DataError, "weights b"),
        (lambda: wasserstein_1d(torch.zeros(2).long(), torch.zeros(2)), DataError, "floating"),
        (lambda: sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 3)), DataError, "agree in d"),
        (
            lambda: sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 2), directions=1),
            OptionError,
            "directions",
        ),
        (lambda: sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 2), p=math.inf), OptionError, "finite"),
        (
            lambda: max_sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 2), starts=0),
            OptionError,
            "starts",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()
