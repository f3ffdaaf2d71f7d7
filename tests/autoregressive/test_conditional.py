"""Conditional densities against a Gaussian's closed form and against enumeration."""

from __future__ import annotations

import pytest
import torch

from creo.autoregressive import MADE, conditional_density, density_plot
from creo.errors import OptionError
from creo.model import GenerativeModel
from creo.spaces import Continuous, Ordinal
from creo.testing.measure import everything

COVARIANCE = torch.tensor([[2.0, 0.8, -0.3], [0.8, 1.0, 0.2], [-0.3, 0.2, 0.7]], dtype=torch.float64)


class Normal(GenerativeModel):
    """A Gaussian of mean 0."""

    def __init__(self):
        super().__init__(Continuous((3,)))
        self.law = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), COVARIANCE)

    def sample(self, n, c=None):
        return self.law.sample((n,))

    def log_prob(self, x, c=None):
        return self.law.log_prob(x)


@pytest.mark.parametrize("variables", [(1,), (2, 0)])
def test_of_a_gaussian(variables):
    x = torch.tensor([0.5, -1.0, 0.7], dtype=torch.float64)
    v, rest = list(variables), [i for i in range(3) if i not in variables]
    gain = COVARIANCE[v][:, rest] @ torch.linalg.inv(COVARIANCE[rest][:, rest])
    given = COVARIANCE[v][:, v] - gain @ COVARIANCE[rest][:, v]
    law = torch.distributions.MultivariateNormal(gain @ x[rest], given)
    values = [torch.linspace(-9, 9, 181, dtype=torch.float64) for _ in v]
    points = torch.cartesian_prod(*values).reshape(-1, len(v))
    found = conditional_density(Normal(), x, variables, values)
    torch.testing.assert_close(found.flatten(), law.log_prob(points).exp(), rtol=1e-6, atol=1e-9)
    axes = density_plot(found, values, ["a", "b"][: len(v)]).axes[0]
    assert axes.get_xlabel() == "a"


def test_of_levels():
    torch.manual_seed(0)
    model = MADE.for_space(Ordinal((3,), 3), hidden=(20,)).double().eval()
    x, points = torch.tensor([2, 0, 1], dtype=torch.uint8), everything(model.space)
    p = model.log_prob(points).exp()
    match = (points[:, 0] == 2) & (points[:, 2] == 1)
    found = conditional_density(model, x, [1], [torch.arange(3)])
    torch.testing.assert_close(found, (p[match] / p[match].sum()).detach())


def test_errors_say_what_to_do():
    with pytest.raises(OptionError, match="one or two variables and a grid for each; received 0 and 0"):
        conditional_density(Normal(), torch.zeros(3), [], [])
