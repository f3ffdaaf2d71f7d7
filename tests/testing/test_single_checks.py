"""Checks that are called by hand, and `check_model` on classes and registered names."""

import math

import pytest
import torch
from torch import Tensor, nn

from creo import registry
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood
from creo.registry import Model
from creo.spaces import Categories, Continuous, Ordinal, Tokens
from creo.testing import (
    CheckFailed,
    check_bound_below_exact,
    check_causal,
    check_instance,
    check_model,
    check_normalised,
    tiny_data,
    tiny_spaces,
)  # fmt: skip


class Factor(GenerativeModel):
    """z ~ N(0, 1), x = 2 z + e with e ~ N(0, 1): log N(x; 0, 5) exactly; the bound has q(z | x) = N(m x, v)."""

    likelihood = Likelihood.BOUND
    m, v = 0.4, 0.2  # the true posterior

    def sample(self, n, c=None):
        return 2 * torch.randn(n, 1) + torch.randn(n, 1)

    def exact(self, x: Tensor) -> Tensor:
        return -0.5 * (x[:, 0] ** 2 / 5 + math.log(2 * math.pi * 5))

    def log_prob(self, x, c=None):
        z = self.m * x[:, 0] + math.sqrt(self.v) * torch.randn(len(x), dtype=x.dtype)
        joint = -0.5 * (z**2 + (x[:, 0] - 2 * z) ** 2) - math.log(2 * math.pi)
        q = -0.5 * ((z - self.m * x[:, 0]) ** 2 / self.v + math.log(2 * math.pi * self.v))
        return joint - q


class Loose(Factor):
    m = 0.2


class WrongPrior(Factor):
    """Forgets log q: above the truth."""

    def log_prob(self, x, c=None):
        return super().log_prob(x, c) + 0.5


X = torch.linspace(-6, 6, 9, dtype=torch.float64)[:, None]


def test_a_bound_with_the_true_posterior_is_tight():
    model = Factor(Continuous((1,)))
    found = check_bound_below_exact(model, X, model.exact(X))
    assert torch.allclose(found.mean, model.exact(X))
    assert found.error.max() < 1e-9


def test_a_loose_bound_is_below_by_the_divergence_of_its_posterior():
    model = Loose(Continuous((1,)))
    found = check_bound_below_exact(model, X, model.exact(X), repeats=400)
    gap = ((0.4 - 0.2) * X[:, 0]) ** 2 / (2 * 0.2)  # KL of N(0.2 x, v) from N(0.4 x, v)
    assert ((model.exact(X) - found.mean - gap).abs() <= 5 * found.error + 1e-9).all()


def test_a_bound_above_the_truth_is_caught():
    model = WrongPrior(Continuous((1,)))
    with pytest.raises(CheckFailed, match="the bound of example . is .* above the exact log p"):
        check_bound_below_exact(model, X, model.exact(X))


def masked(mask: Tensor):
    weight = torch.randn(len(mask), len(mask), dtype=torch.float64) * mask
    return lambda x: torch.tanh(x @ weight.T)[..., None]


def test_causality_of_a_function_of_reals_by_autograd():
    torch.manual_seed(0)
    x, mask = torch.randn(3, 5), torch.ones(5, 5).tril(-1)
    check_causal(masked(mask), x)
    ahead, behind = mask.clone(), mask.clone()
    ahead[1, 4], behind[4, 0] = 1, 0
    with pytest.raises(CheckFailed, match=r"symbol 1 \(position 1\) depend on symbol 4 \(position 4\)"):
        check_causal(masked(ahead), x)
    with pytest.raises(CheckFailed, match=r"symbol 4 \(position 4\) ignore its predecessor 0 \(position 0\)"):
        check_causal(masked(behind), x)
    check_causal(masked(behind), x, all_used=False)


def test_causality_in_another_order():
    torch.manual_seed(0)
    order = torch.tensor([2, 0, 1])
    weight = torch.randn(3, 3, dtype=torch.float64).tril(-1)
    check_causal(lambda x: (x[:, order] @ weight.T)[..., None], torch.randn(3, 3), order=order)
    with pytest.raises(CheckFailed, match="no permutation"):
        check_causal(lambda x: x[..., None], torch.randn(3, 3), order=torch.tensor([0, 0, 1]))


def test_a_function_of_symbols_needs_their_number():
    with pytest.raises(CheckFailed, match="needs size"):
        check_causal(lambda x: x[..., None].double(), torch.zeros(2, 3, dtype=torch.long))


class Coin(GenerativeModel):
    """One biased coin for every position of binary data."""

    def __init__(self, space, condition=None):
        super().__init__(space, condition)
        self.logit = nn.Parameter(torch.zeros(()))

    @classmethod
    def for_space(cls, space, condition=None):
        if not isinstance(space, Ordinal) or condition is not None:
            raise SpaceError(
                f"a coin is for unconditional Ordinal spaces; received {space} given {condition}"
            )
        return cls(space)

    def log_p(self) -> Tensor:
        log_p = torch.stack([nn.functional.logsigmoid(-self.logit), nn.functional.logsigmoid(self.logit)])
        rest = log_p.new_full((self.space.levels - 2,), -math.inf)
        return torch.cat([log_p, rest])

    def log_prob(self, x, c=None):
        self.check_batch(x, c)
        return self.log_p()[x.flatten(1).long().clamp(max=1)].sum(1)

    def sample(self, n, c=None):
        self.expand_condition(n, c)
        p = torch.sigmoid(self.logit.detach())
        return (torch.rand(n, *self.space.shape) < p).to(self.space.dtype)


def test_a_class_is_checked_on_the_spaces_it_does_not_decline():
    """The coin calls every level above 1 heads, so it is not normalised on three levels: found on all of them."""
    with pytest.raises(CheckFailed) as error:
        check_model(Coin)
    lines = str(error.value).splitlines()
    assert lines
    assert all(line.startswith("Coin-Ordinal") for line in lines)
    assert any("normalised: exp(log_prob) sums to" in line for line in lines)
    tried = check_model(Coin, skip=["normalised", "samples_match_log_prob"])
    assert list(tried) == [f"Coin-{space}".replace(" ", "") for space in tiny_spaces("Ordinal")]


def test_a_promise_is_held_against_the_model(monkeypatch):
    line = Model("coin", f"{__name__}:Coin", {"Ordinal": "bound", "Tokens": "exact"}, (), "-", "-", "-")
    monkeypatch.setattr(Model, "load", lambda self: Coin)
    monkeypatch.setattr(registry, "_MODELS", {"coin": line})
    with pytest.raises(CheckFailed, match="the registry promises likelihood 'bound', the model says 'exact'"):
        check_model("coin", kinds=["Ordinal"])
    with pytest.raises(CheckFailed, match="declines every tiny space|no tiny space of kind Tokens"):
        check_model("coin", kinds=["Tokens"])


def test_unknown_names_of_rules_and_kinds_suggest():
    model, (x, _) = Coin(Ordinal((2,), 2)), tiny_data(Ordinal((2,), 2))
    with pytest.raises(OptionError, match="no check named 'normalized'; known: samples_in_space"):
        check_instance(model, x, only=["normalized"])
    with pytest.raises(SpaceError, match="no tiny spaces of kind 'Ordinals'; did you mean 'Ordinal'"):
        tiny_spaces("Ordinals")


def test_a_space_too_large_to_sum_over_is_refused():
    with pytest.raises(CheckFailed, match="has 1048576 points and 0 real coordinates"):
        check_normalised(Coin(Ordinal((4, 5), 2)))


@pytest.mark.parametrize("kind", ["Continuous", "Ordinal", "Tokens", "Categories", "Table"])
@pytest.mark.parametrize("condition", [None, Categories(3), Continuous((2,)), Tokens(2, 3)])
def test_tiny_data_is_of_its_space_and_depends_on_the_condition(kind, condition):
    for space in tiny_spaces(kind):
        x, c = tiny_data(space, condition, n=2000)
        space.check(x)
        assert x.dtype == space.dtype
        assert torch.equal(x, tiny_data(space, condition, n=2000)[0])
        if condition is not None:
            condition.check(c)
            columns = torch.cat([x.reshape(2000, -1).double(), c.reshape(2000, -1).double()], 1).T
            assert columns.corrcoef()[0, -1] > 0.3
